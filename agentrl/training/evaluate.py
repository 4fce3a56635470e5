"""How good is the policy: pass@1 and pass@k on held-out tasks, always without guidance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agentrl.core import ConfigError, Episode, Group, Sampling, Task, solved
from agentrl.episodes import Scheduler
from agentrl.store import RunStore
from agentrl.training.build import brings_policy, load_tasks, make_policy, workbench
from agentrl.training.config import RunConfig
from agentrl.training.progress import Progress
from agentrl.training.sound import sound
from agentrl.training.state import restore_weights
from agentrl.training.statistics import Interval, difference, mean_pass_at_k, task_rate


@dataclass(slots=True)
class EvalResult:
    """A measurement.

    Attributes:
        rate: pass@1, the mean over tasks; ci_low, ci_high: its 95% interval, resampling tasks
            (episodes of one task are not independent).
        pass_at_k: for every k up to the samples per task.
        by_task: share of solved episodes by task id.
        episodes: all of them; those that infrastructure broke are in none of the numbers.
    """

    rate: float
    ci_low: float
    ci_high: float
    pass_at_k: dict[int, float] = field(default_factory=dict)
    by_task: dict[str, float] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """As the store keeps it, under `eval/`."""
        named = {f"eval/pass@{k}": rate for k, rate in self.pass_at_k.items()}
        return {
            "eval/rate": self.rate,
            "eval/ci_low": self.ci_low,
            "eval/ci_high": self.ci_high,
            **named,
        }


def gain(before: EvalResult, after: EvalResult) -> Interval:
    """By how much `after` is better, over the tasks that both could measure, in pairs."""
    both = [task for task in before.by_task if task in after.by_task]
    rates = ([[found.by_task[task]] for task in both] for found in (before, after))
    return difference(*rates, paired=True)


def evaluate(
    config: RunConfig,
    *,
    tasks: Sequence[Task] | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
) -> EvalResult:
    """Measure the policy of a run file, with the run's newest weights when it has any.

    Args:
        tasks: instead of the split that `eval` names.
        samples: episodes per task instead of `eval.samples`.
    """
    progress = progress or Progress()
    chosen = list(tasks) if tasks is not None else eval_tasks(config)
    policy = None if brings_policy(config) else make_policy(config)
    if policy is not None and RunStore.exists(config.run.dir):
        with RunStore.open(config.run.dir, read_only=True) as store:
            restore_weights(store, policy)

    async def run() -> EvalResult:
        async with workbench(config, policy, progress) as bench:
            return await measure(bench.scheduler, chosen, config, progress, samples)

    return asyncio.run(run())


async def measure(
    scheduler: Scheduler,
    tasks: Sequence[Task],
    config: RunConfig,
    progress: Progress,
    samples: int | None = None,
) -> EvalResult:
    """The same seeds at every measurement, so that before and after face the same draws.

    Raises InfraError when every episode broke.
    """
    samples = samples or config.eval.samples
    if config.eval.temperature is not None:
        sampling = Sampling(config.eval.temperature)
        scheduler = replace(scheduler, runner=scheduler.runner.with_sampling(sampling))
    progress.stage("evaluating", expected=len(tasks) * samples)
    found = summarise(await scheduler.collect(tasks, samples, seed=config.eval.seed))
    sound(found.episodes, "held-out episodes")
    return found


def summarise(groups: Sequence[Group]) -> EvalResult:
    """Rates and intervals over the judged episodes of each task."""
    judged = {g.episodes[0].task.id: [solved(e) for e in g.judged] for g in groups}
    outcomes = [values for values in judged.values() if values]
    episodes = [e for g in groups for e in g.episodes]
    rate = task_rate(outcomes)
    most = min((len(values) for values in outcomes), default=0)
    return EvalResult(
        rate.rate,
        rate.low,
        rate.high,
        {k: mean_pass_at_k(outcomes, k) for k in range(1, most + 1)},
        {task: sum(values) / len(values) for task, values in judged.items() if values},
        episodes,
    )


def eval_tasks(config: RunConfig) -> list[Task]:
    """The tasks that `eval` names. Raises ConfigError, TaskFileError."""
    path = config.tasks.train if config.eval.split == "train" else config.tasks.eval
    if path is None:
        raise ConfigError(
            "there are no held-out tasks",
            where="tasks.eval",
            fix="give a file of held-out tasks, or measure on eval.split=train",
        )
    return load_tasks(path, config.tasks.limit)[: config.eval.max_tasks]
