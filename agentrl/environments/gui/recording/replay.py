"""Episodes from a recording: no browser, the same answers every time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentrl.core import InfraError, Task, TaskFileError
from agentrl.environments.gui.recording.graph import Node, Recording, scene_key
from agentrl.environments.gui.recording.past import Past, action_key
from agentrl.environments.gui.recording.recorder import RecordingScreen
from agentrl.environments.gui.screen import Action, Refused, Screen, Screens, Unseen, View
from agentrl.environments.gui.task import screen_task


class RecordedScreens:
    """Opens a task at the node where its scene was recorded.

    Args:
        recording: the graph.
        live: where an episode goes on when it takes a step that was not recorded; without it, such
            a step ends the episode with the status "unseen".
        extend: what is then seen live is added to the recording, which `close` saves.
    """

    def __init__(
        self, recording: Recording, live: Screens | None = None, *, extend: bool = False
    ) -> None:
        self._recording, self._live, self._extend = recording, live, extend

    async def open(self, task: Task) -> RecordedScreen:
        """Raises TaskFileError when the task's scene was not recorded."""
        start = self._recording.starts.get(scene_key(screen_task(task)))
        if start is None:
            raise TaskFileError(
                f"the recording {self._recording.folder} does not have this task's scene",
                where=f"task {task.id}",
                fix="record it, or give the task the payload it was recorded with",
            )
        node = self._recording.nodes[start.node]
        return RecordedScreen(self._recording, node, start.brief, task, self._live, self._extend)

    async def close(self) -> None:
        if self._extend:
            self._recording.save()
        if self._live is not None:
            await self._live.close()


class RecordedScreen:
    """A walk through the graph, that may leave it for the live application."""

    def __init__(
        self,
        recording: Recording,
        node: Node,
        brief: str,
        task: Task,
        live: Screens | None,
        extend: bool,
    ) -> None:
        self._recording, self._brief, self._task = recording, brief, task
        self._source, self._extend = live, extend
        self.node = self._begin = node
        self.past = Past().then(Action("look"), node.view.url, node.id)
        self._done: list[Action] = []
        self._live: Screen | None = None

    @property
    def live(self) -> bool:
        """The episode has left the recording."""
        return self._live is not None

    async def look(self, *, image: bool) -> View:
        if self._live is not None:
            return await self._live.look(image=image)
        return self._shown(image, ())

    async def act(self, action: Action, *, image: bool) -> View:
        if self._live is not None:
            return await self._live.act(action, image=image)
        if action.kind == "look":
            return self._shown(image, ())
        key = action_key(action, self.node.view, self.past)
        edge = self._recording.edges.get(self.node.id, {}).get(key)
        if edge is None:
            if action.kind == "wait":
                return self._shown(image, ())
            return await self._leave(action, key, image)
        if edge.refused:
            raise Refused(edge.refused)
        self._done.append(action)
        self.node = self._recording.nodes[edge.to]
        self.past = self.past.then(action, self.node.view.url, edge.to)
        return self._shown(image, edge.notes)

    async def brief(self) -> str:
        return self._brief

    async def ask(self, check: str) -> Any:
        if self._live is not None:
            return await self._live.ask(check)
        node = self._dismissed()
        if check not in node.checks:
            raise InfraError(
                "check_not_recorded",
                f"the recording has no value of the check {check!r}",
                where=f"task {self._task.id}",
                fix="record with the checks of all tasks",
            )
        return node.checks[check]

    async def memory(self) -> str:
        return await self._live.memory() if self._live is not None else self.node.memory

    async def extras(self) -> dict[str, Any]:
        live = await self._live.extras() if self._live is not None else {}
        return {**live, "live": self._live is not None}

    async def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            await live.close()

    def _dismissed(self) -> Node:
        """Where one is once the dialog that may be open is dismissed; as far as it was recorded."""
        node = self.node
        if not node.view.stopped:
            return node
        buttons = [e for e in node.view.elements if e.role == "button"]
        key = str(Action("click", buttons[-1].id))
        edge = self._recording.edges.get(node.id, {}).get(key)
        return node if edge is None else self._recording.nodes[edge.to]

    def _shown(self, image: bool, notes: tuple[str, ...]) -> View:
        shot = self._recording.image(self.node) if image else None
        return replace(self.node.view, notes=notes, image=shot)

    async def _leave(self, action: Action, key: str, image: bool) -> View:
        """Go on in the live application, once it stands where the recording stands."""
        if self._source is None:
            raise Unseen(f"the recording does not know where {key} leads from here")
        live = await self._source.open(self._task)
        if self._extend:
            live = RecordingScreen(live, self._recording, self._task, list(self._begin.checks))
            await live.start()
        try:
            view = await live.look(image=False)
            for done in self._done:
                view = await live.act(done, image=False)
            if replace(view, notes=(), image=None) != self.node.view:
                raise InfraError(
                    "recording_stale",
                    f"the live application shows another screen than the recording ({view.url})",
                    where=f"task {self._task.id}",
                    fix="record it again",
                )
            view = await live.act(action, image=image)
        except Refused:
            self._live = live
            raise
        except BaseException:
            await live.close()
            raise
        self._live = live
        return view
