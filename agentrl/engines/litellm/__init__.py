"""Models behind an API, through litellm: judges, teachers, simulators, policies to evaluate."""

from __future__ import annotations

from agentrl.engines.litellm.cache import AnswerCache
from agentrl.engines.litellm.chat import LiteLLMChat
from agentrl.engines.litellm.client import Endpoint
from agentrl.engines.litellm.limits import Budget
from agentrl.engines.litellm.policy import LiteLLMEngine, api_tokenizer

__all__ = ["AnswerCache", "Budget", "Endpoint", "LiteLLMChat", "LiteLLMEngine", "api_tokenizer"]
