"""Drawing tokens so that a seeded generation is the same whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on (seed, position) alone: 53 bits of SplitMix64.

    Counter-based, so no generator state has to follow a request through pauses, preemption and
    batches. Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    """
    x = _mix(_mix(seed & _MASK) + position * 0x9E3779B97F4A7C15)
    return (x >> 11) * 2.0**-53


def _mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def draw(
    logits: torch.Tensor, temperatures: Sequence[float], uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """Draw one token per row by inverting the cumulative distribution.

    Inversion moves a token only when the noise in the logits (1e-6) moves a boundary across the
    uniform number; the sum runs in float64 so that it adds none of its own.

    Args:
        logits: float32[N, V], untempered.
        temperatures: [N]; 0 takes the largest logit (the first of equals).
        uniforms: [N] in [0, 1).

    Returns:
        Token ids [N] and their log-probabilities [N] at temperature 1; NaN where a row's logits
        hold NaN or +inf.
    """
    logprobs = logits.log_softmax(-1)
    hot = torch.tensor([t if t > 0 else 1.0 for t in temperatures], device=logits.device)
    # Not from log-probabilities: at temperature 1 both are the same, but this is one pass less.
    chances = (logits / hot[:, None]).softmax(-1)
    ladder = chances.cumsum(-1, dtype=torch.float64)
    draws = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
    target = (draws * ladder[:, -1])[:, None]
    tokens = torch.searchsorted(ladder, target, right=True)[:, 0].clamp_(max=logits.shape[1] - 1)
    if any(t <= 0 for t in temperatures):
        greedy = torch.tensor([t <= 0 for t in temperatures], device=logits.device)
        tokens = torch.where(greedy, logits.argmax(-1), tokens)
    chosen = logprobs.gather(1, tokens[:, None])[:, 0]
    return tokens.tolist(), chosen.tolist()
