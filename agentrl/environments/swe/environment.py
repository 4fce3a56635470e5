"""The environment in which an agent repairs a repository."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentrl.core import (
    Episode,
    FileSnapshot,
    Message,
    NoSnapshot,
    RestorableSandbox,
    Sandbox,
    SandboxProvider,
    Task,
    Turn,
)
from agentrl.environments.base import Environment, Observation
from agentrl.environments.images import provider_for
from agentrl.environments.offered import offered
from agentrl.environments.swe.flags import flags_of
from agentrl.environments.swe.grade import Grader
from agentrl.environments.swe.submission import Listing, list_files, submitted_diff, unjudged
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import apply_diff
from agentrl.tools import Editor, Finder, PytestRunner, Shell, Submit, Tool

SYSTEM = "You repair a Python repository. Use the tools to find and fix the bug, then submit."
NO_CALL = "No tool call found. Call a tool, or submit when you are done."


def _named(issue: str) -> str:
    """The first function that an issue names in backquotes, "" for none."""
    found = re.search(r"`([\w.]+)`", issue)
    return found[1] if found else ""


@dataclass(slots=True, frozen=True)
class SweState:
    """An episode between two turns.

    Attributes:
        editor: what the editor remembers.
        same: files that nobody has touched; None when there were too many to list.
    """

    files: FileSnapshot
    editor: tuple[Any, ...]
    same: list[str] | None


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
        tools: str | Sequence[str] | None = None,
        system: str = SYSTEM,
        compact: bool = False,
        grade_unsubmitted: bool = False,
        test_timeout: float = 30.0,
        test_cpu: float | None = None,
        python: str = "python3",
    ) -> None:
        """
        Args:
            grader: shared by all episodes of a run.
            tools: names of the tools to offer, None for all: list_files, search, view, edit,
                replace_lines, create, undo, run_tests, shell, submit. Or the name of a
                published scaffold, see `agentrl.tools.preset`.
            system: text of the system message, "" for none; the issue is the user message.
            compact: short views with small line numbers, see `agentrl.tools.Editor`.
            grade_unsubmitted: also judge what was never submitted; otherwise it is unresolved.
            test_timeout: seconds for one run of the agent's tests; test_cpu: of processor time.
            python: the interpreter inside the sandbox.
        """
        self._provider = self._lender = provider
        self._grader = grader
        self._names = tools
        self._system = system
        self._compact = compact
        self._grade_unsubmitted = grade_unsubmitted
        self._test_timeout, self._test_cpu = test_timeout, test_cpu
        self._python = python
        self._sandbox: Sandbox | None = None
        self._root = ""
        self._before: Listing | None = None
        self._editor: Editor | None = None
        self._offered: dict[str, Tool] = {}
        self.swe: SweTask | None = None
        self.submitted = False

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        """Put the repository into a sandbox. Raises SandboxError, TaskFileError, ConfigError."""
        sandbox, swe = await self._acquire(task)
        async with self._grader.folders.agent(swe) as folder:
            await sandbox.copy_in(folder, self._root)
        self._before = await list_files(sandbox, self._root)
        self._offer(sandbox, swe, task)
        system = [Message("system", self._system)] if self._system else []
        return [*system, Message("user", task.prompt)]

    async def snapshot(self) -> SweState:
        """Raises NoSnapshot: the sandbox cannot be snapshot (programs are running)."""
        assert self._editor is not None
        if not isinstance(self._sandbox, RestorableSandbox):
            raise NoSnapshot("its kind of sandbox has no snapshots", where=type(self).__name__)
        now = await list_files(self._sandbox, self._root)
        before = self._before or {}
        same = [path for path, what in (now or {}).items() if before.get(path) == what]
        files = await self._sandbox.snapshot()
        return SweState(files, self._editor.remember(), same if self._before else None)

    async def restore(self, task: Task, state: SweState) -> None:
        sandbox, swe = await self._acquire(task)
        assert isinstance(sandbox, RestorableSandbox)
        await sandbox.restore(state.files)
        # Files have new inodes and times: those that were as they came count as such again.
        now = await list_files(sandbox, self._root) if state.same is not None else None
        self._before = None if now is None else {p: now[p] for p in state.same or () if p in now}
        self._offer(sandbox, swe, task)
        assert self._editor is not None
        self._editor.recall(state.editor)

    async def _acquire(self, task: Task) -> tuple[Sandbox, SweTask]:
        self.swe = swe = self._grader.folders.task(task)
        self._lender = await provider_for(self._provider, swe.payload.requires)
        self._sandbox = sandbox = await self._lender.acquire()
        self._root = f"{sandbox.workdir.rstrip('/')}/repo"
        return sandbox, swe

    def _offer(self, sandbox: Sandbox, swe: SweTask, task: Task) -> None:
        root = self._root
        path = ":".join(f"{root}/{entry}".removesuffix("/.") for entry in swe.payload.paths)
        env = {"PYTHONPATH": path}
        self._editor = Editor(sandbox, root, start=_named(task.prompt), compact=self._compact)
        self.toolboxes = (
            Finder(sandbox, root),
            self._editor,
            PytestRunner(
                sandbox,
                root,
                python=self._python,
                default=swe.payload.reproduction or "",
                timeout=self._test_timeout,
                cpu=self._test_cpu,
                env=env,
            ),
            Shell(sandbox, root),
            Submit(self._submit),
        )
        own = super().tools
        self._offered = offered(own, self._names, sandbox, root, self._submit, env=env)

    async def step(self, turn: Turn) -> Observation:
        """Run the calls; a turn without any is told so and does not end the episode."""
        if not turn.calls:
            return Observation([Message("user", NO_CALL)])
        return await super().step(turn)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """Judge the work: {"submitted", "modified", "diff", "resolved", "f2p_passed",
        "f2p_total", "p2p_passed", "p2p_total", "grading", "refused", "flags"}, and when tests ran,
        "failures" (of those that must pass).

        "flags" are signs of an attempt to win without repairing, see `flags`. "grading" is
        "tests", or why there are no test results: "not_submitted", "too_large", "timeout", "died",
        "tampered", "bad_diff". Raises SandboxError when a sandbox is gone.
        """
        assert self.swe is not None
        swe = self.swe
        assert self._sandbox is not None
        diff = await submitted_diff(self._sandbox, self._root, swe, self._before)
        # An episode that holds a sandbox while it waits for another could block all others.
        await self._give_back()
        outcome = unjudged(
            diff,
            submitted=self.submitted,
            f2p_total=len(swe.reference.fail_to_pass),
            p2p_total=len(swe.reference.pass_to_pass),
        )
        if diff is not None and (self.submitted or self._grade_unsubmitted):
            outcome |= asdict(await self._grader.grade(swe.task, diff))
        outcome["flags"] = flags_of(
            swe.base,
            swe.base if diff is None else apply_diff(swe.base, diff),
            outcome["refused"],
            episode,
            outcome["grading"],
            swe.payload.tests,
        )
        return outcome

    async def close(self) -> None:
        await self._give_back()

    def _submit(self) -> None:
        self.submitted = self.done = True

    async def _give_back(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await super().close()
            await self._lender.release(sandbox)
