"""Choice 4: which hint is taken, and with which rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agentrl.core import (
    Attempt,
    Episode,
    Group,
    Guide,
    Origin,
    Rollout,
    Scorer,
    Start,
    Task,
    derive_seed,
)
from agentrl.guidance.hints import Ask, Hint, Rungs
from agentrl.guidance.placement import place
from agentrl.guidance.settings import GuidanceSettings, Search
from agentrl.guidance.trigger import succeeded


@dataclass(slots=True, frozen=True)
class Means:
    """What guidance works with.

    Attributes:
        run: runs attempts.
        scorer: entropies of the current policy, for branches; it also encodes forced beginnings.
        decode: text of one token, for branches; specials: texts that are control tokens.
        informed: the episode as it would stand with a guide's hints in its context, sampled tokens
            unchanged; None when the record cannot be rebuilt exactly.
    """

    run: Rollout
    scorer: Scorer | None = None
    decode: Callable[[int], str] | None = None
    specials: frozenset[str] = frozenset()
    informed: Callable[[Episode, Guide], Episode | None] | None = None


@dataclass(slots=True)
class Help:
    """What a search has to work with, and how many rollouts it may still make.

    Attributes:
        cap: the highest level allowed now.
        budget: None for no limit.
    """

    settings: GuidanceSettings
    rungs: Rungs
    means: Means | None
    cap: int
    seed: int
    budget: int | None = None
    spent: list[Episode] = field(default_factory=list)

    def affords(self, count: int) -> bool:
        return self.budget is None or len(self.spent) + count <= self.budget

    async def roll(self, attempts: Sequence[Attempt]) -> list[Episode]:
        """Run attempts, and count them."""
        assert self.means is not None
        episodes = await self.means.run(attempts)
        self.spent += episodes
        return episodes

    async def guide(self, ask: Ask, level: int) -> Guide | None:
        """The hint of a level where it is to stand; None when there is none."""
        hint = await self.rungs.hint(ask, level)
        return None if hint is None else self.placed(hint)

    def placed(self, hint: Hint) -> Guide:
        return place(hint, self.settings.placement, self.settings.kind)

    def attempt(self, group: Group, seed: int, guide: Guide) -> Attempt:
        """A rollout of a group's task with a guide."""
        begin = guide.note.get("begin")
        if begin is None:
            return Attempt(group.episodes[0].task, seed, guide)
        assert self.means is not None
        assert self.means.scorer is not None, "the engine cannot encode"
        head = self.means.scorer.encode(begin)
        start = Start(group.episodes[0], 0, head, Origin.HINT)
        return Attempt(start.task, seed, guide, start)

    def won(self, episodes: Sequence[Episode]) -> list[Episode]:
        return [e for e in episodes if e.judged and succeeded(e, self.settings.trigger)]

    def drawn(self, *names: object) -> int:
        return derive_seed(self.seed, "guided", *names)


async def sequential(group: Group, help: Help) -> list[Episode]:
    """Whole groups with one hint, level by level, until one has a success; the last group tried."""
    task = group.episodes[0].task
    ask = Ask(task, help.drawn(task.id), group.judged)
    size, last = len(group.episodes), list[Episode]()
    for level in range(help.settings.search.start, help.cap + 1):
        guide = await help.guide(ask, level)
        if guide is None:
            continue
        if not help.affords(size):
            break
        seeds = [help.drawn(task.id, level, member) for member in range(size)]
        last = await help.roll([help.attempt(group, seed, guide) for seed in seeds])
        if help.won(last):
            break
    return last


async def probe(group: Group, help: Help) -> list[Episode]:
    """One rollout a level, all at once; that of the least level which succeeded, else none."""
    task = group.episodes[0].task
    ask = Ask(task, help.drawn(task.id), group.judged)
    attempts = []
    for level in range(help.settings.search.start, help.cap + 1):
        guide = await help.guide(ask, level)
        if guide is not None:
            attempts.append(help.attempt(group, help.drawn(task.id, level), guide))
    if not attempts or not help.affords(len(attempts)):
        return []
    return help.won(await help.roll(attempts))[: help.settings.merge.count]


async def reattempt(group: Group, help: Help) -> list[Episode]:
    """Each failed episode once more, with the hints made for it."""
    task = group.episodes[0].task
    attempts = []
    failed = [e for e in group.judged if not succeeded(e, help.settings.trigger)]
    for number, episode in enumerate(failed):
        ask = Ask(task, help.drawn(task.id, number), group.judged, episode)
        guide = await help.guide(ask, min(help.settings.search.start, help.cap))
        if guide is None:
            continue
        note = {**guide.note, "after": episode.id}
        told = Guide(guide.opening, guide.turns, note)
        attempts.append(help.attempt(group, help.drawn(task.id, "again", number), told))
    attempts = [a for n, a in enumerate(attempts, 1) if help.affords(n)]
    return await help.roll(attempts) if attempts else []


@dataclass(slots=True)
class Levels:
    """The level that each task keeps from visit to visit (SAGE-light); 0 is no hint."""

    levels: dict[str, int] = field(default_factory=dict)

    def of(self, task: Task, cap: int) -> int:
        return min(self.levels.get(task.id, 0), cap)

    def update(self, task: Task, rate: float, search: Search, cap: int) -> int:
        """After a visit at its level, of which `rate` succeeded; the new level."""
        level = self.of(task, cap)
        worse = rate <= search.up_below if search.inclusive else rate < search.up_below
        if worse:
            level = min(level + 1, cap)
        elif search.down_above is not None and rate > search.down_above:
            level = max(level - 1, 0)
        self.levels[task.id] = level
        return level
