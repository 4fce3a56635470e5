"""Models for the tests against a real vLLM (its CPU build): `make test-vllm`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
# Servers run in processes of their own and import agentrl there.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

from engines_kit import SIZES, TEXTS, sharpen

from agentrl.models import Policy, save_policy, tiny_policy, train_tokenizer

# What vLLM's attention takes on a CPU: heads of 32 numbers and more.
SHAPE = {**SIZES, "hidden": 128, "head_dim": 32}


def make(seed: int) -> Policy:
    tokenizer = train_tokenizer(TEXTS, 1600, whole_numbers=1000)
    return sharpen(tiny_policy(tokenizer, **SHAPE, max_positions=2048, seed=seed), 3.0)


@pytest.fixture(scope="session")
def old_policy() -> Policy:
    return make(0)


@pytest.fixture(scope="session")
def new_policy() -> Policy:
    return make(1)


@pytest.fixture(scope="session")
def model_dir(old_policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "old"
    save_policy(old_policy, path)
    return path


@pytest.fixture(scope="session")
def new_dir(new_policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "new"
    save_policy(new_policy, path)
    return path
