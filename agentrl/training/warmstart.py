"""Imitation before reinforcement learning: cross entropy on what a script or another run said."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentrl.core import ConfigError, Episode, derive_seed
from agentrl.episodes import ChatFormats, rerender
from agentrl.learner import LearnerSettings
from agentrl.store import RunStore
from agentrl.training.build import load_tasks, make_dialect, make_policy, workbench
from agentrl.training.config import RecordedWarmstart, RunConfig, ScriptedWarmstart
from agentrl.training.progress import Progress
from agentrl.training.sound import sound
from agentrl.training.state import save_state

if TYPE_CHECKING:
    from agentrl.models import Policy


@dataclass(slots=True)
class WarmstartResult:
    """What was imitated, and how well it went (mean log-probability of the last batches)."""

    episodes: int
    tokens: int
    loss_first: float
    loss_last: float
    directory: str

    def __str__(self) -> str:
        return (
            f"imitated {self.episodes} episodes ({self.tokens:,} sampled tokens): "
            f"loss {self.loss_first:.3f} -> {self.loss_last:.3f}, saved in {self.directory}"
        )


def warmstart(
    config: RunConfig, *, practice: Sequence[Episode] = (), progress: Progress | None = None
) -> WarmstartResult:
    """Do what the `warmstart` section says and save the weights as step 0 of the run.

    `train` then goes on from there. Raises ConfigError when there is no such section.

    Args:
        practice: further conversations to imitate on the way, as text without tokens. Each is seen
            once; they are spread evenly over the optimiser steps and come on top of `batch_size`.
    """
    progress = progress or Progress()
    if config.warmstart is None:
        raise ConfigError("there is no warmstart section", where="warmstart", fix="add one")
    policy = make_policy(config)
    with _open(config) as store:
        episodes = gather(config, policy, store, progress)
        practised = rerender_all(config, policy, practice)
        return imitate(config, policy, store, episodes, progress, practice=practised)


def _open(config: RunConfig) -> RunStore:
    """A new run, or one whose warm start was interrupted: that begins again."""
    if RunStore.exists(config.run.dir):
        with RunStore.open(config.run.dir) as store:
            trained = store.summaries(split="train", limit=1)
            if store.checkpoints.latest() is None and not trained:
                store.rewind(-1)
                # It begins again with the configuration of now.
                (store.directory / "run.yaml").unlink()
    return RunStore.create(config.run.dir, config.plain())


def gather(config: RunConfig, policy: Policy, store: RunStore, progress: Progress) -> list[Episode]:
    """The episodes to imitate, in the policy's own tokens; scripted ones are stored."""
    assert config.warmstart is not None
    if isinstance(config.warmstart, RecordedWarmstart):
        with RunStore.open(config.warmstart.run, read_only=True) as source:
            episodes = [
                e
                for e in source.episodes(split=config.warmstart.split)
                if config.warmstart.min_reward is None
                or (e.judged and e.reward >= config.warmstart.min_reward)
            ]
        episodes = rerender_all(config, policy, episodes)
    else:
        episodes = asyncio.run(record(config, policy, config.warmstart, progress))
        store.add_episodes(0, "warmstart", episodes)
    episodes = [e for e in episodes if e.turns][: config.warmstart.limit]
    if not episodes:
        raise ConfigError("there is no episode to imitate", where="warmstart")
    return episodes


async def record(
    config: RunConfig, policy: Policy, settings: ScriptedWarmstart, progress: Progress
) -> list[Episode]:
    """Run the scripted agent on the training tasks; broken episodes are left out."""
    tasks = load_tasks(config.tasks.train, config.tasks.limit)
    script, judged = settings.script, settings.judged
    async with workbench(config, policy, progress, script=script, judged=judged) as bench:
        progress.stage("recording the script", expected=len(tasks) * settings.attempts)
        seed = derive_seed(config.train.seed, "warmstart")
        groups = await bench.scheduler.collect(tasks, settings.attempts, seed=seed)
    episodes = [e for group in groups for e in group.episodes]
    where = f"warmstart.script={settings.script}"
    return sound(episodes, "episodes of the script", where=where)


def imitate(
    config: RunConfig,
    policy: Policy,
    store: RunStore,
    episodes: Sequence[Episode],
    progress: Progress,
    *,
    practice: Sequence[Episode] = (),
) -> WarmstartResult:
    """Epochs of shuffled batches with a linear decay of the learning rate."""
    from agentrl.learner import Learner

    assert config.warmstart is not None
    settings = config.warmstart
    per_epoch = math.ceil(len(episodes) / settings.batch_size)
    steps = per_epoch * settings.epochs
    learner = Learner(
        policy,
        LearnerSettings(
            learning_rate=settings.learning_rate,
            schedule="linear",
            warmup_steps=max(1, steps // 20),
            total_steps=steps,
        ),
    )
    shuffle = random.Random(derive_seed(config.train.seed, "imitation"))
    order = list(range(len(episodes)))
    practice = shuffle.sample(practice, len(practice))
    losses: list[float] = []
    progress.stage(f"imitating {len(episodes)} episodes")
    for _ in range(settings.epochs):
        shuffle.shuffle(order)
        for start in range(0, len(order), settings.batch_size):
            batch = [episodes[i] for i in order[start : start + settings.batch_size]]
            metrics = learner.imitate(batch + practice[len(losses) :: steps])
            losses.append(metrics["loss"])
            store.add_metrics(len(losses), {"imitation/loss": metrics["loss"]})
            if len(losses) % max(1, steps // 10) == 0:
                progress.note(f"imitation {len(losses)}/{steps}: loss {losses[-1]:.3f}")
    first, last = losses[:5], losses[-5:]
    # Reinforcement learning starts with a fresh optimiser: only the weights are handed on.
    save_state(store, 0, policy, Learner(policy, config.learner), config.train.keep_checkpoints)
    return WarmstartResult(
        len(episodes),
        sum(e.trained_tokens for e in episodes),
        sum(first) / len(first),
        sum(last) / len(last),
        str(store.directory),
    )


def rerender_all(config: RunConfig, policy: Policy, episodes: Sequence[Episode]) -> list[Episode]:
    """Recorded episodes in the policy's own tokens."""
    formats = ChatFormats(policy.tokenizer, make_dialect(config, policy.tokenizer))
    return [rerender(e, formats.of(e.tools)) for e in episodes]
