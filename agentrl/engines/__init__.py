"""Who produces tokens: the embedded transformers engine, vLLM, models behind an API, scripts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentrl.engines.litellm import AnswerCache, Budget, Endpoint, LiteLLMChat, LiteLLMEngine
    from agentrl.engines.scripted import Script, ScriptedEngine
    from agentrl.engines.transformers import TransformersEngine

_HOME_OF = {
    "AnswerCache": "litellm",
    "Budget": "litellm",
    "Endpoint": "litellm",
    "LiteLLMChat": "litellm",
    "LiteLLMEngine": "litellm",
    "Script": "scripted",
    "ScriptedEngine": "scripted",
    "TransformersEngine": "transformers",
}

__all__ = [
    "AnswerCache",
    "Budget",
    "Endpoint",
    "LiteLLMChat",
    "LiteLLMEngine",
    "Script",
    "ScriptedEngine",
    "TransformersEngine",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"agentrl.engines.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'agentrl.engines' has no attribute {name!r}")
