"""Stages 4, 5 and 7: pure functions of 1-D tensors over trained tokens.

Nothing here masks, averages over a batch or measures anything. What matters about a policy loss
is its coefficient kappa(ratio, advantage): grad loss = -kappa * grad logp, which the tests walk
through autograd.
"""

from __future__ import annotations

import torch

from agentrl.learner.settings import Coefficient, Ratio

Tensor = torch.Tensor
LIMIT = 20.0
"""Log ratios are held in [-LIMIT, LIMIT] before exp."""


def segment_mean(values: Tensor, unit: Tensor, *, total: bool = False) -> Tensor:
    """[N], the mean (or sum) of `values` over each unit, spread back over its tokens.

    Args:
        values: [N]; unit: int64[N] from 0, the row or turn that a token belongs to.
    """
    count = int(unit.max()) + 1 if len(unit) else 0
    sums = values.new_zeros(count).index_add(0, unit, values)
    if not total:
        sums = sums / torch.bincount(unit, minlength=count).clamp(min=1)
    return sums[unit]


def policy_ratio(logp: Tensor, old: Tensor, unit: Tensor, level: str) -> Tensor:
    """Stage 4: [N], pi / pi_old of each token, or of the unit that it is in."""
    log_ratio = logp - old
    if level != "token":
        log_ratio = segment_mean(log_ratio, unit, total=level == "row_sum")
    return log_ratio.clamp(-LIMIT, LIMIT).exp()


def correction(logp: Tensor, old: Tensor, behave: Tensor, r: Ratio, *, behaviour: bool) -> Tensor:
    """[N], detached: what an engine that is not the trainer's policy costs each token.

    With a proximal policy `old` this is pi_old / pi_behave, truncated or masked at the cap. With
    `behaviour` (old is the behaviour policy itself) the ratio already is the importance weight,
    and the factor brings it down to the cap.
    """
    if r.correction == "none":
        return torch.ones_like(logp)
    now = logp if behaviour else old
    weight = (now.detach() - behave).clamp(-LIMIT, LIMIT).exp()
    given = weight if behaviour else torch.ones_like(weight)
    if r.correction == "truncate":
        return weight.clamp(max=r.cap) / given
    inside = (weight <= r.cap) & (weight >= 1.0 / r.cap)
    return torch.where(inside, weight / given, torch.zeros_like(weight))


def policy_loss(ratio: Tensor, logp: Tensor, advantage: Tensor, c: Coefficient) -> Tensor:
    """Stage 5: [N], the loss of each token, to be minimised. All kinds are linear in |A|."""
    if c.kind == "reinforce":
        return -advantage * logp
    if c.kind == "identity":
        return -advantage * ratio
    if c.kind == "shape":
        return -advantage * ratio / (ratio + c.gamma)
    if c.kind == "power":
        return -advantage * ratio**c.gamma
    low, high = clip_bounds(advantage, c)
    clipped = torch.minimum(torch.maximum(ratio, low), high)
    if c.kind == "is_clip":
        return -advantage * clipped.detach() * logp
    loss = -torch.minimum(ratio * advantage, clipped * advantage)
    if c.dual is not None:
        loss = torch.where(advantage < 0, torch.minimum(loss, -c.dual * advantage), loss)
    return loss


def clip_bounds(advantage: Tensor, c: Coefficient) -> tuple[Tensor, Tensor]:
    """([N], [N]): the smallest and largest ratio of each token, by the sign of its advantage."""
    negative_low = c.low if c.negative_low == "same" else c.negative_low
    negative_high = c.high if c.negative_high == "same" else c.negative_high
    negative = advantage < 0
    lows = [0.0 if x is None else 1.0 - x for x in (c.low, negative_low)]
    highs = [torch.inf if x is None else 1.0 + x for x in (c.high, negative_high)]
    full = torch.ones_like(advantage)
    low = torch.where(negative, full * lows[1], full * lows[0])
    high = torch.where(negative, full * highs[1], full * highs[0])
    return low, high


def divergence(
    logp: Tensor, target: Tensor, estimator: str, direction: str, ratio: Tensor
) -> Tensor:
    """Stage 7: [N], an estimate from each sampled token; u = target / policy.

    With `reverse`, KL(policy || target) (http://joschu.net/blog/kl-approx.html):
        k1  -log u              right mean; as a loss its coefficient on grad logp is 1
        k2  (log u)^2 / 2       biased mean; coefficient -log u, the right gradient on policy
        k3  u - log u - 1       right mean, never negative; coefficient 1 - u
    With `forward`, KL(target || policy):
        k1  u log u             right mean; coefficient -u (log u + 1)
        k2  u log u - u + 1     right mean; coefficient 1 - u, the right gradient on policy
        k3  u log u - u + 1     the same by plain autograd (RAPO as published): -u log u
    `k3_ratio` multiplies k3 by the differentiable importance ratio.
    """
    d = (target - logp).clamp(-LIMIT, LIMIT)
    u = d.exp()
    if direction == "reverse":
        value = {"k1": lambda: -d, "k2": lambda: 0.5 * d * d}.get(estimator, lambda: u - d - 1.0)()
    elif estimator == "k1":
        value = u * d
    else:
        value = u * d - u + 1.0
        if estimator == "k2":
            slope = (1.0 - u).detach() * logp
            value = value.detach() + slope - slope.detach()
    return value * ratio if estimator == "k3_ratio" else value


def value_loss(value: Tensor, before: Tensor, returns: Tensor, clip: float) -> Tensor:
    """[N], half the squared error; with `clip` the worse of free and clipped (PPO)."""
    error = (value - returns) ** 2
    if clip > 0:
        near = before + (value - before).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * error
