"""Small lively policies for the engines' tests."""

import torch

from agentrl.models import Policy

TEXTS = ["def add(a, b):\n    return a + b\n", "the test failed at line 12", "view(path)"] * 20
SIZES = {"hidden": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16}


def sharpen(policy: Policy, factor: float = 4.0) -> Policy:
    """Fresh weights give an almost uniform policy, which would hide most mistakes."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.ndim > 1:
                weight.mul_(factor)
    return policy
