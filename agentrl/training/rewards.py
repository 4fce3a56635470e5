"""The `reward:` section with everything that it needs opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentrl.core import ChatModel, ConfigError, Engine, SandboxProvider, Scorer
from agentrl.rewards import Resources, RewardPlan, build_plan
from agentrl.training.config.sections import SandboxConfig

OpenProvider = Callable[[Any], Any]
Named = Callable[[str, str], Any]


@asynccontextmanager
async def reward_plan(
    config: Mapping[str, Any], engine: Engine | None, open_provider: OpenProvider, named: Named
) -> AsyncIterator[RewardPlan]:
    """The plan of a `reward:` section.

    Args:
        config: the section. Its `sandbox` (as in an environment) is where written code runs: a pool
            of its own, so that nothing of an episode can be left in it.
        engine: asked for log-probabilities when it can give them.
        open_provider: opens a sandbox section as an async context manager.
        named: finds `module:Name`.
    """
    settings = dict(config)
    box = settings.pop("sandbox", None)
    async with AsyncExitStack() as stack:
        provider: SandboxProvider | None = None
        if box is not None:
            provider = await stack.enter_async_context(open_provider(sandbox_section(box)))
        scorer = engine if isinstance(engine, Scorer) else None
        chat = _chat_models(named)
        yield build_plan(settings, Resources(chat, scorer, provider))


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


def _chat_models(named: Named) -> Callable[[Any, str], ChatModel]:
    """Judges as run files write them; one of each description, so that they share their cache."""
    made: dict[str, ChatModel] = {}

    def chat(value: Any, where: str) -> ChatModel:
        key = repr(value)
        if key not in made:
            made[key] = chat_model(value, where, named)
        return made[key]

    return chat


def chat_model(value: Any, where: str, named: Named) -> ChatModel:
    settings = dict(value) if isinstance(value, Mapping) else {"kind": value}
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or ":" not in kind:
        raise ConfigError(
            f"{value!r} is no chat model", where=where, fix="{kind: 'module:Name', its settings}"
        )
    model = named(kind, where)(**settings)
    if not isinstance(model, ChatModel):
        raise ConfigError(f"{kind} is no ChatModel", where=where, fix="see agentrl.core.ChatModel")
    return model
