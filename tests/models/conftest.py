import pytest
from transformers import PreTrainedTokenizerFast

from agentrl.models import train_tokenizer

TEXTS = [
    "def add(a, b):\n    return a + b\n\n\nclass Ledger:\n    balance = 0\n",
    "the test failed at line 12: expected 300 but got 299",
    '{"name": "view", "arguments": {"path": "src/main.py"}}',
] * 20


@pytest.fixture(scope="session")
def hf_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 1600, whole_numbers=1000)
