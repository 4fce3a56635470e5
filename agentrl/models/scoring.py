"""Log-probabilities of given tokens."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.spans = list(zip(bounds, bounds[1:], strict=False))

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
