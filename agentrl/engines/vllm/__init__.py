"""vLLM: in this process, or as servers of their own. Nothing of it is imported before it is used.

Both take token ids and give token ids with their log-probabilities at temperature 1, and have their
weights changed in place: requests that run are put back in the queue with what they have, the
prefix cache is emptied, and they go on under the new weights as if those had read it all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentrl.engines.vllm.inprocess import VLLMEngine
    from agentrl.engines.vllm.pool import VLLMServers
    from agentrl.engines.vllm.settings import VLLMSettings

_HOME_OF = {"VLLMEngine": "inprocess", "VLLMServers": "pool", "VLLMSettings": "settings"}

__all__ = ["VLLMEngine", "VLLMServers", "VLLMSettings"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"agentrl.engines.vllm.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'agentrl.engines.vllm' has no attribute {name!r}")
