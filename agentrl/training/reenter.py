"""Taking a stored episode up again with a policy of now: the run's, or another one beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from agentrl.core import Episode, Sampling, Start
from agentrl.episodes import ChatFormats, rerender
from agentrl.store import RunStore
from agentrl.training.build import brings_policy, language, make_policy, workbench
from agentrl.training.config import RunConfig
from agentrl.training.progress import Progress
from agentrl.training.state import restore_weights


def reenter(
    config: RunConfig,
    episode: Episode,
    turn: int,
    count: int,
    *,
    own: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Episode]:
    """`count` continuations of an episode from before a turn, with the weights of the run that
    `config` names when it has any.

    Args:
        own: the policy is of the model that the episode is recorded with; else it reads the same
            conversation in its own tokens.
    """
    progress = progress or Progress()
    policy = None if brings_policy(config) else make_policy(config)
    if policy is not None and RunStore.exists(config.run.dir):
        with RunStore.open(config.run.dir, read_only=True) as store:
            restore_weights(store, policy)

    async def run() -> Sequence[Episode]:
        async with workbench(config, policy, progress) as bench:
            scheduler = bench.scheduler
            if config.eval.temperature is not None:
                sampling = Sampling(config.eval.temperature)
                scheduler = replace(scheduler, runner=scheduler.runner.with_sampling(sampling))
            progress.stage(f"taking {episode.id} up at turn {turn}", expected=count)
            kept = episode
            if not own:
                tokenizer, speaks = language(config, bench.policy, bench.engine)
                kept = rerender(episode, ChatFormats(tokenizer, speaks).of(episode.tools))
            start = Start(kept, turn)
            return (await scheduler.fork(start, count, seed=seed)).episodes

    return list(asyncio.run(run()))
