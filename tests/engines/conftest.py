import pytest
import torch
from transformers import PreTrainedTokenizerFast

from agentrl.models import Policy, tiny_policy, train_tokenizer

TEXTS = ["def add(a, b):\n    return a + b\n", "the test failed at line 12", "view(path)"] * 20
SIZES = {"hidden": 48, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16}


@pytest.fixture(scope="session")
def hf_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 1600, whole_numbers=1000)


def sharpen(policy: Policy, factor: float = 4.0) -> Policy:
    """Fresh weights give an almost uniform policy, which would hide most mistakes."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.ndim > 1:
                weight.mul_(factor)
    return policy


@pytest.fixture(scope="session")
def policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    return sharpen(tiny_policy(hf_tokenizer, **SIZES, max_positions=2048))


@pytest.fixture
def own_policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    """One whose weights a test may change."""
    return sharpen(tiny_policy(hf_tokenizer, **SIZES, max_positions=256, seed=5))
