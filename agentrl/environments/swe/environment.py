"""The environment in which an agent repairs a repository."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentrl.core import ConfigError, Episode, Message, Sandbox, SandboxProvider, Task, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.swe.grade import Grader
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import Tree, diff_trees, read_folder, write_folder
from agentrl.tools import Editor, Finder, PytestRunner, Shell, Submit, Tool

SYSTEM = "You repair a Python repository. Use the tools to find and fix the bug, then submit."
NO_CALL = "No tool call found. Call a tool, or submit when you are done."

_MAX_DIFF = 2 << 20
_NOISE = re.compile(
    r"(^|/)(__pycache__|\.pytest_cache|\.hypothesis|\.mypy_cache|\.git)(/|$)|\.pyc$"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class SweEnvironment(Environment):
    """A repository with a bug, an issue about it, and the tools to repair it; one per episode.

    The agent works in a sandbox of its own. What counts in the end is the difference between the
    files copied out of it and those that went in, judged by `Grader` in another sandbox.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        grader: Grader,
        *,
        tools: Sequence[str] | None = None,
        system: str = SYSTEM,
        grade_unsubmitted: bool = False,
        test_timeout: float = 30.0,
        python: str = "python3",
    ) -> None:
        """
        Args:
            grader: shared by all episodes of a run.
            tools: names of the tools to offer, None for all: list_files, search, view, edit,
                replace_lines, create, undo, run_tests, shell, submit.
            system: text of the system message, "" for none; the issue is the user message.
            grade_unsubmitted: also judge what was never submitted; otherwise it is unresolved.
            test_timeout: seconds for one run of the agent's tests.
            python: the interpreter inside the sandbox.
        """
        self._provider = provider
        self._grader = grader
        self._names = tools
        self._system = system
        self._grade_unsubmitted = grade_unsubmitted
        self._test_timeout = test_timeout
        self._python = python
        self._sandbox: Sandbox | None = None
        self._offered: dict[str, Tool] = {}
        self.swe: SweTask | None = None
        self.submitted = False

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        """Put the repository into a sandbox. Raises SandboxError, TaskFileError, ConfigError."""
        self.swe = swe = SweTask(task)
        self._sandbox = sandbox = await self._provider.acquire()
        root = f"{sandbox.workdir.rstrip('/')}/repo"
        with tempfile.TemporaryDirectory(prefix="agentrl-repo-") as folder:
            await asyncio.to_thread(write_folder, swe.base, Path(folder))
            await sandbox.copy_in(Path(folder), root)
        path = ":".join(f"{root}/{entry}".removesuffix("/.") for entry in swe.payload.paths)
        self.toolboxes = (
            Finder(sandbox, root),
            Editor(sandbox, root),
            PytestRunner(
                sandbox,
                root,
                python=self._python,
                timeout=self._test_timeout,
                env={"PYTHONPATH": path},
            ),
            Shell(sandbox, root),
            Submit(self._submit),
        )
        self._offered = self._selected(super().tools)
        system = [Message("system", self._system)] if self._system else []
        return [*system, Message("user", task.prompt)]

    async def step(self, turn: Turn) -> Observation:
        """Run the calls; a turn without any is told so and does not end the episode."""
        if not turn.calls:
            return Observation([Message("user", NO_CALL)])
        return await super().step(turn)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """Judge the work: {"submitted", "modified", "diff", "resolved", "f2p_passed",
        "f2p_total", "p2p_passed", "p2p_total", "grading", "refused"}.

        "grading" is "tests", or why there are no test results: "not_submitted", "too_large",
        "timeout", "died", "tampered", "bad_diff". Raises SandboxError when a sandbox is gone.
        """
        assert self.swe is not None
        swe = self.swe
        diff = await self._diff()
        # An episode that holds a sandbox while it waits for another could block all others.
        await self._give_back()
        outcome: dict[str, Any] = {
            "submitted": self.submitted,
            "modified": bool(diff),
            "diff": diff or "",
            "resolved": False,
            "f2p_passed": 0,
            "f2p_total": len(swe.reference.fail_to_pass),
            "p2p_passed": 0,
            "p2p_total": len(swe.reference.pass_to_pass),
            "grading": "not_submitted",
            "refused": {},
        }
        if diff is None:
            return {**outcome, "modified": True, "grading": "too_large"}
        if not self.submitted and not self._grade_unsubmitted:
            return outcome
        return {**outcome, **asdict(await self._grader.grade(swe.task, diff))}

    async def close(self) -> None:
        await self._give_back()

    def _submit(self) -> None:
        self.submitted = self.done = True

    def _selected(self, tools: dict[str, Tool]) -> dict[str, Tool]:
        if self._names is None:
            return tools
        unknown = [name for name in self._names if name not in tools]
        if unknown:
            raise ConfigError(
                f"unknown tool: {', '.join(unknown)}",
                where="environment.tools",
                fix=f"allowed: {', '.join(tools)}",
            )
        return {name: tools[name] for name in self._names}

    async def _diff(self) -> str | None:
        """What the agent changed; None when it is more than anybody could review."""
        assert self._sandbox is not None
        assert self.swe is not None
        swe = self.swe
        with tempfile.TemporaryDirectory(prefix="agentrl-submission-") as folder:
            target = Path(folder, "repo")
            try:
                await self._sandbox.copy_out(f"{self._sandbox.workdir.rstrip('/')}/repo", target)
            except FileNotFoundError:
                target.mkdir(exist_ok=True)
            except OSError:
                return None
            return await asyncio.to_thread(submission_diff, swe, target)

    async def _give_back(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await super().close()
            await self._provider.release(sandbox)


def submission_diff(swe: SweTask, folder: Path) -> str | None:
    """The diff of a folder against the task's base tree, without caches and git's files.

    Changes outside the source are shown, though they will not count; when all of it is too
    large, the source changes alone; None when these are too large as well.
    """
    submitted: Tree = {
        path: data
        for path, data in read_folder(folder).items()
        if path in swe.base or not (_NOISE.search(path) or _CONTROL.search(path))
    }
    if _size(submitted, swe.base) <= _MAX_DIFF:
        return diff_trees(swe.base, submitted)
    source = {path: data for path, data in submitted.items() if swe.is_source(path)}
    others = {path: data for path, data in swe.base.items() if not swe.is_source(path)}
    if _size({**others, **source}, swe.base) <= _MAX_DIFF:
        return diff_trees(swe.base, {**others, **source})
    return None


def _size(new: Tree, old: Tree) -> int:
    return sum(len(data) for path, data in new.items() if old.get(path) != data)
