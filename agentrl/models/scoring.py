"""Log-probabilities of given tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from agentrl.core import PlacedImage, TokenScores
from agentrl.models.language import hidden_states
from agentrl.models.policy import Policy
from agentrl.models.vision import embed, join_positions


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


def score_logprobs(
    policy: Policy, tokens: Sequence[int] | np.ndarray, images: Sequence[PlacedImage] = ()
) -> np.ndarray:
    """float32[T - 1]: log pi(tokens[i + 1] | tokens[..i]) at temperature 1.

    One plain forward of one sequence with all its logits: slow, the yardstick of everything
    that is fast.
    """
    ids = torch.as_tensor(np.asarray(tokens, np.int64), device=policy.device)
    request = ScoreRequest(ids.tolist(), images=images)
    with torch.no_grad():
        hidden = _hidden(policy, [request], ids, CausalPacking([0, len(ids)]))
        logprobs = policy.logits(hidden[:-1]).log_softmax(-1)
        return logprobs.gather(1, ids[1:, None])[:, 0].cpu().numpy()


@dataclass(slots=True, frozen=True)
class ScoreRequest:
    """What to score: tokens[start:], with 1 <= start <= len(tokens)."""

    tokens: Sequence[int]
    start: int = 1
    entropy: bool = False
    hidden: bool = False
    images: Sequence[PlacedImage] = ()

    def __len__(self) -> int:
        return len(self.tokens)


def score_tokens(
    policy: Policy,
    requests: Sequence[ScoreRequest],
    *,
    row_tokens: int = 4096,
    head_rows: int = 1024,
) -> list[TokenScores]:
    """Scores of many sequences: packed end to end, the head run on scored positions only and on
    a chunk of them at a time.

    Args:
        row_tokens: tokens in one forward pass (one sequence may have more).
        head_rows: positions whose logits exist at once.
    """
    return [
        s for row in _packed_rows(requests, row_tokens) for s in _score_row(policy, row, head_rows)
    ]


@torch.no_grad()
def _score_row(policy: Policy, row: Sequence[ScoreRequest], head_rows: int) -> list[TokenScores]:
    device = policy.device
    ids = torch.as_tensor([t for r in row for t in r.tokens], device=device)
    bounds = [0, *itertools.accumulate(len(r) for r in row)]
    # The hidden state of a token predicts the one behind it.
    spans = [
        (a + r.start - 1, b - 1) for r, (a, b) in zip(row, itertools.pairwise(bounds), strict=True)
    ]
    where = torch.cat([torch.arange(a, b) for a, b in spans]).to(device)
    hidden = _hidden(policy, row, ids, CausalPacking(bounds))[where]
    targets = ids[where + 1]
    wanted = any(r.entropy for r in row)
    parts = [
        _head(policy, h, t, wanted)
        for h, t in zip(hidden.split(head_rows), targets.split(head_rows), strict=True)
    ]
    logprobs, entropies = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    ends = list(itertools.accumulate(b - a for a, b in spans))
    out = []
    for request, end, (a, b) in zip(row, ends, spans, strict=True):
        rows = slice(end - (b - a), end)
        out.append(
            TokenScores(
                logprobs[rows],
                entropies[rows] if request.entropy else None,
                hidden[rows].float().cpu().numpy() if request.hidden else None,
            )
        )
    return out


def _hidden(
    policy: Policy, row: Sequence[ScoreRequest], ids: torch.Tensor, packing: CausalPacking
) -> torch.Tensor:
    """[T, hidden] of the requests of one row, with their images."""
    starts = [start for start, _ in packing.spans]
    embeds = None
    if policy.vision is None:
        positions = torch.cat([torch.arange(len(r)) for r in row])
    else:
        sets = [policy.vision.positions(policy.model, r.tokens, r.images) for r in row]
        positions = torch.from_numpy(join_positions(sets))
        where = [policy.vision.filled(r.images) + a for r, a in zip(row, starts, strict=True)]
        images = [placed.image for r in row for placed in r.images]
        if images:
            features = policy.vision.features(policy.model, images)
            places = torch.from_numpy(np.concatenate(where)).to(policy.device)
            embeds = embed(policy.model, ids, places, features)
    return hidden_states(policy.model, ids, positions.to(policy.device), packing, embeds)


def _head(
    policy: Policy, hidden: torch.Tensor, targets: torch.Tensor, entropy: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities [N] and entropies in nats [N] ([N] of 0 when not asked for)."""
    logprobs = policy.logits(hidden).log_softmax(-1)
    chosen = logprobs.gather(1, targets[:, None])[:, 0]
    # A token that cannot come has probability 0 and adds nothing: 0 * -inf would be NaN.
    entropies = torch.special.entr(logprobs.exp()).sum(-1) if entropy else torch.zeros_like(chosen)
    return chosen, entropies


def _packed_rows(requests: Sequence[ScoreRequest], limit: int) -> Iterator[list[ScoreRequest]]:
    """Cut into rows of at most `limit` tokens, in order; a longer request is a row of its own."""
    row: list[ScoreRequest] = []
    total = 0
    for request in requests:
        if row and total + len(request) > limit:
            yield row
            row, total = [], 0
        row.append(request)
        total += len(request)
    if row:
        yield row
