"""Episodes of a small policy that was taught nothing, and others that take them up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentrl.core import Group, derive_seed
from agentrl.episodes import Scheduler
from agentrl.guidance import Means
from agentrl.papers.kit.doors import door, moves, runner

if TYPE_CHECKING:
    from agentrl.engines import TransformersEngine


@dataclass(slots=True)
class Grove:
    """An engine, episodes of it, and what guidance needs to take them up."""

    engine: TransformersEngine
    scheduler: Scheduler
    means: Means

    async def group(self, count: int, seed: int) -> Group:
        """Episodes at one door; nothing opens it."""
        code = (0, 6, 12)
        task = replace(door(0, code), reference={"plan": moves(code)})
        (found,) = await self.scheduler.collect([task], count, seed=seed)
        return found


@asynccontextmanager
async def grove(seed: int) -> AsyncIterator[Grove]:
    """Random weights: real tokens with real log-probabilities, and nothing that makes sense."""
    from agentrl.engines import TransformersEngine
    from agentrl.models import tiny_policy, train_tokenizer

    texts = ["Open door 0.", "turned", "[north(mark=0)]"] * 8
    policy = tiny_policy(
        train_tokenizer(texts, 320),
        hidden=32,
        layers=1,
        heads=2,
        kv_heads=1,
        head_dim=16,
        max_positions=512,
        seed=derive_seed(seed, "weights"),
    )
    engine = TransformersEngine(policy)
    scheduler = Scheduler(runner(engine, policy))
    tokenizer = policy.tokenizer
    means = Means(
        scheduler.attempt, engine, lambda token: tokenizer.decode([token]), tokenizer.specials
    )
    try:
        yield Grove(engine, scheduler, means)
    finally:
        await engine.close()
