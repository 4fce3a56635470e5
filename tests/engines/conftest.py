import pytest
from engines_kit import SIZES, TEXTS, sharpen
from transformers import PreTrainedTokenizerFast

from agentrl.models import Policy, tiny_policy, train_tokenizer


@pytest.fixture(scope="session")
def hf_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 1600, whole_numbers=1000)


@pytest.fixture(scope="session")
def policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    return sharpen(tiny_policy(hf_tokenizer, **SIZES, max_positions=2048))


@pytest.fixture
def own_policy(hf_tokenizer: PreTrainedTokenizerFast) -> Policy:
    """One whose weights a test may change."""
    return sharpen(tiny_policy(hf_tokenizer, **SIZES, max_positions=256, seed=5))
