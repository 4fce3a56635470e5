"""The tools of published software-engineering scaffolds, by the names and arguments they use.

A model trained on one of these scaffolds finds what it knows; descriptions and observations are our
own except where the form is part of the interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from agentrl.core import ConfigError, Sandbox, ToolResult
from agentrl.tools.bash import Bash, PersistentShell, run_in
from agentrl.tools.definition import Tool, tool, tools_of
from agentrl.tools.replace_editor import ReplaceEditor
from agentrl.tools.submit import Submit
from agentrl.tools.wording import clip

_BACKSTOP_SECONDS = 3600.0
COMPLETE = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class MiniSweAgent:
    """mini-swe-agent: `bash` alone, a new shell each time; the work is handed in by a command that
    succeeds and prints the word `COMPLETE` on its first line."""

    def __init__(
        self,
        sandbox: Sandbox,
        root: str,
        on_submit: Callable[[], None],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        max_output: int = 10_000,
    ) -> None:
        self._sandbox, self._root, self._on_submit = sandbox, root, on_submit
        self._env = dict(env or {})
        self.timeout, self.max_output = timeout, max_output

    @tool(timeout=_BACKSTOP_SECONDS, max_output=1 << 20)
    async def bash(self, command: str) -> ToolResult:
        """Execute a bash command, in a new shell each time. To hand in the work, run
        `echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT` as a command of its own.

        Args:
            command: The bash command to execute.
        """
        if "\0" in command:
            return ToolResult("error: the command has a null character", False, "refused")
        result = await self._sandbox.exec(
            command,
            cwd=self._root,
            timeout=self.timeout,
            max_output=16 * self.max_output,
            env=self._env,
        )
        first, _, rest = result.output.lstrip().partition("\n")
        if result.ok and first.strip() == COMPLETE:
            self._on_submit()
            return ToolResult(clip(rest, self.max_output) or "submitted")
        text = clip(result.output, self.max_output)
        said = f"<returncode>{result.exit_code}</returncode>\n<output>\n{text}</output>"
        if result.truncated:
            said += "\n<warning>more output was thrown away</warning>"
        if not result.timed_out:
            return ToolResult(said)
        said += f"\nerror: stopped after its deadline of {self.timeout:g} s"
        return ToolResult(said, ok=False, error="deadline")


class OpenHands:
    """OpenHands (CodeAct): `execute_bash`, whose state lasts, `think` and `finish`; the editor is
    `ReplaceEditor`."""

    def __init__(
        self,
        sandbox: Sandbox,
        root: str,
        on_submit: Callable[[], None],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        max_output: int = 10_000,
    ) -> None:
        self._shell, self._on_submit = PersistentShell(sandbox, root, env), on_submit
        self.timeout, self.max_output = timeout, max_output

    @tool(timeout=_BACKSTOP_SECONDS, max_output=1 << 20)
    async def execute_bash(
        self, command: str, is_input: Literal["true", "false"] = "false"
    ) -> ToolResult:
        """Run a bash command in a shell whose directory and variables last.

        Args:
            command: the command; start what runs on in the background, its output in a file.
            is_input: whether the command is input for a program that still runs.
        """
        if is_input == "true":
            # A command that reaches its deadline is ended here, so there is never one to feed.
            text = "error: no program is waiting for input; a command is stopped at its deadline"
            return ToolResult(text, ok=False, error="refused")
        return await run_in(self._shell, command, self.timeout, self.max_output)

    @tool
    async def think(self, thought: str) -> str:
        """Write a thought down; it changes nothing.

        Args:
            thought: the thought.
        """
        return "noted"

    @tool
    async def finish(self, message: str = "") -> str:
        """Hand in the work; this ends the task.

        Args:
            message: what was done.
        """
        self._on_submit()
        return "submitted"


PRESETS = ("mini-swe-agent", "swe-agent", "openhands")


def preset(
    name: str,
    sandbox: Sandbox,
    root: str,
    on_submit: Callable[[], None],
    *,
    env: Mapping[str, str] | None = None,
) -> dict[str, Tool]:
    """The tools of a scaffold over a repository, by name.

    Args:
        name: "mini-swe-agent" (bash), "swe-agent" (bash, str_replace_editor, submit) or
            "openhands" (execute_bash, str_replace_editor, think, finish).
        root: the repository's folder inside the sandbox.
        on_submit: called when the work is handed in.
        env: variables that commands start with.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"no preset of tools is called {name!r}", fix=f"use one of: {', '.join(PRESETS)}"
        )
    boxes: list[object]
    if name == "mini-swe-agent":
        boxes = [MiniSweAgent(sandbox, root, on_submit, env=env)]
    elif name == "swe-agent":
        boxes = [Bash(sandbox, root, env=env), ReplaceEditor(sandbox, root), Submit(on_submit)]
    else:
        boxes = [OpenHands(sandbox, root, on_submit, env=env), ReplaceEditor(sandbox, root)]
    return {tool.name: tool for box in boxes for tool in tools_of(box).values()}
