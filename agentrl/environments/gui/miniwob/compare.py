"""Does our browser read the same rewards from MiniWoB++ as the package's own environment?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from agentrl.core import Episode
from agentrl.environments.gui.environment import GuiEnvironment
from agentrl.environments.gui.miniwob.blunders import BLUNDERS
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Expert, Hand, Missing, play
from agentrl.environments.gui.miniwob.tasks import miniwob_task
from agentrl.environments.gui.screen import Screens

_LONG, _SHORT = 1000.0, 0.6
_OTHERS = 8


@dataclass(slots=True, frozen=True)
class Ending:
    """How one attempt ended in one environment.

    Attributes:
        reward: the raw one; discounted: decayed with the time taken, where the task wants that.
        seconds: the attempt took at most, by our clock; limit: of the page.
    """

    brief: str
    done: bool
    reward: float
    discounted: float
    reason: Any
    seconds: float
    limit: float

    @property
    def decays(self) -> bool:
        return self.discounted != self.reward

    @property
    def consistent(self) -> bool:
        """The discount is the share of the limit that was used, which we know a bound of."""
        most = abs(self.reward) * self.seconds / self.limit
        return abs(self.reward) - most <= abs(self.discounted) <= abs(self.reward)


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt of one task in both environments."""

    name: str
    attempt: str
    ours: Ending
    theirs: Ending

    @property
    def rewards(self) -> tuple[float, float]:
        return self.ours.reward, self.theirs.reward

    @property
    def ended(self) -> bool:
        """Whether the page itself ended the episode in both."""
        return self.ours.done and self.theirs.done

    @property
    def agrees(self) -> bool:
        """The same instruction, end, reason and raw reward, and a discount where theirs has one."""
        a, b = self.ours, self.theirs
        same = (a.brief, a.done, a.reason, a.decays) == (b.brief, b.done, b.reason, b.decays)
        near = abs(a.reward - b.reward) < 1e-9
        return same and near and a.consistent and b.consistent


async def compare(ours: Screens, theirs: Screens, name: str, seed: int) -> list[Attempt]:
    """The three attempts of a task in both environments. Raises Missing for one unsolved."""
    wrong, failed = await _wrong(ours, name, seed)
    late = await asyncio.gather(
        *(ending(at, name, seed, _let_pass, _SHORT) for at in (ours, theirs))
    )
    return [
        Attempt(
            name, "solved", *[await ending(at, name, seed, EXPERTS[name]) for at in (ours, theirs)]
        ),
        Attempt(name, "wrong", failed, await ending(theirs, name, seed, wrong)),
        Attempt(name, "timed_out", *late),
    ]


async def ending(
    screens: Screens, name: str, seed: int, expert: Expert, limit: float = _LONG
) -> Ending:
    """How one episode ends in which an expert plays. Raises Missing."""
    env = GuiEnvironment(screens, screenshots=False)
    task = miniwob_task(name, seed, seconds=limit)
    begin = time.monotonic()
    try:
        hand = await Hand.take(env, task)
        brief = hand.brief
        await play(hand, expert)
        outcome = await env.finish(Episode(task))
    finally:
        await env.close()
    return Ending(brief, seconds=time.monotonic() - begin, limit=limit, **outcome["state"])


async def _wrong(screens: Screens, name: str, seed: int) -> tuple[Expert, Ending]:
    """A way to fail, and how it ended; the last one that was tried where no way ends in failure."""
    ways = [BLUNDERS[name]] if name in BLUNDERS else []
    if not ways:
        briefs = await _briefs(screens, name, seed)
        ways = [_misled(name, brief, nth) for nth, brief in enumerate(briefs)]
    for way in ways or [_idle]:
        end = await ending(screens, name, seed, way)
        if end.done and end.reward < 1:
            break
    return way, end


def _misled(name: str, brief: str, nth: int) -> Expert:
    """The expert under another instruction; when the page has not what it wants, something else."""

    async def follow(hand: Hand) -> None:
        hand.brief = brief
        try:
            await EXPERTS[name](hand)
        except Missing:
            there = hand.all("checkbox", "radio", "link", "clickable", "button")
            if not there:
                return
            await hand.press(there[nth % len(there)])
            if hand.all("button", name="Submit"):
                await hand.submit()

    return follow


async def _idle(hand: Hand) -> None:
    """There is no wrong thing to do."""


async def _let_pass(hand: Hand) -> None:
    await hand.wait(_SHORT + 0.1)


async def _briefs(screens: Screens, name: str, seed: int) -> list[str]:
    """Instructions of the next seeds that are not the one of this."""
    found: dict[str, None] = {}
    screen = await screens.open(miniwob_task(name, seed))
    try:
        mine = await screen.brief()
        for other in range(seed + 1, seed + 1 + _OTHERS):
            await screen.ask(miniwob_task(name, other).payload["prepare"])
            found[await screen.brief()] = None
    finally:
        await screen.close()
    found.pop(mine, None)
    return list(found)
