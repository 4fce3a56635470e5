"""What rewards ask for help: judges, the policy's log-probabilities, sandboxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from agentrl.core import ChatModel, ConfigError, Sandbox, SandboxProvider, Scorer


@dataclass(slots=True)
class Resources:
    """Given by whoever builds a reward from a run file; the rewards room has none of its own.

    Attributes:
        chat: a chat model from what a run file says of it (the value, the path of its key).
        scorer: log-probabilities under the policy's weights of now.
        sandboxes: where written code runs.
    """

    chat: Callable[[Any, str], ChatModel]
    scorer: Scorer | None = None
    sandboxes: SandboxProvider | None = None

    @classmethod
    def none(cls) -> Resources:
        """Stands in while a configuration is only checked: whoever uses it is told so."""
        missing = _Missing()
        return cls(lambda value, where: missing, missing, missing)


class _Missing:
    """A chat model, a scorer and a provider of sandboxes, none of them there."""

    name = "missing"

    async def chat(self, *given: Any, **named: Any) -> NoReturn:
        raise _no("judge")

    async def score(self, *given: Any, **named: Any) -> NoReturn:
        raise _no("scorer")

    def encode(self, text: str) -> NoReturn:
        raise _no("scorer")

    async def acquire(self) -> Sandbox:
        raise _no("sandbox")

    async def fresh(self) -> Sandbox:
        raise _no("sandbox")

    async def release(self, sandbox: Sandbox) -> None:
        raise _no("sandbox")

    async def close(self) -> None:
        return None


def _no(what: str) -> ConfigError:
    return ConfigError(f"this reward has no {what}", fix="build it with Resources that has one")
