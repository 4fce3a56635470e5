"""The `reward:` section, checked without opening anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentrl.core import ChatModel, ConfigError
from agentrl.rewards import Resources, build_plan
from agentrl.training.config.engines import LiteLLMChatConfig
from agentrl.training.config.sections import SandboxConfig


def sandbox_section(value: object) -> Any:
    """`reward.sandbox` checked. Raises ConfigError."""
    try:
        return TypeAdapter(SandboxConfig).validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise ConfigError(
            said, where="reward.sandbox", fix="{kind: docker} or {kind: process}"
        ) from (error)


@dataclass(slots=True, frozen=True)
class OwnModel:
    """A chat model of one's own: module:Name and its settings."""

    name: str
    settings: dict[str, Any]


def chat_section(value: object, where: str) -> LiteLLMChatConfig | OwnModel:
    """How a run file writes a judge: `{model: openai/..., budget: 5.0, ...}`, the name of such a
    model alone, or `{kind: "module:Name", its settings}`. Raises ConfigError."""
    settings = dict(value) if isinstance(value, Mapping) else {"model": value}
    kind = settings.pop("kind", "litellm")
    if isinstance(kind, str) and ":" in kind:
        return OwnModel(kind, settings)
    if kind != "litellm":
        fix = "litellm (with `model`), or module:Name of your own"
        raise ConfigError(f"no kind of chat model {kind!r}", where=f"{where}.kind", fix=fix)
    try:
        return LiteLLMChatConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join([where, *map(str, first["loc"])])
        raise ConfigError(first["msg"], where=at, fix="{model: openai/..., budget: 5.0}") from error


def check_rewards(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a `reward:` section that cannot be built; opens nothing."""
    settings = dict(config)
    if "sandbox" in settings:
        sandbox_section(settings.pop("sandbox"))
    none = Resources.none()

    def chat(value: object, where: str) -> ChatModel:
        chat_section(value, where)
        return none.chat(value, where)

    build_plan(settings, Resources(chat, none.scorer, none.sandboxes))
