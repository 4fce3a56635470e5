"""Log-probabilities of given tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from agentrl.models.policy import Policy


class CausalPacking:
    """Sequences end to end, each seeing itself only, each token the ones up to it.

    Args:
        bounds: [n + 1], starts of the sequences and the end of the last.
    """

    def __init__(self, bounds: Sequence[int]) -> None:
        self.spans = list(itertools.pairwise(bounds))

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows = [
            functional.scaled_dot_product_attention(
                q[None, :, a:b],
                k[None, :, a:b],
                v[None, :, a:b],
                is_causal=True,
                scale=scale,
                enable_gqa=True,
            )[0]
            for a, b in self.spans
        ]
        return torch.cat(rows, 1).transpose(0, 1)


def score_logprobs(policy: Policy, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
    """float32[T - 1]: log pi(tokens[i + 1] | tokens[..i]) at temperature 1.

    One plain forward of one sequence with all its logits: slow, the yardstick of everything
    that is fast.
    """
    ids = torch.as_tensor(np.asarray(tokens, np.int64), device=policy.device)
    with torch.no_grad():
        hidden = policy.body(
            input_ids=ids[None],
            position_ids=torch.arange(len(ids), device=policy.device)[None],
            use_cache=False,
            packing=CausalPacking([0, len(ids)]),
        ).last_hidden_state[0]
        logprobs = policy.logits(hidden[:-1]).log_softmax(-1)
        return logprobs.gather(1, ids[1:, None])[:, 0].cpu().numpy()


def score_packed(
    policy: Policy,
    sequences: Sequence[Sequence[int]],
    *,
    row_tokens: int = 4096,
    head_rows: int = 1024,
) -> list[np.ndarray]:
    """`score_logprobs` of many sequences: packed end to end, the head run on a chunk at a time.

    Args:
        row_tokens: tokens in one forward pass (one sequence may have more).
        head_rows: positions whose logits exist at once.
    """
    out: list[np.ndarray] = []
    for row in _rows(sequences, row_tokens):
        ids = torch.as_tensor([t for s in row for t in s], device=policy.device)
        bounds = [0, *itertools.accumulate(len(s) for s in row)]
        positions = torch.cat([torch.arange(len(s)) for s in row]).to(policy.device)
        with torch.no_grad():
            hidden = policy.body(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                packing=CausalPacking(bounds),
            ).last_hidden_state[0]
            # The token behind a sequence's last belongs to another one: that column is cut off.
            following = ids.roll(-1)
            logprobs = torch.cat(
                [
                    policy.logits(h).log_softmax(-1).gather(1, t[:, None])[:, 0]
                    for h, t in zip(
                        hidden.split(head_rows), following.split(head_rows), strict=True
                    )
                ]
            )
        values = logprobs.cpu().numpy()
        out.extend(values[a : b - 1] for a, b in itertools.pairwise(bounds))
    return out


def _rows(sequences: Sequence[Sequence[int]], limit: int) -> Iterator[list[Sequence[int]]]:
    row: list[Sequence[int]] = []
    total = 0
    for sequence in sequences:
        if row and total + len(sequence) > limit:
            yield row
            row, total = [], 0
        row.append(sequence)
        total += len(sequence)
    if row:
        yield row
