"""A small transformer, a script that it imitates, and GRPO from there: claims about training."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from agentrl.core import Engine, Episode, Group, Reward, Sampling, Task, derive_seed
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.learner import LearnerSettings
    from agentrl.models import Policy

T = TypeVar("T")
Script = Callable[[int], Generator[str, str, None]]
MakeEnvironment = Callable[[Random], Environment]
Rows = list[list[str | int | float]]


@dataclass(slots=True)
class World:
    """What a small policy acts in.

    Attributes:
        task, make: the task; its environment, given the luck of one episode.
        words: all that is ever said, for the tokenizer.
        turns: of an episode; tokens: of a message.
        pieces: how the tokenizer cuts text (`train_tokenizer`'s `words`); None is the usual way.
        vocabulary: its most tokens.
        spread: standard deviation of fresh weights; wider ones learn to copy sooner.
    """

    task: Task
    make: MakeEnvironment
    words: Sequence[str]
    turns: int
    tokens: int = 12
    pieces: str | None = None
    vocabulary: int = 320
    spread: float = 0.02

    def tiny_policy(self, seed: int) -> Policy:
        """About a tenth of a million weights."""
        from agentrl.models import tiny_policy, train_tokenizer
        from agentrl.models.tiny import WORDS

        texts = [self.task.prompt, *self.words] * 4
        return tiny_policy(
            train_tokenizer(texts, self.vocabulary, words=self.pieces or WORDS),
            hidden=64,
            layers=2,
            heads=2,
            kv_heads=1,
            head_dim=32,
            max_positions=1024,
            initializer_range=self.spread,
            seed=derive_seed(seed, "weights"),
        )

    def settings(self, rate: float, steps: int | None = None, **given: Any) -> LearnerSettings:
        """GRPO; the rate falls to zero over `steps`, or stays."""
        from agentrl.learner import LearnerSettings

        if steps:
            given |= {"schedule": "linear", "total_steps": steps}
        return LearnerSettings(algorithm="grpo", learning_rate=rate, **given)

    async def play(
        self,
        engine: Engine,
        policy: Policy,
        reward: Reward,
        count: int,
        seed: int,
        source: str = "policy",
    ) -> Group:
        """`count` judged episodes; the luck of each depends on the seed and its number alone."""
        number = itertools.count()
        runner = Runner(
            engine,
            policy.tokenizer,
            dialect("pythonic"),
            lambda: self.make(Random(derive_seed(seed, "luck", next(number)))),
            reward,
            Limits(turns=self.turns, tokens=1000, tokens_per_turn=self.tokens),
            Sampling(temperature=1.0),
            source,
        )
        scheduler = Scheduler(runner, concurrency=count)
        (group,) = await scheduler.collect([self.task], count, seed=seed)
        return group

    async def imitate(
        self,
        script: Script,
        reward: Reward,
        seed: int,
        *,
        episodes: int = 48,
        steps: int = 60,
        stream: str = "script",
    ) -> Policy:
        """A policy that does what the script does, about as often; `stream` names the random
        stream of the script's episodes."""
        from agentrl.engines import ScriptedEngine
        from agentrl.learner import Learner

        policy = self.tiny_policy(seed)
        engine = ScriptedEngine(script, policy.tokenizer)
        drawn = derive_seed(seed, stream)
        shown = await self.play(engine, policy, reward, episodes, drawn, "script")
        learner = Learner(policy, self.settings(5e-3, steps))
        for _ in range(steps):
            learner.imitate(shown.episodes)
        return policy

    async def train(
        self,
        policy: Policy,
        reward: Reward,
        settings: LearnerSettings,
        seed: int,
        *,
        updates: int,
        group_size: int,
        evaluated: int,
        finish: Callable[[Group], Coroutine[Any, Any, object]] | None = None,
        watch: Callable[[Group], None] | None = None,
    ) -> list[Episode]:
        """Updates from here, then `evaluated` episodes.

        Args:
            finish: what a group reward makes of each group; watch: sees each one.
        """
        from agentrl.engines import TransformersEngine
        from agentrl.learner import Learner

        engine = TransformersEngine(policy)
        learner = Learner(policy, settings, policy.tokenizer)
        try:
            for update in range(updates):
                batch = derive_seed(seed, "train", update)
                group = await self.play(engine, policy, reward, group_size, batch)
                if finish is not None:
                    await finish(group)
                if watch is not None:
                    watch(group)
                async with engine.paused():
                    learner.step([group])
                    engine.weights_updated(learner.version)
            last = derive_seed(seed, "evaluate")
            return (await self.play(engine, policy, reward, evaluated, last)).episodes
        finally:
            await engine.close()


def on_every_seed(
    seeds: Sequence[int], columns: list[str], work: Callable[[int], Awaitable[tuple[bool, Rows]]]
) -> Measured:
    """What `work` finds of each seed, on one thread; passes when the effect is there on all."""

    async def measured() -> Measured:
        found = [await work(seed) for seed in seeds]
        rows = [row for _, of_seed in found for row in of_seed]
        return Measured(all(holds for holds, _ in found), columns, rows)

    return on_one_thread(measured())


def on_one_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, see `one_thread`."""
    with one_thread():
        return asyncio.run(work)


@contextmanager
def one_thread() -> Iterator[None]:
    """A model this small is slower on many threads, and its numbers would depend on how many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
