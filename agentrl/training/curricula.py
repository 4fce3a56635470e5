"""Samplers that choose tasks by how the policy fares on them; see `agentrl.training.sampler`."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentrl.core import ConfigError, Group, Task, derive_seed
from agentrl.environments.chain import chains
from agentrl.training.config.curriculum import (
    BucketsConfig,
    HorizonConfig,
    PairsConfig,
    SelfPlayConfig,
    TrapoConfig,
)
from agentrl.training.curriculum import PassRates, TrajectorySelection, pair_tasks
from agentrl.training.progress import solved
from agentrl.training.sampler import Sampler, TaskSampler
from agentrl.training.supply import Supply

if TYPE_CHECKING:
    from agentrl.training.config import RunConfig


def make_supply(config: RunConfig, tasks: Sequence[Task]) -> Supply:
    """The sampler that the run file asks for, with failure replay where it wants that."""
    per_step, seed = config.train.tasks_per_step, config.train.seed
    return Supply(_sampler(config, tasks, per_step, seed), tasks, config.replay, seed)


def _sampler(config: RunConfig, tasks: Sequence[Task], per_step: int, seed: int) -> Sampler:
    shuffled = TaskSampler(tasks, per_step, seed)
    chosen = config.curriculum
    if isinstance(chosen, BucketsConfig):
        return BucketSampler(shuffled, tasks, seed, chosen)
    if isinstance(chosen, PairsConfig):
        return PairSampler(shuffled, tasks, seed, chosen)
    if isinstance(chosen, TrapoConfig):
        return SelectingSampler(shuffled, tasks, chosen)
    if isinstance(chosen, HorizonConfig):
        return HorizonSampler(tasks, per_step, seed, chosen)
    if isinstance(chosen, SelfPlayConfig):
        from agentrl.training.self_play import SelfPlaySampler

        return SelfPlaySampler(shuffled, seed, chosen)
    return shuffled


class RatedSampler:
    """What samplers by pass rate share: the history, and another sampler to fall back on."""

    def __init__(self, shuffled: TaskSampler, tasks: Sequence[Task], seed: int) -> None:
        self._shuffled, self._seed = shuffled, seed
        self._tasks = {task.id: task for task in tasks}
        self.rates = PassRates()

    @property
    def per_step(self) -> int:
        return self._shuffled.per_step

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        return self._shuffled.others(step, turn, taken, count)

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        self.rates.record(groups, solved)
        self._shuffled.observe(step, groups)

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self.rates.state_dict(), "shuffled": self._shuffled.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rates = PassRates(state["rates"])
        self._shuffled.load_state_dict(state["shuffled"])


class BucketSampler(RatedSampler):
    """Draws a bucket by its weight, then one of its tasks; each task once a step."""

    def __init__(
        self, shuffled: TaskSampler, tasks: Sequence[Task], seed: int, config: BucketsConfig
    ) -> None:
        super().__init__(shuffled, tasks, seed)
        self._config = config

    def bucket(self, task: str) -> int:
        """0 for the hardest; -1 for a task that was never sampled."""
        seen = self.rates.history(task)[-self._config.window :]
        return bisect.bisect(self._config.edges, sum(seen) / len(seen)) if seen else -1

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        rng = random.Random(derive_seed(self._seed, "buckets", step))
        buckets: dict[int, list[str]] = {}
        for task in self._tasks:
            if task not in without:
                buckets.setdefault(self.bucket(task), []).append(task)
        weights = {-1: self._config.unseen, **dict(enumerate(self._config.weights))}
        drawn: list[Task] = []
        while buckets and len(drawn) < (self.per_step if count is None else count):
            names = sorted(buckets)
            given = [weights[b] for b in names]
            bucket = rng.choices(names, given if any(given) else None)[0]
            inside = buckets[bucket]
            drawn.append(self._tasks[inside.pop(rng.randrange(len(inside)))])
            if not inside:
                del buckets[bucket]
        return drawn


class PairSampler(RatedSampler):
    """Bidirectional pairing (Weighted GRPO, paper 62): pairs by the last pass rates; what is left
    of a step, and every `probe_every`-th step as a whole, goes to the tasks in their order, so that
    there are pass rates to pair by."""

    def __init__(
        self, shuffled: TaskSampler, tasks: Sequence[Task], seed: int, config: PairsConfig
    ) -> None:
        super().__init__(shuffled, tasks, seed)
        self._config = config

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        count = self.per_step if count is None else count
        pairs: list[tuple[str, str]] = []
        if (step + 1) % self._config.probe_every:
            rates = {t: p for t, p in self.rates.latest().items() if t in self._tasks}
            rates = {t: p for t, p in rates.items() if t not in without}
            drawn = derive_seed(self._seed, "step", step)
            hard, easy = self._config.hard, self._config.easy
            pairs = pair_tasks(rates, count // 2, drawn, hard=hard, easy=easy)
        named = [(n, r) for pair in pairs for n, r in zip(pair, ("hard", "easy"), strict=True)]
        taken = {name for name, _ in named}
        rest = self._shuffled.batch(step, count - len(named), {*without, *taken})
        return [*(with_metadata(self._tasks[n], role=r) for n, r in named), *rest]


class SelectingSampler:
    """TraPO (paper 30): every task once an epoch; of the unlabelled ones only those count whose
    pass rates, against their own majority, develop like those of the labelled."""

    def __init__(self, shuffled: TaskSampler, tasks: Sequence[Task], config: TrapoConfig) -> None:
        self._shuffled = shuffled
        self._labelled = [t.id for t in tasks if not t.metadata.get("unlabelled")]
        self._unlabelled = [t.id for t in tasks if t.metadata.get("unlabelled")]
        if not self._labelled or not self._unlabelled:
            raise ConfigError(
                f"{len(self._labelled)} tasks have labels, {len(self._unlabelled)} have none",
                where="curriculum.kind=trapo",
                fix='mark tasks whose answer is unknown with "metadata": {"unlabelled": true}',
            )
        self.rates = PassRates()
        self._epochs = 0
        self._selection = TrajectorySelection(
            warmup=config.warmup, top=config.top, above=config.above
        )

    @property
    def per_step(self) -> int:
        return self._shuffled.per_step

    @property
    def chosen(self) -> set[str]:
        return self._selection.chosen

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        return [self._marked(task) for task in self._shuffled.batch(step, count, without)]

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        return [self._marked(t) for t in self._shuffled.others(step, turn, taken, count)]

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        self.rates.record(groups, _solved_or_of_the_majority(groups))
        self._shuffled.observe(step, groups)
        everyone = [*self._labelled, *self._unlabelled]
        epochs = min(len(self.rates.history(task)) for task in everyone)
        if epochs > self._epochs:
            self._epochs = epochs
            self._selection.update(self.rates, self._labelled, self._unlabelled)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self._epochs,
            "rates": self.rates.state_dict(),
            "shuffled": self._shuffled.state_dict(),
            "chosen": sorted(self.chosen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rates = PassRates(state["rates"])
        self._shuffled.load_state_dict(state["shuffled"])
        self._epochs, self._selection.chosen = int(state["epochs"]), set(state["chosen"])

    def _marked(self, task: Task) -> Task:
        unlabelled = bool(task.metadata.get("unlabelled"))
        return with_metadata(task, unselected=unlabelled and task.id not in self.chosen)


def _solved_or_of_the_majority(groups: Sequence[Group]) -> Any:
    """For an episode: whether it did its task; without a label, whether most of its group
    answered the same."""
    answer = {id(e): str(e.outcome.get("answer")) for g in groups for e in g.judged}
    most: dict[int, str] = {}
    for group in groups:
        votes = Counter(answer[id(e)] for e in group.judged)
        for episode in group.judged:
            most[id(episode)] = max(sorted(votes), key=votes.__getitem__)

    def won(episode: Any) -> bool:
        if episode.task.metadata.get("unlabelled"):
            return answer[id(episode)] == most[id(episode)]
        return solved(episode)

    return won


class HorizonSampler:
    """R-Horizon (paper 2): new chains every step, twice as long once those of now are solved."""

    def __init__(
        self, problems: Sequence[Task], per_step: int, seed: int, config: HorizonConfig
    ) -> None:
        if len(problems) < config.most:
            raise ConfigError(
                f"{len(problems)} problems cannot make a chain of {config.most}",
                where="curriculum.most",
                fix="lower it, or give more tasks",
            )
        self._problems, self._seed, self._config = list(problems), seed, config
        self.per_step = per_step
        self.horizon = config.first
        self._rates: list[float] = []

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        return self._chains("batch", step, self.per_step if count is None else count)

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        return self._chains("others", step, count, turn)

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        mine = [e for g in groups for e in g.judged if _length(e.task) == self.horizon]
        if mine:
            self._rates.append(sum(map(solved, mine)) / len(mine))
        last = self._rates[-self._config.window :]
        if len(last) == self._config.window and sum(last) / len(last) >= self._config.grow_at:
            longer = min(2 * self.horizon, self._config.most)
            if longer != self.horizon:
                self.horizon, self._rates = longer, []

    def state_dict(self) -> dict[str, Any]:
        return {"horizon": self.horizon, "rates": list(self._rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.horizon, self._rates = int(state["horizon"]), list(state["rates"])

    def _chains(self, name: str, step: int, count: int, turn: int = 0) -> list[Task]:
        drawn = derive_seed(self._seed, name, step, turn)
        made = chains(
            self._problems,
            count,
            horizon=self.horizon,
            seed=drawn,
            stepwise=self._config.stepwise,
        )
        return list(made)


def _length(task: Task) -> int:
    return int(task.metadata.get("horizon", 0))


def with_metadata(task: Task, **more: Any) -> Task:
    """The task with more metadata; the one in the sampler stays as it is."""
    return replace(task, metadata={**task.metadata, **more})
