"""Recording: a live screen whose every state and step goes into a graph."""

from __future__ import annotations

from typing import Any

from agentrl.core import Task
from agentrl.environments.gui.recording.graph import (
    Edge,
    Node,
    Recording,
    Start,
    checks_of,
    scene_key,
)
from agentrl.environments.gui.recording.past import Past, action_key
from agentrl.environments.gui.screen import Action, Refused, Screen, Screens, View
from agentrl.environments.gui.task import screen_task


class RecordingScreens:
    """Screens of others, recorded as they are used; by experts, policies or `explore` alike.

    Args:
        live: what is recorded; closed with this.
        recording: where it goes; `close` saves it.
        checks: JavaScript of end states that every node keeps the value of, besides the task's own.
        screenshots: keep one a node.
    """

    def __init__(
        self,
        live: Screens,
        recording: Recording,
        *,
        checks: list[str] | None = None,
        screenshots: bool = True,
    ) -> None:
        self._live, self.recording = live, recording
        self._checks, self._screenshots = checks or [], screenshots

    async def open(self, task: Task) -> RecordingScreen:
        screen = await self._live.open(task)
        checks = list(dict.fromkeys([*checks_of([task.reference]), *self._checks]))
        recorded = RecordingScreen(
            screen, self.recording, task, checks, screenshots=self._screenshots
        )
        await recorded.start()
        return recorded

    async def close(self) -> None:
        self.recording.save()
        await self._live.close()


class RecordingScreen:
    """A live screen that writes down where it is."""

    def __init__(
        self,
        live: Screen,
        recording: Recording,
        task: Task,
        checks: list[str],
        *,
        screenshots: bool = True,
    ) -> None:
        self._live, self._recording, self._task = live, recording, task
        self._checks, self._screenshots = checks, screenshots
        self.node: Node | None = None
        self.past = Past()
        self.conflicts = 0

    async def start(self) -> None:
        """Write down where the task's scene begins."""
        view = await self._live.look(image=self._screenshots)
        node = await self._note(view, "")
        self._at(node, Action("look"))
        wanted = screen_task(self._task)
        brief = await self._live.brief()
        scene = wanted.model_dump(mode="json", exclude_defaults=True)
        self._recording.starts[scene_key(wanted)] = Start(node.id, brief, scene)

    async def look(self, *, image: bool) -> View:
        view = await self._live.look(image=image or self._screenshots)
        if self.node is None or not view.stopped:
            self._at(await self._note(view, ""), Action("look"))
        return view

    async def act(self, action: Action, *, image: bool) -> View:
        assert self.node is not None
        before = self.node
        key = action_key(action, before.view, self.past)
        try:
            view = await self._live.act(action, image=image or self._screenshots)
        except Refused as error:
            self._connect(before, key, Edge(before.id, refused=str(error)))
            raise
        node = await self._note(view, f"{before.id} {key}")
        self._at(node, action)
        self._connect(before, key, Edge(node.id, view.notes))
        return view

    async def brief(self) -> str:
        return await self._live.brief()

    async def memory(self) -> str:
        return await self._live.memory()

    async def extras(self) -> dict[str, Any]:
        return await self._live.extras()

    async def ask(self, check: str) -> Any:
        return await self._live.ask(check)

    async def close(self) -> None:
        await self._live.close()

    async def _note(self, view: View, way: str) -> Node:
        """The node of a view; `way` is how one came to it.

        What is under a dialog cannot be asked; it is what the way there made of it.
        """
        if view.stopped:
            return self._recording.add(view, {}, f"dialog {way}")
        checks = {check: await self._live.ask(check) for check in self._checks}
        return self._recording.add(view, checks, await self._live.memory())

    def _at(self, node: Node, action: Action) -> None:
        self.node = node
        self.past = self.past.then(action, node.view.url, node.id)

    def _connect(self, source: Node, key: str, edge: Edge) -> None:
        if not self._recording.connect(source.id, key, edge):
            self.conflicts += 1
