"""Say that the work is done."""

from __future__ import annotations

from collections.abc import Callable

from agentrl.tools.definition import tool


class Submit:
    """The tool `submit`.

    Args:
        on_submit: called once per call; an environment sets its `done` there.
    """

    def __init__(self, on_submit: Callable[[], None]) -> None:
        self._on_submit = on_submit

    @tool
    async def submit(self) -> str:
        """Hand in the work; this ends the task."""
        self._on_submit()
        return "submitted"
