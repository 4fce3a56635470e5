"""The demo's policy: a small transformer with fresh weights and a tokenizer of its own.

It has read nothing but the transcripts it is about to imitate, so what it can do after the warm
start is all there is: no pretraining stands behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentrl.core import Episode
from agentrl.episodes.rerender import texts
from agentrl.models import save_policy, tiny_policy, train_tokenizer

VOCABULARY = 2048
# What the policy has to repeat (an operator, a small number) is a token of its own wherever it
# stands, in the code it reads as in the calls it writes; what surrounds it in calls is one token.
WORDS = (
    r"""\[\w+\(|", \w+="?|\w+="|"?\)\]|%s"""
    r"""| ?(?!(?:and|or|not|is|in|True|False)\b)[\p{L}_]+|[\p{L}_]+|[<>=!+*/%%-]+|[\r\n]+|\s+|."""
)


def make_policy(episodes: Sequence[Episode], path: Path, *, seed: int) -> int:
    """Train a tokenizer on the episodes and save a policy with random weights; returns its size."""
    tokenizer = train_tokenizer(texts(episodes), VOCABULARY, whole_numbers=100, words=WORDS)
    policy = tiny_policy(
        tokenizer,
        hidden=128,
        layers=2,
        heads=6,
        kv_heads=6,
        head_dim=32,
        intermediate=320,
        max_positions=4096,
        initializer_range=0.1,
        seed=seed,
    )
    save_policy(policy, path)
    return sum(p.numel() for p in policy.model.parameters())
