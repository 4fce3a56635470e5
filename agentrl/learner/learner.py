"""The learner turns groups of judged episodes into one exact gradient.

advantages  <- credit of the turns of all judged episodes      (stages 1, 2)
rows        <- their segments, RL arrays for trained tokens    (rows.py)
weight      <- field x aggregation, fixed before any forward   (stages 3, 8)
loss        <- (weight * (correction * policy loss + divergences)).sum()   (stages 4 to 7)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agentrl.core import Episode, Group
from agentrl.learner import credit, losses
from agentrl.learner.metrics import Meter, average, measure_advantages, measure_tokens
from agentrl.learner.optim import learning_rate, make_optimizer
from agentrl.learner.pack import MicroBatch, pack, schedule
from agentrl.learner.rows import LearnerError, Row, make_rows
from agentrl.learner.settings import LearnerSettings
from agentrl.learner.trunk import HasModel, Trunk
from agentrl.learner.weights import aggregation_weights, field_weights, kept

Tensor = torch.Tensor


class Learner:
    """Updates the weights of a policy in place, so that an embedded engine shares them.

    Attributes:
        version: of the weights; one more after each optimiser step.
    """

    def __init__(self, policy: HasModel, settings: LearnerSettings) -> None:
        self.policy, self.settings = policy, settings
        self.trunk = Trunk(policy.model, settings)
        self.optimizer = make_optimizer(policy.model.parameters(), settings)
        self.version = 0

    def step(self, groups: Sequence[Group]) -> dict[str, float]:
        """Learn from groups of judged episodes; `mini_batches` x `epochs` optimiser steps.

        Episodes that were not judged (infrastructure errors, abstained judges) enter nothing.
        Without any trained token, or when every gradient is exactly zero, no step is made.

        Raises:
            LearnerError: a log-probability is not finite; the weights are as they were.
        """
        start = time.perf_counter()
        s = self.settings
        episodes, group = credit.judged_episodes(groups)
        table = credit.turn_table(episodes, group, s.returns)
        advantage = credit.advantages(table, s.channels, s.whiten)
        rows = make_rows(episodes, strip_hints=s.ratio.hints == "strip")
        _spread(advantage, table, rows)

        batches = _mini_batches(rows, group, s.mini_batches) * s.epochs
        old = self._old_policy(rows, len(batches))
        updates = [self._update(batch, episodes, old) for batch in batches]

        infra = sum(len(g.episodes) for g in groups) - len(episodes)
        flat = credit.zero_variance(table)
        metrics = measure_advantages(table.outcome, advantage, flat, infra) | average(updates)
        return metrics | self._clock(start)

    def imitate(
        self, episodes: Sequence[Episode], weights: Sequence[float] | None = None
    ) -> dict[str, float]:
        """One optimiser step of cross entropy on sampled tokens; judged or not.

        The loss is the mean over all sampled tokens, each counted `weights[episode]` times.
        """
        start = time.perf_counter()
        rows = make_rows(episodes)
        scale = np.ones(len(episodes)) if weights is None else np.asarray(weights, np.float64)
        total = sum(scale[r.episode] * len(r.target) for r in rows)
        for row in rows:
            row.weight = np.full(len(row.target), scale[row.episode] / max(total, 1e-300))
        rows = [r for r in rows if scale[r.episode] != 0.0]
        meter = Meter()
        for batch in self._micro_batches(rows):
            logp, entropy = self.trunk.logprobs(batch)
            self._check(logp, batch, episodes)
            loss = -(batch.gather("weight", logp.dtype) * logp).sum()
            loss.backward()
            meter.add("loss", float(loss.detach()))
            meter.mean("entropy", entropy.detach())
            meter.mean("accuracy_logprob", logp.detach())
            _count(meter, batch)
        return meter.result() | self._optimizer_step(bool(rows)) | self._clock(start)

    def state_dict(self) -> dict[str, Any]:
        """Everything a step changes: trainable weights, optimiser, version."""
        trainable = {n: p.detach().clone() for n, p in self._trainable()}
        return {
            "version": self.version,
            "weights": trainable,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            LearnerError: the state names other parameters than the policy has.
        """
        mine = dict(self._trainable())
        odd = set(mine) ^ set(state["weights"])
        if odd:
            raise LearnerError(
                f"{len(odd)} parameters match nothing, among them {sorted(odd)[0]!r}",
                where="the learner's checkpoint",
                fix="resume with the model and the LoRA settings that wrote it",
            )
        with torch.no_grad():
            for name, value in state["weights"].items():
                mine[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]

    def _update(self, rows: list[Row], episodes: Sequence[Episode], old: str) -> dict[str, float]:
        """One optimiser step on `rows`."""
        s = self.settings
        rows = [r for r in rows if kept(episodes[r.episode], s.field)]
        for row, weight in zip(rows, aggregation_weights(rows, s.aggregation), strict=True):
            row.weight = weight * field_weights(row, episodes[row.episode], s.field)
        counted = sum(len(r.target) for r in rows)
        rows = [r for r in rows if self._has_gradient(r)]
        meter = Meter()
        meter.add("tokens_skipped", counted - sum(len(r.target) for r in rows))
        for batch in self._micro_batches(rows):
            loss = self._loss(batch, episodes, old, meter)
            loss.backward()
        return meter.result() | self._optimizer_step(bool(rows))

    def _loss(
        self, batch: MicroBatch, episodes: Sequence[Episode], old_kind: str, meter: Meter
    ) -> Tensor:
        """The share of a micro-batch in the loss of the optimiser step."""
        s = self.settings
        logp, entropy = self.trunk.logprobs(batch)
        self._check(logp, batch, episodes)
        behave, advantage, weight = (
            batch.gather(name, logp.dtype) for name in ("behave", "advantage", "weight")
        )
        old = {"current": logp.detach(), "behaviour": behave}.get(old_kind)
        if old is None:
            old = batch.gather("old", logp.dtype)
        unit = batch.turn if s.ratio.level == "turn" else batch.row
        ratio = losses.policy_ratio(logp, old, unit, s.ratio.level)
        factor = losses.correction(logp, old, behave, s.ratio, behaviour=old_kind == "behaviour")
        per_token = factor * losses.policy_loss(ratio, logp, advantage, s.coefficient)
        for term in s.divergences.values():
            per_token = per_token + term.coefficient * -entropy
        loss = (weight * per_token).sum()
        meter.add("loss", float(loss.detach()))
        _count(meter, batch)
        measure_tokens(
            meter,
            logp=logp.detach(),
            entropy=entropy.detach(),
            behave=behave,
            ratio=ratio.detach(),
            factor=factor,
            advantage=advantage,
            staleness=self.version - batch.gather("version", torch.int64),
            coefficient=s.coefficient,
        )
        return loss

    def _has_gradient(self, row: Row) -> bool:
        """False when every token's loss has a gradient of exactly zero: the row is skipped."""
        pulled = any(t.coefficient != 0.0 for t in self.settings.divergences.values())
        return bool(row.weight.any() and (pulled or row.advantage.any()))

    def _old_policy(self, rows: Sequence[Row], optimizer_steps: int) -> str:
        """Which policy the ratio is taken to: `current`, `behaviour` or `recompute`."""
        old = self.settings.ratio.old
        if old == "recompute":
            self._recompute(rows)
        if old != "auto":
            return old
        same = all((r.version == self.version).all() and not r.hinted for r in rows)
        return "current" if same and optimizer_steps == 1 else "behaviour"

    @torch.no_grad()
    def _recompute(self, rows: Sequence[Row]) -> None:
        for batch in self._micro_batches(rows):
            logp = self.trunk.logprobs(batch)[0].double().cpu().numpy()
            cuts = np.cumsum([len(r.target) for r in batch.rows])[:-1]
            for row, part in zip(batch.rows, np.split(logp, cuts), strict=True):
                row.old = part

    def _micro_batches(self, rows: Sequence[Row]) -> list[MicroBatch]:
        s = self.settings
        shared = s.min_shared if s.share_prefixes else None
        return [
            pack(part, self.trunk.device, min_shared=shared)
            for part in schedule(rows, s.token_budget, min_shared=shared)
        ]

    def _optimizer_step(self, has_gradient: bool) -> dict[str, float]:
        """Clip, step, count; without any gradient nothing moves, not even by momentum."""
        if not has_gradient:
            return {"loss": 0.0, "grad_norm": 0.0, "optimizer_steps": 0.0}
        parameters = [p for _, p in self._trainable()]
        limit = self.settings.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if not torch.isfinite(norm):
            self.optimizer.zero_grad()
            raise LearnerError(
                f"the gradient norm is {float(norm)} at weights version {self.version}",
                fix="no optimiser step was made; lower the learning rate or use float32",
            )
        rate = learning_rate(self.version, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.version += 1
        return {"grad_norm": float(norm), "learning_rate": rate, "optimizer_steps": 1.0}

    def _check(self, logp: Tensor, batch: MicroBatch, episodes: Sequence[Episode]) -> None:
        bad = ~torch.isfinite(logp.detach())
        if not bool(bad.any()):
            return
        self.optimizer.zero_grad()
        row = batch.rows[int(batch.row[bad][0])]
        raise LearnerError(
            f"{int(bad.sum())} log-probabilities of the policy are not finite at weights version "
            f"{self.version}; the first is in turn {row.turn[0]}",
            where=f"episode {episodes[row.episode].id!r}",
            fix="the weights or the compute dtype overflow; no optimiser step was made",
        )

    def _trainable(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(n, p) for n, p in self.policy.model.named_parameters() if p.requires_grad]

    def _clock(self, start: float) -> dict[str, float]:
        return {"version": float(self.version), "seconds": time.perf_counter() - start}


def _spread(advantage: np.ndarray, table: credit.TurnTable, rows: Sequence[Row]) -> None:
    """Give every trained token the advantage of its turn."""
    first = np.zeros(len(table.group), np.int64)
    first[table.episode[::-1]] = np.arange(len(table.episode))[::-1]
    for row in rows:
        row.advantage = advantage[first[row.episode] + row.turn]


def _mini_batches(rows: Sequence[Row], group: np.ndarray, count: int) -> list[list[Row]]:
    """Split by whole groups, so that more turns never make more optimiser steps."""
    parts = np.array_split(np.unique(group), count)
    split = [[r for r in rows if group[r.episode] in part] for part in map(set, parts)]
    return [part for part in split if part]


def _count(meter: Meter, batch: MicroBatch) -> None:
    meter.add("tokens_trained", len(batch.target))
    meter.add("tokens_processed", len(batch.tokens))
    meter.add("tokens_in_rows", sum(len(r) for r in batch.rows))
