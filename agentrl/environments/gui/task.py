"""What a task says about its screen."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core import Task, TaskFileError


class ScreenTask(BaseModel):
    """The payload of a GUI task.

    Attributes:
        start: URL of the first page; package or package/activity on Android; a command line on a
            desktop. `http://NAME.test/..` is the static site NAME of the run.
        storage: by origin, what localStorage holds before the first page is loaded.
        prepare: JavaScript run in the first page once it is loaded.
        brief: JavaScript whose value is appended to the prompt.
        over: JavaScript that is true once the application has ended the episode by itself.
        hide: CSS selector of what the policy is not shown.
        viewport: width and height of the page in pixels; the run's when left out.
        allow: origins ("http://host:port") that may be reached besides the run's sites.
        permissions: that the page is granted ("geolocation", "clipboard-read", ..).
        now: ISO time at which the clock of the pages stands; the real time when left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: str
    storage: dict[str, dict[str, str]] = Field(default_factory=dict)
    prepare: str = ""
    brief: str = ""
    over: str = ""
    hide: str = ""
    viewport: tuple[int, int] | None = None
    allow: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    now: str | None = None


def screen_task(task: Task) -> ScreenTask:
    """Read a task's payload. Raises TaskFileError that names the key."""
    try:
        return ScreenTask.model_validate(task.payload)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise TaskFileError(
            f"payload.{key}: {first['msg']}",
            where=f"task {task.id}",
            fix="a GUI task says where it starts: payload: {start: http://shop.test/index.html}",
        ) from error


def check_of(task: Task) -> str:
    """JavaScript that reads the end state; "" when the task has no such check."""
    check = task.reference.get("check", "")
    if not isinstance(check, str):
        raise TaskFileError(
            "reference.check is not a text", where=f"task {task.id}", fix="a JavaScript expression"
        )
    return check


def solved(task: Task, state: Any) -> bool | None:
    """Whether the end state is the one the task wants; None when it does not say."""
    return None if "state" not in task.reference else state == task.reference["state"]
