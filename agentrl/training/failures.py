"""Failure replay: tasks whose group failed wait, and are sampled again by the policy of now.

Who waits follows from the log alone (see `agentrl.store.failures`): a failed group makes its task
wait; being tried again takes it off when it was solved often enough, or was tried in vain too
often; when there are too many, one goes. DeepTravel (arXiv 2509.21842) replays tasks and not
tokens; stored episodes can be added to such a group, off-policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from agentrl.core import Episode, Group, Task, derive_seed
from agentrl.learner.settings import Coefficient, LearnerSettings
from agentrl.store import FailureEvent, FailureLog, RunStore
from agentrl.store.failures import content_of
from agentrl.training.config.replay import Order, ReplayConfig, StoredConfig


@dataclass(slots=True, frozen=True)
class Waiting:
    """A task that failed and is to be tried again.

    Attributes:
        since: number of the line that made it wait; tries: in vain, since then.
        reward: mean of its last group.
        episodes: ids of its last group.
    """

    task: str
    content: str
    run: str
    step: int
    since: int
    tries: int
    reward: float
    episodes: tuple[str, ...]


class FailureBuffer:
    """The tasks that wait, in the order in which they began to."""

    def __init__(self, settings: ReplayConfig, log: FailureLog) -> None:
        self.settings, self._log = settings, log
        self._waiting: dict[str, Waiting] = {}
        self._seen = 0

    def waiting(self) -> list[Waiting]:
        """Reads what other runs wrote meanwhile."""
        for event in self._log.events(self._seen):
            self._seen = event.key
            fold(self._waiting, event, self.settings)
        return list(self._waiting.values())

    def draw(self, count: int, seed: int, without: Collection[str] = ()) -> list[Waiting]:
        """Up to `count` different tasks, none of the ids `without`."""
        left = [w for w in self.waiting() if w.task not in without]
        left.sort(key=lambda w: (_rank(w, self.settings.order), w.since))
        rng = random.Random(seed)
        sharp = 0.0 if self.settings.order == "uniform" else self.settings.sharpness
        drawn: list[Waiting] = []
        while left and len(drawn) < count:
            weights = [1.0 / rank**sharp for rank in range(1, len(left) + 1)]
            drawn.append(left.pop(rng.choices(range(len(left)), weights)[0]))
        return drawn

    def task(self, waiting: Waiting) -> Task | None:
        """As it is stored in the log's database."""
        return self._log.task(waiting.task)

    def record(self, step: int, group: Group, solved: Sequence[bool]) -> None:
        """Write a line when a group failed or its task had been waiting.

        Args:
            solved: for each judged episode of the group. Without any, nothing is known.
        """
        if not solved:
            return
        task, rate = group.episodes[0].task, sum(solved) / len(solved)
        if content_of(task) in self._waiting:
            self._log.add(step, "tried", task, rate, group.episodes)
        elif rate <= self.settings.insert:
            self._log.add(step, "failed", task, rate, group.episodes)


def fold(waiting: dict[str, Waiting], event: FailureEvent, settings: ReplayConfig) -> None:
    """What one line of the log changes."""
    known = waiting.get(event.content)
    if event.event == "failed":
        first = known or Waiting(
            event.task, event.content, event.run, event.step, event.key, 0, 0.0, ()
        )
        waiting[event.content] = replace(
            first, step=event.step, reward=event.reward, episodes=event.episodes
        )
        while len(waiting) > settings.capacity:
            waiting.pop(next(iter(waiting)))
    elif known is not None:
        tries = known.tries + 1
        if event.solved > settings.evict or tries >= settings.max_tries:
            waiting.pop(event.content)
        else:
            waiting[event.content] = replace(
                known, tries=tries, step=event.step, reward=event.reward, episodes=event.episodes
            )


def _rank(waiting: Waiting, order: Order) -> float:
    """Less is sooner."""
    return {
        "uniform": 0.0,
        "oldest": float(waiting.since),
        "newest": -float(waiting.since),
        "fewest": float(waiting.tries),
        "nearest": -waiting.reward,
    }[order]


def replayed(step: int, per_step: int, settings: ReplayConfig | None) -> int:
    """How many tasks of a step (from 1) come from those that failed, as long as there are any."""
    if settings is None or step % settings.every:
        return 0
    return max(1, math.floor(per_step * settings.share + 0.5))


def stored_episodes(
    store: RunStore, task: str, version: int, settings: StoredConfig, without: Collection[str]
) -> list[Episode]:
    """Episodes of a task that are young enough to learn from, marked as replayed.

    Args:
        version: of the weights that will learn.
        without: ids that are in the group already.
    """
    found = [
        e
        for e in store.episodes(task=task, split="train", newest=True, limit=64)
        if e.judged and e.id not in without and _age(e, version) <= settings.max_age
    ]
    found.sort(key=lambda e: -e.reward)  # stable: the newest of equal ones first
    return [replace(e, source="replay") for e in found[: settings.count]]


def _age(episode: Episode, version: int) -> float:
    versions = episode.weights_versions
    return version - min(versions) if versions and min(versions) >= 0 else math.inf


def learner_settings(learner: LearnerSettings, replay: ReplayConfig | None) -> LearnerSettings:
    """The learner's settings with truncated importance weights for stored episodes, where no
    `off_policy` is given."""
    if replay is None or replay.stored is None or learner.off_policy is not None:
        return learner
    truncated = Coefficient(kind="is_clip", low=None, high=replay.stored.cap - 1.0)
    return learner.model_copy(update={"off_policy": truncated})


def drawn_seed(seed: int, step: int) -> int:
    return derive_seed(seed, "replay", step)
