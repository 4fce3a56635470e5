"""Looks at rows without gradient: what old policy, reference and critic say of trained tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from agentrl.learner import ranks
from agentrl.learner.credit import TurnTable
from agentrl.learner.losses import divergence
from agentrl.learner.pack import MicroBatch, schedule
from agentrl.learner.reference import ReferencePolicy
from agentrl.learner.rows import Row
from agentrl.learner.settings import Divergence, LearnerSettings
from agentrl.learner.trunk import Trunk, ValueModel

Tensor = torch.Tensor


class Looks:
    """Packs rows into micro-batches, and fills their arrays from forward passes."""

    def __init__(
        self,
        trunk: Trunk,
        reference: ReferencePolicy | None,
        critic: ValueModel | None,
        settings: LearnerSettings,
    ) -> None:
        self._trunk, self._reference, self._critic = trunk, reference, critic
        self._s = settings
        others = [x.trunk for x in (reference, critic) if x is not None]
        self.one_by_one = next((t.one_by_one for t in (trunk, *others) if t.one_by_one), "")
        """Why rows cannot share a forward pass; "" when they can."""

    def before_update(self, rows: Sequence[Row], table: TurnTable) -> None:
        """Fill in what a reference or a critic says of every trained token."""
        s = self._s
        for row in rows:
            row.penalty = np.zeros(len(row.target))
        if s.link is not None and s.link.kind == "dpo":
            assert self._reference is not None
            self.fill(rows, "reference", self._reference.logprobs)
        for d in s.divergences.values():
            if self._reference is not None and d.target != "uniform" and d.coefficient != 0.0:
                self._look_at(self._reference, d, rows, table.outcome)
            if d.place == "reward":
                _penalise(rows, d)
        if self._critic is not None:
            values = self._critic
            self.fill(rows, "value", lambda b: values(b, None, b.where))
            self.fill(rows, "final", lambda b: values(b, None, b.last))

    def _look_at(
        self, reference: ReferencePolicy, d: Divergence, rows: Sequence[Row], outcome: np.ndarray
    ) -> None:
        """Fill in the target's log-probabilities; `full` meets its target in the update."""
        if d.target == "hinted":
            self._ask_informed(reference, d, rows)
            return
        if d.target == "tempered":
            for row in rows:
                reward = float(np.clip(outcome[row.episode], 0.0, 1.0))
                row.power = np.full(len(row.target), d.floor + (1.0 - d.floor) * reward)
        if d.estimator == "full":
            return

        def look(batch: MicroBatch) -> Tensor:
            power = batch.gather("power", torch.float64) if d.target == "tempered" else None
            return reference.logprobs(batch, power)

        self.fill(rows, d.target, look)

    def _ask_informed(self, reference: ReferencePolicy, d: Divergence, rows: Sequence[Row]) -> None:
        """What the reference says of the same tokens where it reads the hints."""
        full = d.estimator == "full"
        told = [r.informed for r in rows if r.informed is not None]
        self.fill(told, "told", reference.logprobs)
        if full:
            self.fill(told, "told_states", reference.hidden)
        width = next((r.told_states.shape[1] for r in told), 0) if full else 0
        for row in rows:
            n, mate = len(row.target), row.informed
            row.taught = np.full(n, float(mate is not None))
            row.told = mate.told if mate is not None else np.zeros(n)
            if full:
                row.told_states = mate.told_states if mate is not None else np.zeros((n, width))

    def micro_batches(self, rows: Sequence[Row]) -> list[MicroBatch]:
        s = self._s
        packs = not self.one_by_one
        shared = s.min_shared if s.share_prefixes and packs else None
        budget = s.token_budget if packs else 1
        return [
            self._trunk.pack(part, min_shared=shared)
            for part in schedule(rows, budget, min_shared=shared)
        ]

    @torch.no_grad()
    def fill(self, rows: Sequence[Row], name: str, look: Callable[[MicroBatch], Tensor]) -> None:
        """Set an attribute of every row to what `look` says of its trained tokens, without
        gradient; ranks share the work. A `look` that gives one number per row sets that."""
        found: dict[int, np.ndarray] = {}
        places = {id(r): i for i, r in enumerate(rows)}
        for batch in self.micro_batches(ranks.share(rows)):
            values = look(batch).double().cpu().numpy()
            sizes = [1 if name == "final" else len(r.target) for r in batch.rows]
            parts = np.split(values, np.cumsum(sizes)[:-1])
            found |= {places[id(r)]: part for r, part in zip(batch.rows, parts, strict=True)}
        for part_of_rank in ranks.gather(found):
            for i, part in part_of_rank.items():
                setattr(rows[i], name, float(part[0]) if name == "final" else part)


def _penalise(rows: Sequence[Row], d: Divergence) -> None:
    """A divergence placed in the reward, estimated under the policy that sampled."""
    for row in rows:
        behave, target = torch.as_tensor(row.behave), torch.as_tensor(getattr(row, d.target))
        one = torch.ones_like(behave)
        value = divergence(behave, target, d.estimator, d.direction, one)
        row.penalty = row.penalty + d.coefficient * value.numpy()
