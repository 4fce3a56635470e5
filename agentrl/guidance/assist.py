"""What to do when every rollout of a group fails: the seven choices, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Episode, Group, Guide, Task, derive_seed
from agentrl.guidance import retire, search
from agentrl.guidance.branch import branch, repair
from agentrl.guidance.hints import Ask, Rungs
from agentrl.guidance.leaks import flag_leaks, mentions_hint
from agentrl.guidance.merge import merged
from agentrl.guidance.quiet import inform
from agentrl.guidance.search import Help, Levels, Means
from agentrl.guidance.settings import GuidanceSettings
from agentrl.guidance.trigger import fires, succeeded, success_rate

KEPT_VISITS = 32
RATES = ("unguided_solved_rate", "guided_solved_rate", "guided_level_mean", "hints_missing")
"""Metrics that do not add up over the rounds of a step."""


@dataclass(slots=True)
class Assisted:
    """A step after help.

    Attributes:
        groups: what is learned from.
        rollouts: the extra episodes, learned from or not.
    """

    groups: list[Group]
    rollouts: list[Episode] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


class Guidance:
    """Helps groups; remembers each task's visits, level and hints.

    Args:
        steps: of the whole run, for shares of it.
    """

    def __init__(self, settings: GuidanceSettings, rungs: Rungs, *, steps: int) -> None:
        self.settings, self.rungs, self.steps = settings, rungs, steps
        self.levels = Levels()
        self.visits: dict[str, list[float]] = {}

    async def before(self, tasks: Sequence[Task], step: int, seed: int) -> dict[str, Guide]:
        """The guides of tasks whose first rollouts are hinted already, by task id."""
        s = self.settings
        if s.search.kind != "persistent" or not retire.on_duty(s.retirement, step, self.steps):
            return {}
        found = {}
        for task in tasks:
            level = self.levels.of(task, self._cap(step))
            if level and not self._done(task):
                ask = Ask(task, derive_seed(seed, "guided", task.id))
                guide = await self._help(None, step, seed).guide(ask, level)
                if guide is not None:
                    found[task.id] = guide
        return found

    async def assist(self, groups: Sequence[Group], step: int, seed: int, means: Means) -> Assisted:
        """What is learned from, of the groups of a step (from 1), and the rollouts that it took.

        Groups that need no help come back as they are. A rollout that infrastructure broke is
        nothing; who cannot be reached for a hint gives none.
        """
        s = self.settings
        helped = [self._wants(g, step) for g in groups]
        self._remember(groups, step)
        help = self._help(means, step, seed)
        work = [
            self._one(g, help, means) if wanted else _as_is(g)
            for g, wanted in zip(groups, helped, strict=True)
        ]
        if s.budget is None:
            done = list(await asyncio.gather(*work))
        else:  # who gets the last of the budget must not depend on who was faster
            done = [await one for one in work]
        after = [g for found, _ in done for g in found]
        leaks = flag_leaks([e for e in _all(after) if e.guided], s.leaks.words)
        if s.leaks.drop and leaks:
            after = [Group(g.key, [e for e in g.episodes if e.id not in leaks]) for g in after]
        metrics = _metrics(groups, helped, done, help, len(leaks))
        return Assisted([g for g in after if g.episodes], help.spent, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on as if nothing had happened."""
        hints = {
            str(i): provider.state_dict()
            for i, provider in enumerate(self.rungs.providers)
            if hasattr(provider, "state_dict")
        }
        visits = {task: list(rates) for task, rates in self.visits.items()}
        return {"levels": dict(self.levels.levels), "visits": visits, "hints": hints}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What has no state kept starts afresh."""
        self.levels = Levels(dict(state.get("levels", {})))
        self.visits = {task: list(rates) for task, rates in state.get("visits", {}).items()}
        for name, kept in state.get("hints", {}).items():
            self.rungs.providers[int(name)].load_state_dict(kept)  # type: ignore[attr-defined]

    async def _one(
        self, group: Group, help: Help, means: Means
    ) -> tuple[list[Group], list[Episode]]:
        """The groups that take a group's place, and the guided episodes preferred in them."""
        s = self.settings
        if s.placement.kind == "teacher_only":
            return [await inform(group, help, means.informed)], []
        if s.placement.kind == "splice":
            find = branch if s.placement.point == "entropy" else repair
            guided = await find(group, help, means)
        else:
            find_by = {
                "sequential": search.sequential,
                "probe": search.probe,
                "reattempt": search.reattempt,
            }
            guided = await find_by[s.search.kind](group, help)
        return merged(group, guided, s.merge, s.trigger), guided

    def _wants(self, group: Group, step: int) -> bool:
        s = self.settings
        if s.search.kind == "persistent" or not group.episodes:
            return False
        task = group.episodes[0].task
        if self._done(task) or not retire.on_duty(s.retirement, step, self.steps):
            return False
        return fires(group, s.trigger, self.visits.get(task.id, ()))

    def _remember(self, groups: Sequence[Group], step: int) -> None:
        for group in groups:
            rate = success_rate(group, self.settings.trigger)
            if rate is None:
                continue
            task = group.episodes[0].task
            if self.settings.search.kind == "persistent":
                self.levels.update(task, rate, self.settings.search, self._cap(step))
            if not any(e.guided for e in group.judged):
                kept = [*self.visits.get(task.id, ()), rate][-KEPT_VISITS:]
                self.visits[task.id] = kept

    def _done(self, task: Task) -> bool:
        done_at = self.settings.retirement.done_at
        return done_at is not None and max(self.visits.get(task.id, ()), default=0.0) >= done_at

    def _cap(self, step: int) -> int:
        return retire.highest_level(self.settings.retirement, self.rungs.top, step)

    def _help(self, means: Means | None, step: int, seed: int) -> Help:
        return Help(self.settings, self.rungs, means, self._cap(step), seed, self.settings.budget)


