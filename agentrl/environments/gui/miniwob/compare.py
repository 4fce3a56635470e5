"""Does our browser read the same rewards from MiniWoB++ as the package's own environment?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Hand, Missing
from agentrl.environments.gui.miniwob.official import OfficialScreen
from agentrl.environments.gui.miniwob.tasks import CHECK, miniwob_task
from agentrl.environments.gui.screen import Refused, Screen

_LONG, _SHORT = 1000.0, 1.0
ATTEMPTS = ("solved", "wrong", "timed_out")


@dataclass(slots=True, frozen=True)
class Attempt:
    """One attempt of one task: what both read at its end."""

    name: str
    attempt: str
    brief: str
    ours: dict[str, Any]
    theirs: dict[str, Any]

    @property
    def agrees(self) -> bool:
        return bool(
            self.ours["done"] == self.theirs["done"]
            and abs(float(self.ours["reward"]) - float(self.theirs["reward"])) < 1e-6
        )


async def compare(screens: BrowserScreens, name: str, seed: int) -> list[Attempt]:
    """The three attempts of a task in both environments."""
    found = []
    other = await _brief(screens, name, seed + 1)
    official = OfficialScreen(name)
    try:
        for attempt in ATTEMPTS:
            seconds = _SHORT if attempt == "timed_out" else _LONG
            told = other if attempt == "wrong" else None
            ours = await screens.open(miniwob_task(name, seed, seconds=seconds))
            brief = await ours.brief()
            mine = await _play(ours, name, attempt, told)
            await ours.close()
            official.begin(seed, seconds)
            theirs = await _play(official, name, attempt, told)
            if await official.brief() != brief:
                raise AssertionError(f"{name}: {brief!r} here, {await official.brief()!r} there")
            found.append(Attempt(name, attempt, brief, mine, theirs))
    finally:
        await official.close()
    return found


async def _play(screen: Screen, name: str, attempt: str, told: str | None) -> dict[str, Any]:
    hand = await Hand.take(screen, told)
    if attempt == "timed_out":
        await hand.wait(_SHORT + 1.0)
    else:
        try:
            await EXPERTS[name](hand)
        except (Missing, Refused):
            await _anything(hand)
    state: dict[str, Any] = await screen.ask(CHECK)
    return state


async def _anything(hand: Hand) -> None:
    """What another instruction asks for is not there: press the last button there is."""
    buttons = hand.all("button", "clickable", "link")
    if buttons:
        await hand.press(buttons[-1])


async def _brief(screens: BrowserScreens, name: str, seed: int) -> str:
    screen = await screens.open(miniwob_task(name, seed))
    try:
        return await screen.brief()
    finally:
        await screen.close()
