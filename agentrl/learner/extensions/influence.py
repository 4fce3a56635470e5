"""THR: how much raising one token raises the group's correct answers (token hidden reward).

With g = onehot(token) - pi(.|context) on the ids that occur in the group, and h the hidden state
that predicts the token, one gradient step on token t moves the log-probability of token k by
about <g_t, g_k> <h_t, h_k>. Summed over the tokens of correct answers: s_t = g_t' M h_t with
M = sum g_k h_k'. (Deng et al. 2025; the token's own advantage gives the sign.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from agentrl.learner.pack import MicroBatch
from agentrl.learner.rows import Row
from agentrl.learner.settings import HiddenReward
from agentrl.learner.trunk import Trunk

Tensor = torch.Tensor


def influence(g: Tensor, h: Tensor, correct: Tensor) -> Tensor:
    """[N], s_t of every token. g: [N, V*], h: [N, d], correct: bool[N]."""
    matrix = g[correct].T @ h[correct]
    return ((g @ matrix) * h).sum(-1)


def emphasis(
    s: np.ndarray, advantage: np.ndarray, answer: np.ndarray, hidden: HiddenReward
) -> np.ndarray:
    """float64[N], the factor of each token of a group of right and wrong answers.

    Args:
        s: float64[N], influence; advantage: float64[N], positive in right answers.
        answer: int64[N], the answer that a token is in.
    """
    answers, a = np.unique(answer, return_inverse=True)
    size = np.bincount(a)
    right = np.bincount(a, advantage) > 0
    tau = hidden.dominance * (np.bincount(a, s) / size)[right].min()
    if hidden.kind == "thr":
        factor = 1.0 + hidden.p * np.sign(s * advantage)
        return np.where((np.abs(s) > tau) | (hidden.dominance == 0), factor, 1.0)
    eta = 2.0 * abs(0.5 - right.sum() / len(answers))
    return np.where((s > tau) & ~right[a], eta, 1.0)


@torch.no_grad()
def emphasise(
    rows: Sequence[Row],
    group: np.ndarray,
    hidden: HiddenReward,
    trunk: Trunk,
    micro_batches: Callable[[Sequence[Row]], list[MicroBatch]],
) -> None:
    """Set `emphasis` of all rows of groups that have right and wrong answers.

    Right are those with a positive advantage. Memory: N x (d + distinct ids) of one group.
    """
    for key in np.unique([group[r.episode] for r in rows]):
        mine = [r for r in rows if group[r.episode] == key]
        signs = {float(np.sign(r.advantage.sum())) for r in mine}
        if not {1.0, -1.0} <= signs:
            continue
        ids = torch.as_tensor(np.unique(np.concatenate([r.target for r in mine])))
        parts = [_directions(b, trunk, ids.to(trunk.device)) for b in micro_batches(mine)]
        g, h = (torch.cat(p) for p in zip(*[(g, h) for g, h, _ in parts], strict=True))
        order = [r for _, _, part in parts for r in part]
        sizes = [len(r.target) for r in order]
        advantage = np.concatenate([r.advantage for r in order])
        correct = np.repeat([r.advantage.sum() > 0 for r in order], sizes)
        s = influence(g, h, torch.as_tensor(correct, device=g.device)).double().cpu().numpy()
        factor = emphasis(s, advantage, np.repeat([r.episode for r in order], sizes), hidden)
        for row, part in zip(order, np.split(factor, np.cumsum(sizes)[:-1]), strict=True):
            row.emphasis = part


def _directions(batch: MicroBatch, trunk: Trunk, ids: Tensor) -> tuple[Tensor, Tensor, list[Row]]:
    hidden = trunk.hidden(batch)[batch.where]
    p = trunk.head(hidden).float().softmax(-1)[:, ids]
    onehot = (batch.target[:, None] == ids).to(p.dtype)
    return onehot - p, hidden.float(), batch.rows
