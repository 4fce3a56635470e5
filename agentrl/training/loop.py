"""The loop: sample, run, judge, learn, hand the weights back, keep everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentrl.core import Episode, Group, derive_seed
from agentrl.rewards import gra_metrics
from agentrl.store import RunStore
from agentrl.training.build import Workbench, load_tasks, make_policy, workbench
from agentrl.training.config import RunConfig
from agentrl.training.evaluate import EvalResult, eval_tasks, measure
from agentrl.training.progress import Progress, solved
from agentrl.training.sampler import TaskSampler
from agentrl.training.state import restore_state, save_state
from agentrl.training.statistics import Interval

if TYPE_CHECKING:
    from agentrl.engines import TransformersEngine
    from agentrl.learner import Learner


@dataclass(slots=True)
class RunResult:
    """What a run came to; the evaluations are None when there are no held-out tasks."""

    directory: str
    steps: int
    before: EvalResult | None
    after: EvalResult | None

    def __str__(self) -> str:
        lines = [f"{self.steps} steps, kept in {self.directory}"]
        for name, found in (("before", self.before), ("after", self.after)):
            if found is not None:
                rate = Interval(found.rate, found.ci_low, found.ci_high)
                lines.append(f"{name:<7}{rate}  ({len(found.by_task)} held-out tasks)")
        return "\n".join(lines)


def train(
    config: RunConfig, *, resume: bool = False, progress: Progress | None = None
) -> RunResult:
    """Train the policy of a run file.

    Ctrl-C saves the last finished step and raises KeyboardInterrupt; with `resume` the run goes
    on from its newest checkpoint as if nothing had happened.

    Raises:
        ConfigError, ModelError, TaskFileError: before anything is started.
        StoreError: the directory holds a run already, or the disk is full; what was stored
            before stays.
    """
    trainer = Trainer(config, progress or Progress())
    store, fresh = _open(config, resume)
    with store:
        return asyncio.run(trainer.run(store, fresh))


class Trainer:
    """One run of the loop. Synchronous: every episode is of the weights that learn from it."""

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        from agentrl.learner import Learner

        self._config, self._progress = config, progress
        train_tasks = load_tasks(config.tasks.train, config.tasks.limit)
        self._sampler = TaskSampler(train_tasks, config.train.tasks_per_step, config.train.seed)
        self._held_out = eval_tasks(config) if config.tasks.eval else []
        self._policy = make_policy(config)
        self._learner: Learner = Learner(self._policy, config.learner)
        self._saved = -1

    async def run(self, store: RunStore, fresh: bool) -> RunResult:
        """From the newest checkpoint (or the beginning) to the last step."""
        last = self._config.train.steps
        done = 0 if fresh else restore_state(store, self._policy, self._learner)
        if not fresh:
            await asyncio.to_thread(store.rewind, done)
        self._saved = done
        self._progress.begin(store.directory.name, steps=last, step=done)
        async with workbench(self._config, self._policy, self._progress) as bench:
            self._hand_over(bench)
            before = await self._evaluate(bench, store, done) if not done else None
            try:
                while done < last:
                    await self._step(bench, store, done + 1)
                    done += 1
                    if self._due(self._config.train.checkpoint_every, done):
                        self._save(store, done)
                    if done < last and self._due(self._config.train.eval_every, done):
                        await self._evaluate(bench, store, done)
            finally:
                self._save(store, done)
            after = await self._evaluate(bench, store, done)
        self._progress.end()
        return RunResult(str(store.directory), done, before, after)

    async def _step(self, bench: Workbench, store: RunStore, step: int) -> None:
        """The line of the design, once: tasks -> judged groups -> gradient -> new weights."""
        started = time.perf_counter()
        tasks = self._sampler.batch(step - 1)
        size = self._config.learner.group_size
        self._progress.stage(f"step {step}: episodes", expected=len(tasks) * size)
        seed = derive_seed(self._config.train.seed, "step", step)
        groups = await bench.scheduler.collect(tasks, size, seed=seed)
        sampled = time.perf_counter()

        self._progress.stage(f"step {step}: learning")
        learned = await _uninterrupted(asyncio.to_thread(self._learner.step, groups))
        self._hand_over(bench)

        metrics = {f"train/{name}": value for name, value in learned.items()}
        metrics |= {f"train/{k}": v for k, v in episode_metrics(groups).items()}
        metrics["train/seconds_episodes"] = sampled - started
        metrics["train/seconds_step"] = time.perf_counter() - started
        await asyncio.to_thread(_keep, store, step, groups, metrics)
        self._progress.step_done(step, metrics)

    def _hand_over(self, bench: Workbench) -> None:
        """The embedded engine shares the weights; it only has to forget what they computed."""
        updated = getattr(bench.engine, "weights_updated", None)
        if updated is not None:
            engine: TransformersEngine = bench.engine  # type: ignore[assignment]
            engine.weights_updated(self._learner.version)

    async def _evaluate(self, bench: Workbench, store: RunStore, step: int) -> EvalResult | None:
        if not self._held_out:
            return None
        found = await measure(bench.scheduler, self._held_out, self._config, self._progress)
        await asyncio.to_thread(store.add_episodes, step, "eval", found.episodes)
        await asyncio.to_thread(store.add_metrics, step, found.metrics())
        rate = Interval(found.rate, found.ci_low, found.ci_high)
        self._progress.note(f"step {step}: held-out tasks solved {rate}")
        return found

    def _due(self, every: int, step: int) -> bool:
        return every > 0 and step % every == 0

    def _save(self, store: RunStore, step: int) -> None:
        if step != self._saved:
            keep = self._config.train.keep_checkpoints
            save_state(store, step, self._policy, self._learner, keep)
            self._saved = step


def _open(config: RunConfig, resume: bool) -> tuple[RunStore, bool]:
    """The run's store, and whether the run starts from nothing.

    A directory that only holds a warm start (a checkpoint of step 0) is gone on from unasked.
    """
    if RunStore.exists(config.run.dir):
        store = RunStore.open(config.run.dir)
        if resume or store.checkpoints.latest() == 0:
            return store, store.checkpoints.latest() is None
        store.close()
    return RunStore.create(config.run.dir, config.plain()), True


def _keep(store: RunStore, step: int, groups: Sequence[Group], metrics: dict[str, float]) -> None:
    """A step is stored whole or not at all."""
    with store.transaction():
        store.add_episodes(step, "train", [e for g in groups for e in g.episodes])
        store.add_metrics(step, metrics)
        for group in groups:
            if group.judged and not any(solved(e) for e in group.judged):
                store.add_failure(step, group.episodes[0].task.id, [e.id for e in group.judged])


def episode_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """What the episodes of a step were like."""
    episodes: list[Episode] = [e for g in groups for e in g.episodes]
    judged = [e for e in episodes if e.judged]
    if not judged:
        return {"episodes_broken": float(len(episodes))}
    return {
        "episodes_broken": float(len(episodes) - len(judged)),
        "solved_rate": sum(map(solved, judged)) / len(judged),
        "turns_mean": sum(len(e.turns) for e in judged) / len(judged),
        "tokens_mean": sum(e.trained_tokens for e in judged) / len(judged),
        "length_mean": sum(len(s) for e in judged for s in e.segments) / len(judged),
        **gra_metrics(judged),
    }


async def _uninterrupted(work: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    """Wait for a thread to its end even when cancelled: half an update must not be saved."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
