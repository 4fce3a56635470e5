"""An agent in front of a screen, with numbered rounds and evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from agentrl.core import Episode, InfraError, Message, Task, ToolResult, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.gui.rounds import Round, aim, header
from agentrl.environments.gui.screen import Action, Refused, Screen, Screens, Unseen, View
from agentrl.environments.gui.task import check_of, solved
from agentrl.environments.gui.words import words
from agentrl.environments.offered import chosen
from agentrl.tools import Tool, tool

SYSTEM = (
    "You work on a screen. Each action is answered by a numbered round that shows the screen after "
    "it; elements have numbers in brackets, new ones in every round. When the task is done, call "
    "`submit` with a message and, as evidence, the numbers of the rounds that show it."
)
_SECONDS = 120.0


class GuiEnvironment(Environment):
    """Tools over a screen; every action is a round.

    Args:
        screens: where the episode's screen comes from; shared, and not closed here.
        screenshots: observations hold a screenshot; may be changed between steps.
        marks: the numbers of the elements are drawn on it.
        max_elements: elements that a text shows.
        offered: names of the tools that the policy gets; None is all of them.
        instructions: added to the system message.
    """

    def __init__(
        self,
        screens: Screens,
        *,
        screenshots: bool = True,
        marks: bool = False,
        max_elements: int = 120,
        offered: Sequence[str] | None = None,
        instructions: str = "",
    ) -> None:
        self._screens, self._offered = screens, offered
        self.screenshots, self._marks, self._max = screenshots, marks, max_elements
        self._instructions = instructions
        self._screen: Screen | None = None
        self._view: View | None = None
        self._turn = -1
        self.rounds: list[Round] = []
        self._answer: dict[str, Any] = {"submitted": False, "message": "", "evidence": []}
        self._submissions, self._ended = 0, ""

    @property
    def tools(self) -> dict[str, Tool]:
        """Those that are offered. Raises ConfigError for a name that there is not."""
        return chosen(super().tools, self._offered)

    @property
    def view(self) -> View:
        """What the last round shows. Raises InfraError before `reset`."""
        if self._view is None:
            raise InfraError("no_screen", "nothing is shown before reset")
        return self._view

    async def reset(self, task: Task) -> list[Message]:
        """Open the screen; the last message ends with round 0."""
        self.task = task
        self._screen = await self._screens.open(task)
        view = await self._screen.look(image=self.screenshots)
        brief = await self._screen.brief()
        shown = self._round(Action("look"), view)
        said = [part for part in (task.prompt, brief) if part]
        system = "\n".join(part for part in (SYSTEM, self._instructions) if part)
        user = Message("user", "\n\n".join([*said, shown.text]), images=shown.images)
        return [Message("system", system), user]

    @tool(timeout=_SECONDS)
    async def click(
        self, element: int = 0, x: int | None = None, y: int | None = None
    ) -> ToolResult:
        """Click an element, or a point of the screenshot.

        Args:
            element: number of the element; leave it out to click a point.
            x: pixels from the left.
            y: pixels from the top.
        """
        return await self._act(Action("click", element, _point(x, y)))

    @tool(timeout=_SECONDS)
    async def double_click(
        self, element: int = 0, x: int | None = None, y: int | None = None
    ) -> ToolResult:
        """Double-click an element, or a point of the screenshot.

        Args:
            element: number of the element; leave it out to click a point.
            x: pixels from the left.
            y: pixels from the top.
        """
        return await self._act(Action("double_click", element, _point(x, y)))

    @tool(timeout=_SECONDS)
    async def type(self, text: str, element: int = 0, enter: bool = False) -> ToolResult:
        """Type a text; it replaces what the field holds.

        Args:
            text: what to type.
            element: number of the field; where the focus is when left out (it is then added).
            enter: press Enter afterwards.
        """
        return await self._act(Action("type", element, text=text, enter=enter))

    @tool(timeout=_SECONDS)
    async def key(self, keys: str) -> ToolResult:
        """Press a key or a combination.

        Args:
            keys: such as Enter, Escape, Tab, ArrowDown, Control+a.
        """
        return await self._act(Action("key", text=keys))

    @tool(timeout=_SECONDS)
    async def scroll(
        self,
        direction: Literal["up", "down", "left", "right"],
        element: int = 0,
        amount: int = 300,
    ) -> ToolResult:
        """Scroll the page, or inside an element.

        Args:
            direction: where to.
            element: number of what to scroll; the page when left out.
            amount: pixels.
        """
        return await self._act(Action("scroll", element, text=direction, amount=amount))

    @tool(timeout=_SECONDS)
    async def drag(
        self,
        element: int = 0,
        to: int = 0,
        x: int | None = None,
        y: int | None = None,
        to_x: int | None = None,
        to_y: int | None = None,
    ) -> ToolResult:
        """Drag an element or a point to another one.

        Args:
            element: number of what is dragged; or x and y.
            to: number of where it is dropped; or to_x and to_y.
            x: pixels from the left.
            y: pixels from the top.
            to_x: pixels from the left.
            to_y: pixels from the top.
        """
        return await self._act(Action("drag", element, _point(x, y), to, _point(to_x, to_y)))

    @tool(timeout=_SECONDS)
    async def select(self, element: int, option: str) -> ToolResult:
        """Choose an option of a list.

        Args:
            element: number of the list.
            option: text of the option.
        """
        return await self._act(Action("select", element, text=option))

    @tool(timeout=_SECONDS)
    async def back(self) -> ToolResult:
        """Go back to the page before; a window that was opened on top is closed."""
        return await self._act(Action("back"))

    @tool(timeout=_SECONDS)
    async def wait(self, seconds: float = 1.0) -> ToolResult:
        """Wait for the screen to change.

        Args:
            seconds: how long, 30 at most.
        """
        return await self._act(Action("wait", amount=min(max(seconds, 0.0), 30.0)))

    @tool(timeout=_SECONDS)
    async def open(self, url: str) -> ToolResult:
        """Open a page or start an application.

        Args:
            url: address of the page, or name of the application.
        """
        return await self._act(Action("open", text=url))

    @tool(timeout=_SECONDS)
    async def look(self, marks: bool = True) -> ToolResult:
        """Look at the screen again, with a screenshot.

        Args:
            marks: draw the numbers of the elements on it.
        """
        return await self._act(Action("look"), image=True, marks=marks)

    @tool
    async def submit(self, message: str, evidence: list[int] | None = None) -> ToolResult:
        """Say that you are done. It ends the episode.

        Args:
            message: the answer, or what was done.
            evidence: numbers of the rounds that show that the task is done.
        """
        self._answer = {"submitted": True, "message": message, "evidence": list(evidence or [])}
        self.done, self._ended = True, "submitted"
        number = len(self.rounds)
        url = self._view.url if self._view else ""
        ids = self._answer["evidence"]
        action = f"submit(evidence={ids})"
        self.rounds.append(Round(number, self._turn, -1, action, url, status="submit"))
        return ToolResult(f"{header(number)}\nsubmitted")

    async def step(self, turn: Turn) -> Observation:
        """Run the calls; a turn without calls ends the episode without a submission."""
        self._turn += 1
        self._submissions += sum(call.name == "submit" for call in turn.calls)
        before = len(self.rounds)
        observation = await super().step(turn)
        _place(self.rounds[before:], turn)
        return observation

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """The submission, the rounds, and the end state that the task's check reads."""
        assert self._screen is not None
        check = check_of(self.task)
        state = await self._screen.ask(check) if check else None
        return {
            **self._answer,
            "submissions": self._submissions,
            "rounds": [row.outcome() for row in self.rounds],
            "ended": self._ended,
            "state": state,
            "solved": solved(self.task, state),
            **await self._screen.extras(),
        }

    async def close(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            await screen.close()

    async def _act(
        self, action: Action, *, image: bool | None = None, marks: bool | None = None
    ) -> ToolResult:
        if self._screen is None or self._view is None:
            raise InfraError("no_screen", "a tool was called before reset")
        before = self._view
        try:
            spot = aim(action, before)
            view = await self._screen.act(
                action, image=self.screenshots if image is None else image
            )
        except Refused as error:
            return self._unchanged(action, "refused", f"error: {error}")
        except Unseen as error:
            self.done, self._ended = True, "unseen"
            return self._unchanged(action, "unseen", f"error: {error}")
        if view.over:
            self.done, self._ended = True, "over"
        return self._round(action, view, spot, self._marks if marks is None else marks)

    def _round(
        self,
        action: Action,
        view: View,
        spot: tuple[Any, Any] = (None, None),
        marks: bool | None = None,
    ) -> ToolResult:
        number = len(self.rounds)
        row = Round(number, self._turn, 0, str(action), view.url, *spot, view.size)
        row.status = "over" if view.over else ""
        self.rounds.append(row)
        self._view = view
        images = []
        if view.image is not None:
            images = [view.image]
            if self._marks if marks is None else marks:
                from agentrl.environments.gui.marks import marked

                images = [marked(view.image, view.elements)]
        text = words(view, max_elements=self._max)
        return ToolResult(f"{header(number)}\n{text}", images=images)

    def _unchanged(self, action: Action, status: str, text: str) -> ToolResult:
        """A round in which the screen stayed as it was."""
        assert self._view is not None
        number = len(self.rounds)
        url, size = self._view.url, self._view.size
        self.rounds.append(Round(number, self._turn, 0, str(action), url, size=size, status=status))
        return ToolResult(f"{header(number)}\n{text}", ok=False, error=status)


def _place(rounds: list[Round], turn: Turn) -> None:
    """Say of each round which call of the turn it answers; refused arguments make no round."""
    calls = iter(range(len(turn.results)))
    for row in rounds:
        for call in calls:
            if turn.results[call].text.startswith(header(row.number) + "\n"):
                row.call = call
                break


def _point(x: int | None, y: int | None) -> tuple[int, int] | None:
    return None if x is None or y is None else (x, y)
