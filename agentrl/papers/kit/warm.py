"""Small transformers that were shown how something is done: the start of the longer claims."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentrl.core import Episode, derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from agentrl.models import Policy

WIDTH, BATCH, RATE = 48, 48, 5e-3


def untaught(tokenizer: PreTrainedTokenizerFast, max_positions: int) -> Policy:
    """About a tenth of a million fresh weights, always the same."""
    from agentrl.models import tiny_policy

    return tiny_policy(
        tokenizer,
        hidden=WIDTH,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=WIDTH // 2,
        max_positions=max_positions,
        initializer_range=WIDTH**-0.5,  # learns to copy in a fraction of the steps
        seed=derive_seed(0, "weights"),
    )


def imitate(policy: Policy, shown: Sequence[Episode], steps: int) -> None:
    """Steps of cross entropy, each on `BATCH` of the episodes; the rate falls to zero."""
    from agentrl.learner import Learner, LearnerSettings

    settings = LearnerSettings(
        learning_rate=RATE, schedule="linear", total_steps=steps, warmup_steps=10
    )
    learner = Learner(policy, settings)
    rng = random.Random(derive_seed(0, "batches"))
    for _ in range(steps):
        learner.imitate(rng.sample(shown, BATCH))
