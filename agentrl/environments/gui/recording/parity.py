"""Does a recording say what the live application shows?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentrl.core import Task
from agentrl.core.seeds import derive_seed
from agentrl.environments.gui.recording.graph import Recording
from agentrl.environments.gui.recording.past import action_key
from agentrl.environments.gui.recording.replay import RecordedScreen, RecordedScreens
from agentrl.environments.gui.screen import Action, Refused, Screen, Screens, View
from agentrl.environments.gui.words import words


@dataclass(slots=True, frozen=True)
class Difference:
    """The first step of a walk at which the two are not the same."""

    task: str
    path: tuple[str, ...]
    recorded: str
    live: str


async def parity(
    recording: Recording,
    live: Screens,
    tasks: Sequence[Task],
    *,
    walks: int = 10,
    steps: int = 10,
    seed: int = 0,
) -> list[Difference]:
    """Walk both at random along recorded transitions; what differs in text, boxes, notes or state.

    Args:
        walks: over all tasks in turn.
        steps: of one walk.
    """
    found = []
    recorded = RecordedScreens(recording)
    for walk in range(walks):
        task = tasks[walk % len(tasks)]
        draw = random.Random(derive_seed(seed, "parity", walk))
        one, two = await recorded.open(task), await live.open(task)
        try:
            difference = await _walk(recording, one, two, task, steps, draw)
        finally:
            await two.close()
        if difference is not None:
            found.append(difference)
    return found


async def _walk(
    recording: Recording,
    one: RecordedScreen,
    two: Screen,
    task: Task,
    steps: int,
    draw: random.Random,
) -> Difference | None:
    path: list[str] = []
    recorded, live = await one.look(image=False), await two.look(image=False)
    for _ in range(steps + 1):
        checks = list(one.node.checks)
        states = await _said(one, recorded, checks), await _said(two, live, checks)
        if states[0] != states[1]:
            return Difference(task.id, tuple(path), states[0], states[1])
        back = action_key(Action("back"), recorded, one.past)
        known = recording.edges.get(one.node.id, {})
        ways = sorted(key for key in known if key == back or not key.startswith("back("))
        if not ways or len(path) == steps:
            return None
        path.append(draw.choice(ways))
        action = Action.read(path[-1])
        recorded, live = await _act(one, action, recorded), await _act(two, action, live)
    return None


async def _act(screen: Screen, action: Action, before: View) -> View:
    try:
        return await screen.act(action, image=False)
    except Refused as error:
        return replace(before, notes=(f"refused: {error}",))


async def _said(screen: Screen, view: View, checks: Sequence[str]) -> str:
    """All that is compared: words, boxes, and the values of the checks."""
    boxes = [element.box for element in view.elements]
    values = [await screen.ask(check) for check in checks]
    return f"{words(view, max_elements=10**6)}\n{boxes}\n{values}"
