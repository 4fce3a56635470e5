"""The learner turns groups of judged episodes into one exact gradient.

rows        <- segments of judged episodes; RL arrays for trained tokens only    (rows.py)
advantage   <- credit of their turns, or GAE with a critic        (stages 1, 2: credit, gae)
weight      <- field x aggregation, fixed before any forward      (stages 3, 8: weights)
loss        <- (weight * (correction * policy loss) + divergences).sum()
                                                         (stages 4 to 7: losses, objective)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from agentrl.core import Episode, Group
from agentrl.learner import credit, ranks
from agentrl.learner.extensions.auxiliary import AuxiliaryLoss, auxiliary_rows, make_auxiliary
from agentrl.learner.extensions.hindsight import Memory
from agentrl.learner.extensions.influence import emphasise
from agentrl.learner.extensions.spans import Spelling, add_span_credit
from agentrl.learner.gae import critic_credit, explained_variance
from agentrl.learner.link import link_credit
from agentrl.learner.looks import Looks
from agentrl.learner.losses import LIMIT
from agentrl.learner.metrics import Meter, average, measure, measure_credit
from agentrl.learner.objective import (
    Objective,
    Tokens,
    imitation,
    objective,
    value_objective,
    why_not_finite,
)
from agentrl.learner.optim import clip_and_step, make_optimizer, restore
from agentrl.learner.pack import MicroBatch, mini_batches
from agentrl.learner.reference import ReferencePolicy
from agentrl.learner.rows import LearnerError, Row, make_rows
from agentrl.learner.settings import LearnerSettings
from agentrl.learner.trunk import HasModel, Trunk, ValueModel, vision_of
from agentrl.learner.weights import weigh
from agentrl.models.lora import add_lora

LOG = logging.getLogger(__name__)


class Learner:
    """Updates the weights of a policy in place, so that an embedded engine shares them.

    Attributes:
        version: of the weights; one more after each optimiser step.
    """

    def __init__(
        self,
        policy: HasModel,
        settings: LearnerSettings,
        spelling: Spelling | None = None,
        auxiliary: Mapping[str, AuxiliaryLoss] | None = None,
    ) -> None:
        """
        Args:
            spelling: the policy's tokenizer; needed by what is said of text (spans, references).
            auxiliary: losses of your own, beside those of the settings.
        """
        self.policy, self.settings, self._spelling = policy, settings, spelling
        self.auxiliary = make_auxiliary(settings.auxiliary) | dict(auxiliary or {})
        self.version = 0
        if settings.lora is not None:
            add_lora(policy.model, **settings.lora.model_dump())
        self.trunk = Trunk(policy.model, settings, vision_of(policy))
        needs = any(d.target != "uniform" for d in settings.divergences.values())
        needs |= any(each.needs_reference for each in self.auxiliary.values())
        needs |= settings.link is not None and settings.link.kind == "dpo"
        self.reference = ReferencePolicy(self.trunk, settings) if needs else None
        self.critic = ValueModel(self.trunk, settings) if settings.critic else None
        self.looks = Looks(self.trunk, self.reference, self.critic, settings)
        if self.looks.one_by_one:
            LOG.warning("rows are trained one by one: %s", self.looks.one_by_one)
        elif self.trunk.slow:
            LOG.info("the model runs its own forward pass: %s", self.trunk.slow)
        self.memory = Memory(settings.hindsight) if settings.hindsight else None
        self.optimizer = make_optimizer(
            self._policy_parameters(), self._critic_parameters(), settings
        )

    def step(self, groups: Sequence[Group]) -> dict[str, float]:
        """Learn from groups of judged episodes; `mini_batches` x `epochs` optimiser steps.

        Episodes that were not judged (infrastructure errors, abstained judges) enter nothing.
        Without any trained token, or when every gradient is exactly zero, no step is made.

        Raises:
            LearnerError: a log-probability is not finite; the weights are as they were before
                the optimiser step that would have used it.
        """
        start = time.perf_counter()
        episodes, group = credit.judged_episodes(groups)
        rows = self._rows(episodes)
        table = credit.turn_table(episodes, group, self.settings.returns)
        self.looks.before_update(rows, table)
        self._credit(rows, episodes, table)

        batches = mini_batches(rows, group, self.settings.mini_batches) * self.settings.epochs
        old = self._old_policy(rows, len(batches))
        updates = [self._update(batch, episodes, table, old) for batch in batches]
        if self.memory is not None:
            updates += self._second_look(self.memory, rows, episodes, table)

        left_out = sum(len(g.episodes) for g in groups) - len(episodes)
        metrics = measure_credit(table, rows, left_out) | average(updates)
        if self.critic is not None and rows:
            metrics["explained_variance"] = explained_variance(rows)
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
        total = sum(abs(scale[r.episode]) * len(r.target) for r in rows)
        for row in rows:
            row.weight = np.full(len(row.target), scale[row.episode] / max(total, 1e-300))
        rows = [r for r in rows if scale[r.episode] != 0.0]

        return self._descend(rows, episodes, imitation) | self._clock(start)

    def state_dict(self) -> dict[str, Any]:
        """Everything a step changes: trainable weights, critic, reference, optimiser, version."""
        return {
            "version": self.version,
            "weights": {n: p.detach().clone() for n, p in self._parameters()},
            "reference": self.reference.state_dict() if self.reference else {},
            "memory": self.memory.state_dict() if self.memory else {},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            LearnerError: the state names other parameters than the learner has.
        """
        mine = dict(self._parameters())
        odd = sorted(set(mine) ^ set(state["weights"]))
        if odd:
            raise LearnerError(
                f"{len(odd)} parameters match nothing, among them {odd[0]!r}",
                where="the learner's checkpoint",
                fix="resume with the model, critic and LoRA settings that wrote it",
            )
        with torch.no_grad():
            for name, value in state["weights"].items():
                mine[name].copy_(value)
        if self.reference is not None:
            self.reference.load_state_dict(state["reference"])
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
        restore(self.optimizer, state["optimizer"])
        self.version = state["version"]

    # What is known before the update.

    def _rows(self, episodes: Sequence[Episode]) -> list[Row]:
        s = self.settings
        tails = s.critic is not None and s.critic.bootstrap
        return make_rows(episodes, strip_hints=s.ratio.hints == "strip", keep_tail=tails)

    def _credit(
        self, rows: Sequence[Row], episodes: Sequence[Episode], table: credit.TurnTable
    ) -> None:
        """Stages 1 and 2: give every trained token its advantage."""
        s = self.settings
        if s.critic is not None:
            critic_credit(rows, episodes, table, s.critic)
            if s.whiten:
                credit.whiten_rows(rows)
            return
        np.subtract.at(
            table.outcome, [r.episode for r in rows], [float(r.penalty.sum()) for r in rows]
        )
        finer = any(c.source == "spans" for c in s.channels.values())
        advantage = credit.advantages(table, s.channels, s.whiten and not finer)
        credit.spread(advantage, table, rows)
        add_span_credit(rows, episodes, table, s.channels, self._spelling)
        if s.whiten and finer:
            credit.whiten_rows(rows)
        if s.field.hidden is not None:
            emphasise(rows, table.group, s.field.hidden, self.trunk, self.looks.micro_batches)

    def _old_policy(self, rows: Sequence[Row], optimizer_steps: int) -> str:
        """Which policy the ratio is taken to: `current`, `behaviour` or `recompute`."""
        old = self.settings.ratio.old
        if old == "recompute":
            self.looks.fill(rows, "old", lambda b: self.trunk.logprobs(b)[0])
        if old != "auto":
            return old
        same = all((r.version == self.version).all() and not r.hinted for r in rows)
        return "current" if same and optimizer_steps == 1 else "behaviour"

    # The update.

    def _update(
        self, rows: list[Row], episodes: Sequence[Episode], table: credit.TurnTable, old: str
    ) -> dict[str, float]:
        """One optimiser step on `rows`."""
        s = self.settings
        asked = self._asked({r.episode: episodes[r.episode] for r in rows})
        rows = weigh(rows, episodes, s.field, s.aggregation)
        extra: dict[str, float] = {}
        if s.link is not None and rows:
            now = "behave" if old == "current" and s.link.kind != "dpo" else "now"
            if now == "now":
                self.looks.fill(rows, "now", lambda b: self.trunk.logprobs(b)[0])
            extra["link_loss"] = link_credit(rows, table.outcome, table.group, s.link, now)
        counted = sum(len(r.target) for r in rows)
        rows = [r for r in rows if self._has_gradient(r)]
        extra["tokens_skipped"] = float(counted - sum(len(r.target) for r in rows))

        s = self._shaped(rows)
        return extra | self._descend(rows + asked, episodes, lambda t: self._losses(t, old, s))

    def _asked(self, episodes: Mapping[int, Episode]) -> list[Row]:
        """The rows of the auxiliary losses of an optimiser step."""
        asked = auxiliary_rows(self.auxiliary, episodes, self._spelling)
        named = {n for n, each in self.auxiliary.items() if each.needs_reference}
        unsure = [r for r in asked if r.auxiliary in named]
        if unsure and self.reference is not None:
            self.looks.fill(unsure, "reference", self.reference.logprobs)
        return asked

    def _shaped(self, rows: Sequence[Row]) -> LearnerSettings:
        """The settings, with the gamma that `off_policy.quantile` asks for."""
        s, foreign = self.settings, [r for r in rows if r.foreign.any()]
        if s.off_policy is None or s.off_policy.quantile is None or not foreign:
            return s
        self.looks.fill(foreign, "now", lambda b: self.trunk.logprobs(b)[0])
        away = np.concatenate([(r.now - r.behave)[r.foreign] for r in foreign])
        ratios = np.exp(np.clip(away, -LIMIT, LIMIT))
        gamma = max(float(np.quantile(ratios, s.off_policy.quantile)), 1e-4)
        return s.model_copy(update={"off_policy": s.off_policy.model_copy(update={"gamma": gamma})})

    def _second_look(
        self,
        memory: Memory,
        rows: list[Row],
        episodes: Sequence[Episode],
        table: credit.TurnTable,
    ) -> list[dict[str, float]]:
        """PIPO: one more step on the last batch, weighted by what came of it."""
        s = self.settings
        feedback = memory.feedback(table.outcome, [e.task for e in episodes])
        done: list[dict[str, float]] = []
        if last := memory.weighed(feedback, s.aggregation):
            plain = s.model_copy(update={"divergences": {}, "critic": None, "link": None})
            moved = self._descend(last, [], lambda t: self._loss(t, "behaviour", plain))
            done = [{"hindsight": feedback} | moved]
        memory.keep(rows, table.group, attribute=s.critic is None)
        return done

    def _has_gradient(self, row: Row) -> bool:
        """False when every token's loss has a gradient of exactly zero: the row is skipped."""
        s = self.settings
        if self.critic is not None:
            return True
        terms = s.divergences.values()
        pulled = any(d.place == "loss" and d.coefficient != 0.0 for d in terms)
        return bool(pulled or (row.weight.any() and row.advantage.any()))

    def _losses(self, t: Tokens, old: str, s: LearnerSettings) -> Objective:
        """The loss of the sampled tokens of a micro-batch, and those of its forced ones."""
        sampled = t.of("")
        some = len(sampled.logp) > 0
        out = self._loss(sampled, old, s) if some else Objective(t.logp.sum() * 0.0)
        for name, each in self.auxiliary.items():
            forced = t.of(name)
            if len(forced.logp):
                part = each.loss(forced)
                out.loss = out.loss + part.loss
                out.means |= part.means
                out.sums[f"auxiliary_{name}"] = part.loss.detach()
        return out

    def _loss(self, t: Tokens, old: str, s: LearnerSettings) -> Objective:
        """The loss of sampled tokens: the policy's, and the critic's if there is one."""
        out = objective(t, s, old, self.trunk, self.reference)
        if s.critic is None or self.critic is None:
            return out
        warming = self.version < s.critic.warmup_steps
        hidden = t.hidden.detach() if warming else t.hidden
        values = value_objective(self.critic(t.batch, hidden, t.batch.where), t, s)
        out.sums["value_loss"] = values.detach()
        out.loss = values if warming else out.loss + values
        return out

    def _descend(
        self,
        rows: Sequence[Row],
        episodes: Sequence[Episode],
        loss: Callable[[Tokens], Objective],
    ) -> dict[str, float]:
        """One optimiser step down the sum of `loss` over micro-batches and ranks.

        Without any row nothing moves, not even by momentum.
        """
        if not rows:
            return {"loss": 0.0, "grad_norm": 0.0, "optimizer_steps": 0.0}
        meter = Meter()
        error: LearnerError | None = None
        for batch in self.looks.micro_batches(ranks.share(rows)):
            t = self._tokens(batch)
            error = why_not_finite(t, episodes, self.version)
            if error is not None:
                break
            out = loss(t)
            out.loss.backward()
            measure(meter, t, out, self.settings.coefficient, self.version)
        try:
            ranks.agree(error)
            parameters = [p for _, p in self._policy_parameters()]
            critic = [p for _, p in self._critic_parameters()]
            ranks.sum_gradients([*parameters, *critic])
            moved = clip_and_step(self.optimizer, parameters, critic, self.version, self.settings)
        finally:
            self.optimizer.zero_grad()
        self.version += 1
        if self.reference is not None:
            self.reference.follow()
        return Meter.merge(ranks.gather(meter)).result() | moved

    def _tokens(self, batch: MicroBatch) -> Tokens:
        hidden = self.trunk.hidden(batch)
        states = hidden.index_select(0, batch.where)
        return Tokens(batch, hidden, states, *self.trunk.score(states, batch.target))

    def _policy_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(n, p) for n, p in self.policy.model.named_parameters() if p.requires_grad]

    def _critic_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return self.critic.named_parameters() if self.critic else []

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return self._policy_parameters() + self._critic_parameters()

    def _clock(self, start: float) -> dict[str, float]:
        return {"version": float(self.version), "seconds": time.perf_counter() - start}
