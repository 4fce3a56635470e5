"""Exploring an application so that its recording knows the ways that policies try."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agentrl.core import Task
from agentrl.environments.gui.recording.graph import Node, Recording, scene_key
from agentrl.environments.gui.recording.past import Past, action_key
from agentrl.environments.gui.recording.recorder import RecordingScreen, RecordingScreens
from agentrl.environments.gui.screen import Action, Refused
from agentrl.environments.gui.task import screen_task

_TYPED = frozenset({"textbox", "searchbox", "spinbutton"})
_STILL = frozenset({"text", "heading", "cell", "columnheader", "listitem", "label", "image", "row"})


@dataclass(slots=True)
class Explored:
    """What exploring came to: nodes, transitions, steps taken live, and whether it saw all."""

    nodes: int
    transitions: int
    steps: int
    complete: bool


async def explore(
    screens: RecordingScreens,
    tasks: Sequence[Task],
    *,
    texts: Sequence[str] = (),
    max_steps: int = 2000,
    max_depth: int = 12,
) -> Explored:
    """Try every action of every state, breadth first, from the start of each task's scene.

    What others recorded is known already, and explored from. A browser cannot jump: a state is
    reached again by walking to it, so one walk goes on forward as long as there is something
    untried. Going back, which depends on how one came, is tried one way a state.

    Args:
        texts: what is typed into fields.
        max_steps: live actions over all scenes.
        max_depth: steps from the start.
    """
    steps, complete, seen = 0, True, set[str]()
    for task in tasks:
        key = scene_key(screen_task(task))
        if key in seen:
            continue
        seen.add(key)
        walker = _Walker(screens, task, texts, max_depth)
        steps += await walker.run(max_steps - steps)
        complete = complete and walker.complete
    graph = screens.recording
    return Explored(len(graph.nodes), sum(map(len, graph.edges.values())), steps, complete)


class _Walker:
    """Walks of one scene."""

    def __init__(
        self, screens: RecordingScreens, task: Task, texts: Sequence[str], max_depth: int
    ) -> None:
        self._screens, self._task = screens, task
        self._texts, self._depth = texts, max_depth
        self._starts: set[str] = set()
        self._lost: set[str] = set()
        self.steps, self.complete = 0, False

    async def run(self, budget: int) -> int:
        screen = await self._open()
        ways: dict[str, list[Action]] = {}
        try:
            while self.steps < budget:
                assert screen.node is not None
                here = screen.node.id
                action = self._untried(here, ways)
                if action is None:
                    ways = self._ways()  # what was found since may lead here, or sooner
                    action = self._untried(here, ways)
                if action is not None:
                    await self._try(screen, action)
                    continue
                target = next((id for id in ways if self._untried(id, ways) is not None), None)
                if target is None:
                    self.complete = True
                    break
                await screen.close()
                screen = await self._open()
                await self._walk(screen, target, ways[target])
        finally:
            await screen.close()
        return self.steps

    async def _open(self) -> RecordingScreen:
        screen = await self._screens.open(self._task)
        assert screen.node is not None
        self._starts.add(screen.node.id)
        return screen

    async def _try(self, screen: RecordingScreen, action: Action) -> None:
        self.steps += 1
        with suppress(Refused):
            await screen.act(action, image=False)

    async def _walk(self, screen: RecordingScreen, target: str, way: Sequence[Action]) -> None:
        for action in way:
            await self._try(screen, action)
        assert screen.node is not None
        if screen.node.id != target:
            # The application does not lead there again: a conflict that the recording lists.
            self._lost.add(target)

    def _ways(self) -> dict[str, list[Action]]:
        """A shortest way to every state that is known, the nearest first."""
        graph = self._screens.recording
        ways: dict[str, list[Action]] = {id: [] for id in sorted(self._starts)}
        look = Action("look")
        pasts = {id: Past().then(look, graph.nodes[id].view.url, id) for id in ways}
        queue = deque(ways)
        while queue:
            id = queue.popleft()
            for key, edge in graph.edges.get(id, {}).items():
                action = Action.read(key)
                passable = action.kind != "back" or action.text == pasts[id].before
                if passable and edge.to not in ways:
                    ways[edge.to] = [*ways[id], action]
                    url = graph.nodes[edge.to].view.url
                    pasts[edge.to] = pasts[id].then(action, url, edge.to)
                    queue.append(edge.to)
        return ways

    def _untried(self, id: str, ways: Mapping[str, Sequence[Action]]) -> Action | None:
        node = self._screens.recording.nodes[id]
        far = id not in ways or len(ways[id]) >= self._depth
        if node.view.over or far or id in self._lost:
            return None
        known = self._screens.recording.edges.get(id, {})
        for action in actions_of(node, self._texts):
            if action.kind == "back":
                tried = any(key.startswith("back(") for key in known)
            else:
                tried = action_key(action, node.view, Past()) in known
            if not tried:
                return action
        return None


def actions_of(node: Node, texts: Iterable[str]) -> Iterator[Action]:
    """What can sensibly be tried on a screen: its controls, then going back."""
    texts = list(texts)
    for element in node.view.elements:
        if not element.id or "disabled" in element.states:
            continue
        if element.role in _TYPED:
            yield from (Action("type", element.id, text=text) for text in texts)
        elif element.options:
            yield from (Action("select", element.id, text=text) for text in element.options)
        elif element.role not in _STILL:
            yield Action("click", element.id)
    yield Action("back")


def coverage(recording: Recording) -> dict[str, Any]:
    """How much of a recording is known: its size, and the share of states with a way on."""
    ways = sum(bool(recording.edges.get(id)) for id in recording.nodes)
    return {
        "nodes": len(recording.nodes),
        "transitions": sum(map(len, recording.edges.values())),
        "scenes": len(recording.starts),
        "with a way on": ways,
        "conflicts": len(recording.conflicts),
    }
