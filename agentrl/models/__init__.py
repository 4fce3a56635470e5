"""The policy as weights: loading, tokenizer and chat template, small policies of our own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentrl.models.policy import Policy, load_policy, make_policy, save_policy
    from agentrl.models.scoring import (
        CausalPacking,
        ScoreRequest,
        score_logprobs,
        score_tokens,
    )
    from agentrl.models.template import builtin_template
    from agentrl.models.tiny import COMPACT_SPECIALS, tiny_policy, train_tokenizer
    from agentrl.models.tiny_vision import VISION_SPECIALS, tiny_vision_policy
    from agentrl.models.tokenizer import ChatTokenizer
    from agentrl.models.vision import Vision
    from agentrl.models.weights import check_names, copy_weights, named_weights, read_weights

_HOME_OF = {
    "COMPACT_SPECIALS": "tiny",
    "CausalPacking": "scoring",
    "ChatTokenizer": "tokenizer",
    "Policy": "policy",
    "ScoreRequest": "scoring",
    "VISION_SPECIALS": "tiny_vision",
    "Vision": "vision",
    "builtin_template": "template",
    "check_names": "weights",
    "copy_weights": "weights",
    "load_policy": "policy",
    "make_policy": "policy",
    "named_weights": "weights",
    "read_weights": "weights",
    "save_policy": "policy",
    "score_logprobs": "scoring",
    "score_tokens": "scoring",
    "tiny_policy": "tiny",
    "tiny_vision_policy": "tiny_vision",
    "train_tokenizer": "tiny",
}

__all__ = [
    "COMPACT_SPECIALS",
    "VISION_SPECIALS",
    "CausalPacking",
    "ChatTokenizer",
    "Policy",
    "ScoreRequest",
    "Vision",
    "builtin_template",
    "check_names",
    "copy_weights",
    "load_policy",
    "make_policy",
    "named_weights",
    "read_weights",
    "save_policy",
    "score_logprobs",
    "score_tokens",
    "tiny_policy",
    "tiny_vision_policy",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"agentrl.models.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'agentrl.models' has no attribute {name!r}")
