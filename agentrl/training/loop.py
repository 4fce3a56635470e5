"""The loop: sample, run, judge, learn, hand the weights back, keep everything."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agentrl.core import ConfigError, Episode, Group, InfraError, Task, derive_seed, solved
from agentrl.guidance import add_metrics
from agentrl.rewards import gra_metrics
from agentrl.store import RunStore
from agentrl.training.build import Workbench, brings_policy, load_tasks, make_policy, workbench
from agentrl.training.config import RunConfig
from agentrl.training.curricula import make_supply
from agentrl.training.evaluate import EvalResult, eval_tasks, measure, summarise
from agentrl.training.failures import learner_settings
from agentrl.training.guided import Helper
from agentrl.training.preflight import preflight
from agentrl.training.progress import Progress
from agentrl.training.refill import Batch, collect_batch
from agentrl.training.sound import sound
from agentrl.training.state import restore_state, save_state
from agentrl.training.statistics import Interval

if TYPE_CHECKING:
    from agentrl.learner import Learner

T = TypeVar("T")


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
        from agentrl.models import named_weights

        if brings_policy(config):
            raise ConfigError(
                "an API model cannot be trained",
                where="engine.kind",
                fix="measure it with `agentrl eval`, or train with engine.kind=transformers",
            )
        self._config, self._progress = config, progress
        train_tasks = load_tasks(config.tasks.train, config.tasks.limit)
        self._supply = make_supply(config, train_tasks)
        self._held_out = eval_tasks(config) if config.tasks.eval else []
        self._policy = make_policy(config)
        self._weights = named_weights(self._policy)
        self._learner: Learner = Learner(
            self._policy,
            learner_settings(config.learner, config.replay),
            self._policy.tokenizer,
        )
        self._done = 0
        self._saved = -1
        self._rollouts = 0
        self._remembered: dict[str, Any] = {}

    async def run(self, store: RunStore, fresh: bool) -> RunResult:
        """From the newest checkpoint (or the beginning) to the last step."""
        last = self._config.train.steps
        if not fresh:
            self._done, self._remembered = restore_state(store, self._policy, self._learner)
            self._supply.load_state_dict(self._remembered.get("sampler", {}))
            self._saved = self._done
        # What a killed run did beyond its checkpoint is done again, so it is forgotten here.
        await asyncio.to_thread(store.rewind, -1 if fresh else self._done, spare="imitation/")
        self._progress.begin(store.directory.name, steps=last, step=self._done)
        with self._supply.opened(store, -1 if fresh else self._done):
            return await self._train(store, last)

    async def _train(self, store: RunStore, last: int) -> RunResult:
        async with workbench(self._config, self._policy, self._progress) as bench:
            await self._hand_over(bench)
            await self._preflight(bench)
            helper = self._helper(bench, store)
            self._recall(bench, helper)
            try:
                before = await self._evaluate(bench, store, 0)
                while self._done < last and not self._spent():
                    # Before the step, so that a run that was stopped in it measures it again.
                    if self._done and self._due(self._config.train.eval_every):
                        await self._evaluate(bench, store, self._done)
                    await self._step(bench, helper, store, self._done + 1)
                    if (
                        self._done == last
                        or self._spent()
                        or self._due(self._config.train.checkpoint_every)
                    ):
                        self._save(store)
                after = await self._evaluate(bench, store, self._done)
            except (asyncio.CancelledError, InfraError):
                self._save(store)
                raise
        self._progress.end()
        return RunResult(str(store.directory), self._done, before, after)

    def _helper(self, bench: Workbench, store: RunStore) -> Helper | None:
        """Guidance, when the run file has any."""
        settings = self._config.guidance
        if settings is None:
            return None
        answers = store.directory / "hints.db"
        return Helper(settings, bench, steps=self._config.train.steps, cache=answers)

    def _recall(self, bench: Workbench, helper: Helper | None) -> None:
        """What the parts of the loop knew at the checkpoint."""
        bench.rewards.load_state_dict(self._remembered.get("rewards", {}))
        self._rollouts = int(self._remembered.get("rollouts", 0))
        if helper is not None:
            helper.load_state_dict(self._remembered.get("guidance", {}))

    def _spent(self) -> bool:
        """Whether the budget of rollouts is used up."""
        budget = self._config.train.rollouts
        return budget is not None and self._rollouts >= budget

    async def _preflight(self, bench: Workbench) -> None:
        """Refuse what would train wrongly, and say what would only cost time."""
        self._progress.stage("preflight")
        found = await preflight(self._policy, bench.engine, bench.dialect, max_tokens=8)
        found.raise_if_fatal()
        for check in found.checks:
            if not check.ok:
                self._progress.note(f"preflight, {check.name}: {check.detail} -> {check.fix}")

    async def _step(
        self, bench: Workbench, helper: Helper | None, store: RunStore, step: int
    ) -> None:
        """The line of the design, once: tasks -> judged groups -> gradient -> new weights."""
        started = time.perf_counter()
        batch, judged = await self._collect(bench, helper, step)
        sound([e for group in batch.sampled for e in group.episodes], f"episodes of step {step}")
        judged |= await bench.rewards.learn(batch.sampled)
        rollouts = self._rollouts + batch.rollouts
        remembered = {"rewards": copy.deepcopy(bench.rewards.state_dict()), "rollouts": rollouts}
        if helper is not None:
            remembered["guidance"] = copy.deepcopy(helper.state_dict())
        sampled = time.perf_counter()

        self._progress.stage(f"step {step}: learning")
        learn = partial(self._learn, store, step, batch, judged, remembered)
        metrics = await _to_its_end(learn, started, sampled)
        await self._hand_over(bench)
        self._progress.step_done(step, metrics)

    async def _collect(
        self, bench: Workbench, helper: Helper | None, step: int
    ) -> tuple[Batch, dict[str, float]]:
        """The judged groups of a step, refilled where the learner asks for it, and what the
        rewards that compare them measured."""
        train = self._config.train
        size, seed = train.group_size(step, self._config.learner.group_size), train.seed
        judged: dict[str, float] = {}
        guided: list[Episode] = []

        async def collect(tasks: Sequence[Task], turn: int) -> list[Group]:
            again = f", round {turn + 1}" if turn else ""
            self._progress.stage(f"step {step}: episodes{again}", expected=len(tasks) * size)
            names = ("step", step, "refill", turn) if turn else ("step", step)
            drawn = derive_seed(seed, *names)
            guides = await helper.before(tasks, step, drawn) if helper is not None else None
            hopeless = self._config.environment.hopeless_after
            run = partial(
                bench.scheduler.collect, seed=drawn, hopeless_after=hopeless, guides=guides
            )
            groups = await run(tasks, size)
            latest = groups
            while more := bench.rewards.derived(latest, drawn):
                self._progress.stage(f"step {step}: derived tasks", expected=len(more) * size)
                latest = await run(more, size)
                groups = [*groups, *latest]
            judged.update(await bench.rewards.finish(groups))
            return groups

        async def assist(groups: Sequence[Group], turn: int) -> list[Group]:
            if helper is None:
                return list(groups)
            self._progress.stage(f"step {step}: guided episodes")
            drawn = derive_seed(seed, "step", step, "assist", turn)
            helped = await helper.assist(groups, step, drawn)
            guided.extend(helped.rollouts)
            add_metrics(judged, helped.metrics)
            return helped.groups

        batch = await collect_batch(collect, self._supply, step - 1, self._config.learner, assist)
        batch.guided = guided
        return batch, judged

    def _learn(
        self,
        store: RunStore,
        step: int,
        batch: Batch,
        judged: dict[str, float],
        remembered: dict[str, Any],
        started: float,
        sampled: float,
    ) -> dict[str, float]:
        """Update the weights and store the step. Not to be interrupted: weights and `_done` must
        belong together whenever a checkpoint is written."""
        groups = batch.sampled
        teaching = self._supply.with_stored(batch.teaching, self._learner.version)
        learned = self._learner.step(teaching) | batch.metrics()
        metrics = {f"train/{name}": value for name, value in learned.items()}
        metrics |= {f"train/{k}": v for k, v in episode_metrics(groups).items()}
        metrics |= {f"train/{k}": v for k, v in (judged | self._supply.metrics()).items()}
        metrics["train/rollouts"] = float(remembered["rollouts"])
        metrics["train/seconds_episodes"] = sampled - started
        metrics["train/seconds_step"] = time.perf_counter() - started
        _keep(store, step, batch, metrics, self._supply.observe)
        self._done, self._remembered = step, remembered
        self._rollouts = remembered["rollouts"]
        return metrics

    async def _hand_over(self, bench: Workbench) -> None:
        """The engine draws from the learner's weights from here on; an embedded one shares them
        in memory and only forgets what the old ones computed."""
        await bench.engine.load_weights(self._learner.version, self._weights)

    async def _evaluate(self, bench: Workbench, store: RunStore, step: int) -> EvalResult | None:
        """Measure the weights of a step, or take the measurement from before a resume."""
        if not self._held_out:
            return None
        kept = await asyncio.to_thread(store.episodes, step=step, split="eval")
        if kept or step < self._done:
            return summarise(_by_task(kept)) if kept else None
        found = await measure(bench.scheduler, self._held_out, self._config, self._progress)
        await _to_its_end(_keep_evaluation, store, step, found)
        rate = Interval(found.rate, found.ci_low, found.ci_high)
        self._progress.note(f"step {step}: held-out tasks solved {rate}")
        return found

    def _due(self, every: int) -> bool:
        return every > 0 and self._done % every == 0

    def _save(self, store: RunStore) -> None:
        if self._done != self._saved:
            keep = self._config.train.keep_checkpoints
            remembered = self._remembered | {"sampler": self._supply.state_dict()}
            save_state(store, self._done, self._policy, self._learner, keep, remembered)
            self._saved = self._done


def _by_task(episodes: Sequence[Episode]) -> list[Group]:
    groups: dict[str, Group] = {}
    for episode in episodes:
        key = episode.task.id
        groups.setdefault(key, Group((key,), [])).episodes.append(episode)
    return list(groups.values())


def _open(config: RunConfig, resume: bool) -> tuple[RunStore, bool]:
    """The run's store, and whether the run starts from nothing.

    A directory that only holds a warm start (a checkpoint of step 0) is gone on from unasked; one
    whose run never got to an episode (Docker was down) is begun again.
    """
    if not RunStore.exists(config.run.dir):
        return RunStore.create(config.run.dir, config.plain()), True
    store = RunStore.open(config.run.dir)
    latest = store.checkpoints.latest()
    if latest == 0 or (resume and latest is not None):
        return store, False
    unfinished = latest is None and store.metrics("imitation/")
    empty = latest is None and not store.summaries(limit=1)
    if resume and not unfinished:
        return store, True
    store.close()
    if unfinished:
        raise _unfinished_warmstart(config.run.dir)
    if empty:
        # The configuration of now, not of then, is the run's.
        (store.directory / "run.yaml").unlink()
    return RunStore.create(config.run.dir, config.plain()), True


def _unfinished_warmstart(directory: str) -> ConfigError:
    return ConfigError(
        "the warm start of this run was not finished",
        where=directory,
        fix="run `agentrl warmstart` again, or train from nothing in another directory (run.dir)",
    )


def _keep(
    store: RunStore,
    step: int,
    batch: Batch,
    metrics: dict[str, float],
    observe: Callable[[int, Sequence[Group]], None],
) -> None:
    """A step is stored whole or not at all; `observe` is told of its groups, steps from 0."""
    with store.transaction():
        store.add_episodes(step, "train", [e for g in batch.sampled for e in g.episodes])
        store.add_episodes(step, "guided", batch.guided)
        store.add_metrics(step, metrics)
        for group in batch.sampled:
            if group.judged and not any(solved(e) for e in group.judged):
                store.add_failure(step, group.episodes[0].task.id, [e.id for e in group.judged])
        observe(step - 1, batch.sampled)


def _keep_evaluation(store: RunStore, step: int, found: EvalResult) -> None:
    """Stored whole or not at all: what has episodes is not measured again."""
    with store.transaction():
        store.add_episodes(step, "eval", found.episodes)
        store.add_metrics(step, found.metrics())


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


async def _to_its_end(work: Callable[..., T], *given: Any) -> T:
    """Run in a thread and wait for its end, however often that is cancelled (Ctrl-C twice).

    A failure of the work itself counts more than the cancellation: what it left behind must not
    be saved.
    """
    # A future and not a task: an event loop that is shut down cancels all its tasks.
    running = asyncio.get_running_loop().run_in_executor(None, work, *given)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    result = running.result()
    if cancelled is not None:
        raise cancelled
    return result
