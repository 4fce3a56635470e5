"""The `reward:` section with everything that it needs opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from agentrl.core import ChatModel, ConfigError, Engine, SandboxProvider, Scorer
from agentrl.rewards import Resources, RewardPlan, build_plan
from agentrl.training.config.engines import LiteLLMChatConfig
from agentrl.training.config.rewards import chat_section, sandbox_section
from agentrl.training.engines import make_chat_model

OpenProvider = Callable[[Any], Any]
Named = Callable[[str, str], Any]


@asynccontextmanager
async def reward_plan(
    config: Mapping[str, Any],
    engine: Engine | None,
    open_provider: OpenProvider,
    named: Named,
    cache: Path | None = None,
) -> AsyncIterator[RewardPlan]:
    """The plan of a `reward:` section.

    Args:
        config: the section. Its `sandbox` (as in an environment) is where written code runs: a pool
            of its own, so that nothing of an episode can be left in it.
        engine: asked for log-probabilities when it can give them.
        open_provider: opens a sandbox section as an async context manager.
        named: finds `module:Name`.
        cache: file that keeps the judges' answers; None keeps none.
    """
    settings = dict(config)
    box = settings.pop("sandbox", None)
    async with AsyncExitStack() as stack:
        provider: SandboxProvider | None = None
        if box is not None:
            provider = await stack.enter_async_context(open_provider(sandbox_section(box)))
        scorer = engine if isinstance(engine, Scorer) else None
        yield build_plan(settings, Resources(chat_models(named, cache), scorer, provider))


def chat_models(named: Named, cache: Path | None = None) -> Callable[[Any, str], ChatModel]:
    """Judges as run files write them; one of each description, so that they share their limits."""
    made: dict[str, ChatModel] = {}

    def chat(value: Any, where: str) -> ChatModel:
        key = repr(value)
        if key not in made:
            made[key] = chat_model(value, where, named, cache)
        return made[key]

    return chat


def chat_model(value: Any, where: str, named: Named, cache: Path | None = None) -> ChatModel:
    """The chat model that a run file describes, see `chat_section`. Raises ConfigError."""
    section = chat_section(value, where)
    if isinstance(section, LiteLLMChatConfig):
        return make_chat_model(section, cache=cache)
    model = named(section.name, where)(**section.settings)
    if not isinstance(model, ChatModel):
        raise ConfigError(
            f"{section.name} is no ChatModel", where=where, fix="see agentrl.core.ChatModel"
        )
    return model
