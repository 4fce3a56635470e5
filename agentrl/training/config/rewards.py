"""The `reward:` section, checked without opening anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentrl.core import ConfigError
from agentrl.rewards import build_plan
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


def check_rewards(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a `reward:` section that cannot be built; opens nothing."""
    settings = dict(config)
    if "sandbox" in settings:
        sandbox_section(settings.pop("sandbox"))
    build_plan(settings)