def add_metrics(total: dict[str, float], more: Mapping[str, float]) -> None:
    """Counts of several rounds add up, rates are those of the last."""
    for name, value in more.items():
        total[name] = value if name in RATES else total.get(name, 0.0) + value


async def _as_is(group: Group) -> tuple[list[Group], list[Episode]]:
    return [group], []


def _all(groups: Sequence[Group]) -> list[Episode]:
    return [e for group in groups for e in group.episodes]


def _metrics(
    groups: Sequence[Group],
    helped: Sequence[bool],
    done: Sequence[tuple[list[Group], list[Episode]]],
    help: Help,
    leaks: int,
) -> dict[str, float]:
    """How often help was needed, what it took, and what it came to."""
    trigger = help.settings.trigger
    made = [e for e in help.spent if e.judged]
    won = [e for e in made if succeeded(e, trigger)]
    saved = sum(any(succeeded(e, trigger) for e in guided) for _, guided in done)
    plain = [e for g in groups for e in g.judged if not e.guided]
    first = [e for g in groups for e in g.judged if e.guided]
    levels = [float(e.guidance["level"]) for e in won if "level" in e.guidance]
    found = {
        "guided_groups": float(sum(helped)),
        "guided_groups_saved": float(saved),
        "guided_rollouts": float(len(help.spent)),
        "guided_rollouts_broken": float(len(help.spent) - len(made)),
        "guided_leaks": float(leaks),
        "unguided_mentions_hint": float(sum(map(mentions_hint, plain))),
        "unguided_solved_rate": _share(plain, trigger),
        "guided_solved_rate": _share([*made, *first], trigger),
        "hints_missing": float(help.rungs.missed),
    }
    if levels:
        found["guided_level_mean"] = sum(levels) / len(levels)
    return found


def _share(episodes: Sequence[Episode], trigger: Any) -> float:
    return sum(succeeded(e, trigger) for e in episodes) / max(len(episodes), 1)
