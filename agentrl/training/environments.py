"""Environments of a run file that need no sandbox, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agentrl.environments import Environment
from agentrl.training.config import SearchConfig, SimulatedConfig
from agentrl.training.rewards import chat_model

if TYPE_CHECKING:
    from agentrl.environments.search import Retriever

MakeEnvironment = Callable[[], Environment]
Named = Callable[[str, str], Any]


@asynccontextmanager
async def search_environments(config: SearchConfig) -> AsyncIterator[MakeEnvironment]:
    """Environments over one retriever, opened once and closed with the block."""
    from agentrl.environments.search import HttpRetriever, SearchEnvironment, open_index

    retriever: Retriever
    if config.url is not None:
        retriever = HttpRetriever(config.url, seconds=config.url_seconds)
    else:
        assert config.index is not None
        retriever = open_index(config.index, config.backend)
    try:
        yield lambda: SearchEnvironment(
            retriever,
            searches=config.searches,
            top=config.top,
            characters=config.characters,
            style=config.style,
        )
    finally:
        await retriever.close()


@asynccontextmanager
async def simulated_environments(
    config: SimulatedConfig, named: Named
) -> AsyncIterator[MakeEnvironment]:
    """Environments over one cache of recorded calls, written when the block ends."""
    from agentrl.environments.simulated import (
        CallCache,
        ModelSimulator,
        SimulatedEnvironment,
        load_domain,
    )

    if config.domain is not None:
        user = config.user_model
        where = "environment.user_model"
        player = chat_model(user, where, named) if user is not None else None
        yield load_domain(config.domain, user_model=player).environment
        return
    tools = config.tool_model
    fallback = None
    if tools is not None:
        fallback = ModelSimulator(chat_model(tools, "environment.tool_model", named))
    cache = CallCache(config.cache, mode=config.mode)
    try:
        yield lambda: SimulatedEnvironment(cache=cache, fallback=fallback)
    finally:
        cache.close()
