"""Stages 4 to 8 put together: the share of one micro-batch in the loss of an optimiser step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from agentrl.core import Episode
from agentrl.learner import losses
from agentrl.learner.pack import MicroBatch
from agentrl.learner.reference import ReferencePolicy
from agentrl.learner.rows import LearnerError
from agentrl.learner.settings import Coefficient, Divergence, LearnerSettings
from agentrl.learner.trunk import Trunk
from agentrl.models.logprobs import full_divergence

Tensor = torch.Tensor
REINFORCE = Coefficient(kind="reinforce")


@dataclass(slots=True)
class Tokens:
    """The trained tokens of a micro-batch under the current policy; tensors are [N] or [N, d]."""

    batch: MicroBatch
    hidden: Tensor  # [T, d], of all packed tokens
    states: Tensor  # [N, d], the hidden states that predict
    logp: Tensor
    entropy: Tensor

    @property
    def foreign(self) -> Tensor:
        """bool[N], what the policy did not draw in this context."""
        return self.batch.gather("foreign", torch.bool)

    def of(self, auxiliary: str) -> Tokens:
        """Those of one auxiliary loss; "" for the sampled ones."""
        mine = [r.auxiliary == auxiliary for r in self.batch.rows]
        if all(mine):
            return self
        keep = torch.tensor(mine, device=self.logp.device)
        inside = keep[self.batch.row]
        return Tokens(
            self.batch.only(keep),
            self.hidden,
            self.states[inside],
            self.logp[inside],
            self.entropy[inside],
        )

    def get(self, name: str) -> Tensor:
        """An array of the rows, in the dtype of the loss."""
        return self.batch.gather(name, self.logp.dtype)


@dataclass(slots=True)
class Objective:
    """`loss` is a scalar; the rest is for measuring, and not part of any graph."""

    loss: Tensor
    ratio: Tensor = field(default_factory=Tensor)  # [N], as `factor`: of the sampled tokens
    factor: Tensor = field(default_factory=Tensor)
    means: dict[str, Tensor] = field(default_factory=dict)  # [n] each, to be averaged
    sums: dict[str, Tensor] = field(default_factory=dict)  # scalars, to be added up


def objective(
    t: Tokens, s: LearnerSettings, old_kind: str, trunk: Trunk, reference: ReferencePolicy | None
) -> Objective:
    """(weight * (correction * policy loss + sum of coefficient * divergence)).sum()."""
    behave, advantage, weight = (t.get(n) for n in ("behave", "advantage", "weight"))
    if old_kind == "current":
        old = t.logp.detach()
    else:
        old = behave if old_kind == "behaviour" else t.get("old")
    unit = t.batch.turn if s.ratio.level == "turn" else t.batch.row
    ratio = losses.policy_ratio(t.logp, old, unit, s.ratio.level)
    if s.link is None:
        r = s.ratio
        factor = losses.correction(t.logp, old, behave, r, behaviour=old_kind == "behaviour")
        per_token = factor * losses.policy_loss(ratio, t.logp, advantage, s.coefficient)
        if s.off_policy is not None:
            other = losses.policy_loss(ratio, t.logp, advantage, s.off_policy)
            per_token = torch.where(t.foreign, other, per_token)
    else:  # stage 6 has made weights and advantages of its own
        factor = torch.ones_like(behave)
        per_token = losses.policy_loss(ratio, t.logp, advantage, REINFORCE)
    out = Objective((weight * per_token).sum(), ratio.detach(), factor)
    for name, d in s.divergences.items():
        if d.place == "loss" and d.coefficient != 0.0:
            term = _term(t, d, ratio, trunk, reference)
            out.loss = out.loss + d.coefficient * (t.get("pull") * term).sum()
            out.means[f"divergence_{name}"] = term.detach()
    return out


def _term(
    t: Tokens, d: Divergence, ratio: Tensor, trunk: Trunk, reference: ReferencePolicy | None
) -> Tensor:
    """[N], the divergence at each trained token; for `uniform` up to log V: minus the entropy."""
    if d.target == "uniform":
        return -t.entropy
    assert reference is not None
    hinted = d.target == "hinted"
    if hinted and not t.get("taught").any():
        return torch.zeros_like(t.logp)
    if d.estimator != "full":
        target = t.get("told" if hinted else d.target)
        term = losses.divergence(t.logp, target, d.estimator, d.direction, ratio)
    else:
        term = full_divergence(
            t.states,
            trunk.head,
            t.get("told_states") if hinted else reference.hidden(t.batch),
            reference.trunk.head,
            direction=d.direction,
            power=t.get("power") if d.target == "tempered" else None,
            mix=d.mix,
            top=d.top,
        )
    return t.get("taught") * term if hinted else term


def value_objective(value: Tensor, t: Tokens, s: LearnerSettings) -> Tensor:
    """The critic's share of a micro-batch: a mean over the values of the optimiser step."""
    assert s.critic is not None
    error = losses.value_loss(value, t.get("value"), t.get("returns"), s.critic.clip)
    return s.critic.coefficient * (t.get("value_weight") * error).sum()


def imitation(t: Tokens, prefix: str = "") -> Objective:
    """Cross entropy; what is measured of it gets the prefix."""
    means = {f"{prefix}logprob": t.logp.detach(), f"{prefix}entropy": t.entropy.detach()}
    return Objective(-(t.get("weight") * t.logp).sum(), means=means)


def why_not_finite(t: Tokens, episodes: Sequence[Episode], version: int) -> LearnerError | None:
    """What is wrong with the log-probabilities of a micro-batch, or None."""
    bad = ~torch.isfinite(t.logp.detach())
    if not bool(bad.any()):
        return None
    row = t.batch.rows[int(t.batch.row[bad][0])]
    return LearnerError(
        f"{int(bad.sum())} log-probabilities of the policy are not finite at weights version "
        f"{version}",
        where=f"episode {episodes[row.episode].id!r}" if episodes else "the last batch",
        fix="the weights or the compute dtype overflow; no optimiser step was made",
    )
