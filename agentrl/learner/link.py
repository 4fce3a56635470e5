"""Stage 6: losses on the scores of whole groups, without whole groups in one micro-batch.

The loss is a function of one score per episode, and a score is linear in the log-probabilities
of its tokens. So a first pass (no gradient) gives the scores, autograd on that short vector gives
dL/dscore, and the second pass is a policy gradient with coefficient -dL/dscore: the exact
gradient, whatever the micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from agentrl.learner.rows import Row
from agentrl.learner.settings import Link

Tensor = torch.Tensor


def link_loss(score: Tensor, label: Tensor, group: Tensor, link: Link) -> Tensor:
    """The loss of E episodes, a scalar.

    Args:
        score: [E]; label: bool[E]; group: int64[E] from 0.
    """
    if link.kind == "logsumexp":
        return _logsumexp_loss(score, label, group)
    if link.kind == "dpo":
        return _pair_loss(score, label, group)
    psi = _contrast(score, group, link.contrast)
    losses = F.binary_cross_entropy_with_logits(psi, label.to(psi.dtype), reduction="none")
    return (_class_weights(label, group, link.balance).to(psi.dtype) * losses).mean()


def _logsumexp_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
    """REAL: log(1 + sum_+ exp(-s)) + log(1 + sum_- exp(s)), mean over groups of both classes."""
    terms = []
    for g in range(int(group.max()) + 1):
        mine = group == g
        good, bad = score[mine & label], score[mine & ~label]
        if len(good) and len(bad):
            anchor = score.new_zeros(1)
            terms.append(
                torch.logsumexp(torch.cat([anchor, -good]), 0)
                + torch.logsumexp(torch.cat([anchor, bad]), 0)
            )
    return torch.stack(terms).mean() if terms else (score * 0.0).sum()


def _pair_loss(score: Tensor, label: Tensor, group: Tensor) -> Tensor:
    """DPO: mean over the mixed groups of the mean over pairs of -log sigmoid(s+ - s-)."""
    terms = []
    for g in range(int(group.max()) + 1):
        good, bad = score[(group == g) & label], score[(group == g) & ~label]
        if len(good) and len(bad):
            terms.append(F.softplus(bad[None, :] - good[:, None]).mean())
    return torch.stack(terms).mean() if terms else (score * 0.0).sum()


def _contrast(score: Tensor, group: Tensor, kind: str) -> Tensor:
    if kind == "none":
        return score
    count = torch.bincount(group).to(score.dtype)
    mean = (score.new_zeros(len(count)).index_add(0, group, score) / count)[group]
    if kind == "leave_one_out":
        n = count[group]
        return (score - mean) * n / (n - 1).clamp(min=1)
    square = score.new_zeros(len(count)).index_add(0, group, (score - mean) ** 2)
    return (score - mean) / (torch.sqrt(square / count + 1e-12)[group] + 1e-4)


def _class_weights(label: Tensor, group: Tensor, balance: str) -> Tensor:
    """n / (2 n_class) where a group has both classes and the class is balanced, else 1."""
    weight = torch.ones(len(label), dtype=torch.float64)
    if balance == "none":
        return weight
    n = torch.bincount(group).double()
    good = torch.bincount(group, label.double())
    mine = torch.where(label, good[group], n[group] - good[group])
    meant = torch.ones_like(label) if balance == "both" else label == (balance == "positive")
    return torch.where((mine < n[group]) & meant, n[group] / (2 * mine), weight)


def link_credit(
    rows: Sequence[Row], reward: np.ndarray, group: np.ndarray, link: Link, now: str
) -> float:
    """Set `advantage` and `weight` of the rows so that `reinforce` on them is the link's gradient.

    Args:
        reward: float64[E] and group: int64[E], of the episodes that rows point to.
        now: the attribute of rows with the current log-probabilities (`behave` on policy).

    Returns:
        The link loss.
    """
    episodes, e = np.unique([r.episode for r in rows], return_inverse=True)
    count = np.bincount(e, [len(r.target) for r in rows])
    base = 0.0 if link.score == "mean_logprob" else 1.0
    than = "reference" if link.kind == "dpo" else "behave"
    sums = np.bincount(e, [(getattr(r, now) - base * getattr(r, than)).sum() for r in rows])
    length = {"sum": np.ones_like(count), "sqrt": np.sqrt(count)}.get(link.score, count)
    slope = link.scale / length
    score = torch.tensor(slope * sums, requires_grad=True)
    _, keys = np.unique(group[episodes], return_inverse=True)
    label = _labels(reward[episodes], keys, link.threshold)
    loss = link_loss(score, torch.as_tensor(label), torch.as_tensor(keys), link)
    (slope_of_loss,) = torch.autograd.grad(loss, score)
    for row, i in zip(rows, e, strict=True):
        row.advantage = np.full(len(row.target), -float(slope_of_loss[i]))
        row.weight = np.full(len(row.target), slope[i])
    return float(loss.detach())


def _labels(reward: np.ndarray, keys: np.ndarray, threshold: float | str) -> np.ndarray:
    if threshold != "mean":
        return np.asarray(reward > threshold)
    mean = np.bincount(keys, reward) / np.bincount(keys)
    return np.asarray(reward > mean[keys] + 1e-9)
