"""LaRe: an episode's return taken apart over its steps (paper 58)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from agentrl.core import ChatModel, Episode, Group, Message, Reward, SandboxProvider, Score
from agentrl.rewards.verifiers.code import run_python

Features = list[list[float]]


class Code(BaseModel):
    """Python source that defines `factors(steps)`."""

    source: str


_ASK = """Write a Python function `factors(steps)` for the task below.

`steps` is a list of dicts with the keys "text" (what the agent wrote), "calls" (names of the tools
called), "ok" (whether all calls succeeded) and "observation" (what it was answered). Return a list
with one row per step; a row is a list of numbers, the same count in every row, each a quantity that
tells how much that step contributes to success. Standard library only.

The task: {task}"""


def step_records(episode: Episode) -> list[dict[str, Any]]:
    """What written code sees of an episode: one dict a turn."""
    return [
        {
            "text": turn.text,
            "calls": [call.name for call in turn.calls],
            "ok": all(result.ok for result in turn.results),
            "observation": "\n".join(m.content for m in turn.observations),
        }
        for turn in episode.turns
    ]


@dataclass(slots=True)
class FactorCode:
    """Factors of steps by code that a model wrote. The code only ever runs in a sandbox.

    `write` asks for `candidates` functions, then for one that joins them, and tries each on sample
    steps; what raises or has the wrong shape goes back with its message, at most `retries` times.
    """

    writer: ChatModel
    sandboxes: SandboxProvider
    candidates: int = 5
    retries: int = 5
    seconds: float = 10.0
    source: str = ""

    async def write(self, task: str, sample: Sequence[Episode]) -> str:
        """The source that passed; "" when none did."""
        asked = [Message("user", _ASK.format(task=task))]
        drafts = []
        for seed in range(self.candidates):
            reply = await self.writer.chat(asked, schema=Code, temperature=1.0, seed=seed)
            if isinstance(reply.parsed, Code):
                drafts.append(reply.parsed.source)
        joined = "\n\n---\n\n".join(drafts)
        talk = [*asked, Message("user", f"Join the best of these drafts into one:\n\n{joined}")]
        for seed in range(self.retries + 1):
            reply = await self.writer.chat(talk, schema=Code, temperature=0.3, seed=seed)
            source = reply.parsed.source if isinstance(reply.parsed, Code) else ""
            problem = await self._problem(source, sample) if source else "no source"
            if not problem:
                self.source = source
                return source
            talk = [*talk, Message("assistant", reply.text), Message("user", f"Wrong: {problem}")]
        return ""

    async def _problem(self, source: str, sample: Sequence[Episode]) -> str:
        for episode in sample:
            _, problem = await self.run(source, episode)
            if problem:
                return problem
        return ""

    async def run(self, source: str, episode: Episode) -> tuple[Features, str]:
        """(one row of numbers a step, "") or ([], what is wrong)."""
        steps = step_records(episode)
        whole = f"{source}\n\ndef main(steps):\n    return factors(steps)\n"
        found, problem = await run_python(self.sandboxes, whole, steps, self.seconds)
        return ([], problem) if problem else checked_factors(found, len(steps))


def checked_factors(found: Any, steps: int) -> tuple[Features, str]:
    """(rows, "") when `found` is [steps, factors] of finite numbers, else ([], what is wrong)."""
    if not isinstance(found, list) or len(found) != steps:
        return [], f"expected a list of {steps} rows"
    if not all(isinstance(row, list) for row in found):
        return [], f"a row is a list of numbers, shape [{steps}, factors], not [{steps}]"
    if len({len(row) for row in found}) > 1 or (found and not found[0]):
        return [], "all rows need the same number of factors, at least one"
    flat = [x for row in found for x in row]
    if not all(isinstance(x, int | float) and abs(float(x)) < 1e6 for x in flat):
        return [], "a factor is not a finite number"
    return [[float(x) for x in row] for row in found], ""


class Decoder(nn.Module):
    """Factors [T, F] -> proxy rewards [T]."""

    def __init__(self, factors: int, hidden: int = 32, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(factors, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * 0.2)

    def forward(self, factors: torch.Tensor) -> torch.Tensor:
        return self.net(factors).squeeze(-1)


def decomposition_loss(rewards: torch.Tensor, total: torch.Tensor | float) -> torch.Tensor:
    """((1/T) sum_t r^_t - R/T)^2 of one episode (return decomposition)."""
    steps = len(rewards)
    return (rewards.mean() - total / steps) ** 2


def random_decomposition_loss(
    rewards: torch.Tensor, total: float, chosen: Sequence[int], *, unbiased: bool = True
) -> torch.Tensor:
    """The same over K chosen steps, minus Var_K (1 - K/T)/K when `unbiased` (RRD)."""
    steps, some = len(rewards), rewards[list(chosen)]
    k = len(chosen)
    loss = (some.mean() - total / steps) ** 2
    if unbiased and 1 < k < steps:
        loss = loss - some.var(unbiased=True) * (1 - k / steps) / k
    return loss


@dataclass(slots=True)
class ReturnDecomposition:
    """The outcome taken apart over the turns, learned from outcomes and written factors.

    Steps: the decoder's proxy rewards, which sum to about the outcome; the outcome spread evenly
    until something was learned, or where the code fails on an episode. Value: the outcome. Learn
    with {source: steps}. The code is written at the first step of training, from its episodes.
    """

    outcome: Reward
    factors: FactorCode
    learning_rate: float = 3e-4
    epochs: int = 50
    name: str = "decomposition"
    _decoder: Decoder | None = field(init=False, default=None, repr=False)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    async def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        steps = len(episode.turns)
        even = [outcome.value / steps] * steps
        if self._decoder is None:
            return Score(outcome.value, steps=even, evidence="nothing has been learned yet")
        rows, problem = await self.factors.run(self.factors.source, episode)
        if problem:
            return Score(outcome.value, steps=even, evidence=f"spread evenly: {problem}")
        with torch.no_grad():
            return Score(outcome.value, steps=self._decoder(torch.tensor(rows)).tolist())

    async def score(self, episode: Episode) -> Score:
        return await self.combine(episode, [await self.outcome.score(episode)])

    async def learn(self, groups: Sequence[Group]) -> dict[str, float]:
        judged = [e for g in groups for e in g.judged]
        if judged and not self.factors.source:
            await self.factors.write(judged[0].task.prompt, judged[:2])
        data = []
        for episode in judged if self.factors.source else []:
            rows, problem = await self.factors.run(self.factors.source, episode)
            if not problem and rows:
                data.append((torch.tensor(rows), episode.scores[self.outcome.name].value))
        return self.update(data)

    def update(self, data: Sequence[tuple[torch.Tensor, float]]) -> dict[str, float]:
        """Fit (factors [T, F], return) pairs; no data changes nothing."""
        if not data:
            return {"loss": 0.0, "episodes": 0.0}
        if self._decoder is None:
            self._decoder = Decoder(data[0][0].shape[1])
        decoder = self._decoder
        optimizer = torch.optim.Adam(decoder.parameters(), lr=self.learning_rate)
        loss = torch.zeros(())
        sizes = [len(x) for x, _ in data]
        factors, totals = torch.cat([x for x, _ in data]), [r for _, r in data]
        for _ in range(self.epochs):
            parts = decoder(factors).split(sizes)
            losses = [decomposition_loss(p, r) for p, r in zip(parts, totals, strict=True)]
            loss = torch.stack(losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"loss": float(loss.detach()), "episodes": float(len(data))}

    def state_dict(self) -> dict[str, Any]:
        decoder = None if self._decoder is None else self._decoder.state_dict()
        return {"source": self.factors.source, "decoder": decoder}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factors.source = state["source"]
        if state["decoder"] is not None:
            self._decoder = Decoder(state["decoder"]["net.0.weight"].shape[1])
            self._decoder.load_state_dict(state["decoder"])
