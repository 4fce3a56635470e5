"""RLFR: how far hidden states leave the flow of good reasoning (paper 57)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from agentrl.core import Check, Episode, Group, Score, Scorer


class Velocity(nn.Module):
    """v(x_t, t, condition): the condition and time scale and shift a small network (adaLN)."""

    def __init__(self, size: int, hidden: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.into, self.out = nn.Linear(size, hidden), nn.Linear(hidden, size)
        self.modulate = nn.Linear(size + 1, 2 * hidden)
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * (p.shape[-1] ** -0.5))

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(torch.cat([condition, t[:, None]], -1)).chunk(2, -1)
        h = self.norm(self.into(x)) * (1 + scale) + shift
        return self.out(nn.functional.silu(h))


def flow_loss(
    field_: nn.Module, h: torch.Tensor, condition: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """||v(x_t) - u||^2 with x_t = t h + (1 - t) eps, u = h - eps, t logit-normal; a mean."""
    t = torch.sigmoid(torch.randn(len(h), generator=generator))
    eps = torch.randn(h.shape, generator=generator)
    x = t[:, None] * h + (1 - t)[:, None] * eps
    return ((field_(x, t, condition) - (h - eps)) ** 2).mean()


@torch.no_grad()
def deviation(
    field_: nn.Module,
    h: torch.Tensor,
    condition: torch.Tensor,
    generator: torch.Generator,
    t: float = 0.8,
) -> torch.Tensor:
    """[N], mean over dimensions of (v - u)^2 at time t, times t / (1 - t)."""
    eps = torch.randn(h.shape, generator=generator)
    x = t * h + (1 - t) * eps
    error = field_(x, torch.full((len(h),), t), condition) - (h - eps)
    return (error**2).mean(-1) * time_weight(t)


def time_weight(t: float) -> float:
    """t / (1 - t): 1 at 0.5, 4 at 0.8."""
    return t / (1 - t)


def flow_rewards(
    deviations: np.ndarray, scale: float = 0.01, above: float = 0.6, most: int = 15
) -> np.ndarray:
    """-scale * d~_t on the `most` largest of the min-max normalised deviations over `above`, else
    0.

    A response whose deviations are all equal gets 0 everywhere.
    """
    d = np.asarray(deviations, np.float64)
    span = np.ptp(d) if len(d) else 0.0
    if span <= 1e-12:
        return np.zeros_like(d)
    return scaled_deviations((d - d.min()) / span, scale, above, most)


def scaled_deviations(
    normalised: np.ndarray, scale: float = 0.01, above: float = 0.6, most: int = 15
) -> np.ndarray:
    """The rewards of deviations that are normalised already."""
    d = np.asarray(normalised, np.float64)
    kept = np.zeros(len(d), bool)
    kept[np.argsort(-d, kind="stable")[:most]] = True
    return np.where(kept & (d > above), -scale * d, 0.0)


@dataclass(slots=True)
class FlowReward:
    """Token rewards from the flow field, summed over each turn into its step; value: the sum.

    Add it to the outcome on the last turn (`weighted`). The field conditions on the token before.
    `learn` fits it on episodes whose outcome is at least `accept` (rejection sampling). Needs a
    scorer that gives hidden states: the last layer here, the paper takes three depths.
    """

    scorer: Scorer
    size: int
    accept: float = 1.0
    scale: float = 0.01
    learning_rate: float = 1e-4
    steps: int = 20
    seed: int = 0
    name: str = "flow"
    field_: Velocity = field(init=False, repr=False)
    _optimizer: torch.optim.Optimizer = field(init=False, repr=False)
    _generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.field_ = Velocity(self.size, seed=self.seed)
        self._optimizer = torch.optim.Adam(self.field_.parameters(), lr=self.learning_rate)
        self._generator = torch.Generator().manual_seed(self.seed)

    async def score(self, episode: Episode) -> Score:
        latents = await self._latents(episode)
        if latents is None:
            return Score(abstained=True, evidence="no hidden states")
        h, before, turn = latents
        noise = torch.Generator().manual_seed(self.seed)
        rewards = flow_rewards(deviation(self.field_, h, before, noise).numpy(), self.scale)
        per_turn = np.bincount(turn, rewards, minlength=len(episode.turns))
        count = int((rewards != 0).sum())
        return Score(float(rewards.sum()), [Check("off_flow", count)], per_turn.tolist())

    async def _latents(
        self, episode: Episode
    ) -> tuple[torch.Tensor, torch.Tensor, np.ndarray] | None:
        """(states of sampled tokens [N, H], those of the tokens before [N, H], turns [N])."""
        if not episode.segments or not episode.trained_tokens:
            return None
        segment = episode.segments[-1]
        found = await self.scorer.score(segment.tokens, 1, hidden=True)
        if found.hidden is None:
            return None
        # Row i predicts token i + 1: it is the state at token i.
        states = torch.as_tensor(np.asarray(found.hidden, np.float32))
        at = np.flatnonzero(segment.action_mask)
        at = at[(at >= 1) & (at < len(states))]
        return states[at], states[at - 1], segment.turn[at].astype(np.int64)

    async def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        accepted = [e for g in groups for e in g.judged if e.reward >= self.accept]
        found = [x for e in accepted if (x := await self._latents(e)) is not None]
        if not found:
            return {"loss": 0.0, "accepted": 0.0}
        h, before = torch.cat([x[0] for x in found]), torch.cat([x[1] for x in found])
        return self.update(h, before) | {"accepted": float(len(found))}

    def update(self, h: torch.Tensor, before: torch.Tensor) -> dict[str, float]:
        """`steps` steps on states [N, H] and their conditions."""
        loss = torch.zeros(())
        for _ in range(self.steps):
            loss = flow_loss(self.field_, h, before, self._generator)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return {"loss": float(loss.detach())}

    def state_dict(self) -> dict[str, Any]:
        return {"field": self.field_.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.field_.load_state_dict(state["field"])
        self._optimizer.load_state_dict(state["optimizer"])
