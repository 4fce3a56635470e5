"""Auxiliary losses: on tokens that the policy did not sample, but is asked about.

A loss makes rows of its own from the judged episodes of an optimiser step: a context, and tokens
forced behind it. They are packed among the sampled rows, whose prefixes they share, so that one
forced token costs one more position; sampled tokens never see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from agentrl.core import Episode
from agentrl.learner.credit import has_flag
from agentrl.learner.extensions.auxiliary_settings import (
    AuxiliarySettings,
    LastTokenLoss,
    ReferenceLoss,
)
from agentrl.learner.extensions.spans import Spelling
from agentrl.learner.objective import Objective, Tokens, imitation
from agentrl.learner.rows import LearnerError, Row

Tensor = torch.Tensor


class AuxiliaryLoss(Protocol):
    """A further term of the loss."""

    @property
    def needs_reference(self) -> bool:
        """Whether `Row.reference` is filled with the reference policy's log-probabilities."""
        ...

    def rows(self, episodes: Mapping[int, Episode], spelling: Spelling | None) -> list[Row]:
        """`forced_row`s of the episodes of an optimiser step, by their index in the batch."""
        ...

    def loss(self, t: Tokens) -> Objective:
        """The share of one micro-batch, of which `t` holds this loss's tokens."""
        ...


def forced_row(index: int, context: Sequence[int], forced: Sequence[int]) -> Row:
    """A row whose trained tokens are `forced`, behind `context` (not empty)."""
    tokens = np.array([*context, *forced], np.int64)
    n = len(forced)
    where = np.arange(len(context) - 1, len(tokens) - 1)
    return Row(
        episode=index,
        tokens=tokens[:-1],
        where=where,
        target=tokens[len(context) :],
        behave=np.zeros(n),
        turn=np.full(n, -1),
        version=np.full(n, -1),
        foreign=np.zeros(n, bool),
    )


@dataclass(slots=True)
class LastToken:
    """LaSeR's loss, see `LastTokenLoss`. `Row.returns` holds the verdict r_v."""

    settings: LastTokenLoss

    @property
    def needs_reference(self) -> bool:
        return self.settings.c_ref is None

    def rows(self, episodes: Mapping[int, Episode], spelling: Spelling | None) -> list[Row]:
        kept = {i: e for i, e in episodes.items() if e.segments and not has_flag(e, "truncated")}
        right = {i: self._verdict(e) for i, e in kept.items()}
        weight = class_weights(list(right.values()))
        made = []
        for (i, e), w in zip(kept.items(), weight, strict=True):
            row = forced_row(i, e.segments[-1].tokens.tolist(), [self.settings.token])
            row.weight = np.array([self.settings.coefficient * w / len(episodes)])
            row.returns = np.array([float(right[i])])
            made.append(row)
        return made

    def loss(self, t: Tokens) -> Objective:
        s, verdict = self.settings, t.get("returns")
        c_ref = t.get("reference") if s.c_ref is None else s.c_ref
        own = s.beta * (t.logp - c_ref)
        sides = {"right": own.detach()[verdict == 1], "wrong": own.detach()[verdict == 0]}
        return Objective(
            (t.get("weight") * (own - verdict) ** 2).sum(),
            means={f"self_reward_{name}": side for name, side in sides.items()},
        )

    def _verdict(self, episode: Episode) -> bool:
        name = self.settings.verdict
        if not name:
            before = "reward/before_transforms"
            name = before if before in episode.scores else "reward"
        if name not in episode.scores:
            raise LearnerError(
                f"there is no score {name!r} to learn a verdict from",
                where=f"episode {episode.id!r}",
                fix=f"learner.auxiliary.*.verdict is one of: {', '.join(episode.scores)}",
            )
        return episode.scores[name].value > 0.5


def class_weights(right: Sequence[bool]) -> list[float]:
    """N / (2 N_class): both classes weigh the same; a class that is absent has no weight."""
    count = {side: sum(x is side for x in right) for side in (True, False)}
    return [len(right) / (2 * count[x]) for x in right]


@dataclass(slots=True)
class Reference:
    """Cross entropy on references, see `ReferenceLoss`. Tasks without one have no row."""

    settings: ReferenceLoss
    needs_reference: bool = False

    def rows(self, episodes: Mapping[int, Episode], spelling: Spelling | None) -> list[Row]:
        if spelling is None:
            raise LearnerError(
                "references are text, and the learner was given no tokenizer",
                where="learner.auxiliary",
                fix="Learner(policy, settings, policy.tokenizer)",
            )
        s, made = self.settings, []
        for i, e in episodes.items():
            forced = spelling.encode_plain(str(e.task.reference.get(s.reference, "")))
            if not forced or not e.segments:
                continue
            context = [*e.segments[-1].tokens.tolist(), *spelling.encode_plain(s.bridge)]
            row = forced_row(i, context, forced)
            share = s.coefficient / len(episodes)
            row.weight = np.full(len(forced), share / (len(forced) if s.reduce == "mean" else 1))
            made.append(row)
        return made

    def loss(self, t: Tokens) -> Objective:
        return imitation(t, "reference_")


def make_auxiliary(settings: Mapping[str, AuxiliarySettings]) -> dict[str, AuxiliaryLoss]:
    made: dict[str, AuxiliaryLoss] = {}
    for name, s in settings.items():
        made[name] = LastToken(s) if isinstance(s, LastTokenLoss) else Reference(s)
    return made


def auxiliary_rows(
    losses: Mapping[str, AuxiliaryLoss],
    episodes: Mapping[int, Episode],
    spelling: Spelling | None,
) -> list[Row]:
    """The rows of all losses, each marked with the name of its own."""
    made = []
    for name, each in losses.items():
        rows = each.rows(episodes, spelling)
        for row in rows:
            row.auxiliary = name
        made += rows
    return made
