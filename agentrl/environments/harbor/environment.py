"""Harbor and Terminal-Bench tasks as episodes: a shell, a working directory, and a test script."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentrl.core import (
    ConfigError,
    Episode,
    Message,
    Sandbox,
    SandboxProvider,
    Task,
    TaskFileError,
    Turn,
)
from agentrl.environments.base import Environment, Observation
from agentrl.environments.harbor.folder import HarborPayload, HarborReference
from agentrl.environments.harbor.images import INSIDE, KEPT, ready_image
from agentrl.environments.harbor.judge import Verified, verify
from agentrl.environments.images import ImageProvider
from agentrl.environments.offered import offered
from agentrl.environments.swe.flags import flags_of_commands
from agentrl.tools import Editor, Finder, Shell, Submit, Tool

NO_CALL = "No tool call found. Call a tool, or submit when you are done."
TIME_IS_UP = "The time for this task is up."


class HarborEnvironment(Environment):
    """One task folder.

    The agent's sandbox has no network, whatever the task asks for, and only the working directory,
    /tmp and the home directory can be written. What counts is the working directory as the agent
    left it, put into an unused sandbox; there /tests and /logs are the task's own, and no process
    or other file of the agent is left.
    """

    def __init__(
        self,
        sandboxes: ImageProvider,
        *,
        tools: str | Sequence[str] | None = None,
        system: str = "",
        host: str | None = None,
        clock: Any = time.monotonic,
    ) -> None:
        """
        Args:
            tools: names of the tools to offer, None for all; or the name of a published
                scaffold, see `agentrl.tools.preset`.
            host: of the Docker engine on which images are built.
            clock: seconds, for the task's own time-out.
        """
        self._sandboxes = sandboxes
        self._names = tools
        self._system = system
        self._host = host
        self._clock = clock
        self._started = 0.0
        self._lender: SandboxProvider | None = None
        self._sandbox: Sandbox | None = None
        self._offered: dict[str, Tool] = {}
        self._payload: HarborPayload | None = None
        self._reference: HarborReference | None = None
        self._workdir = ""
        self.submitted = False

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        """Raises SandboxError, TaskFileError."""
        try:
            self._payload = payload = HarborPayload.model_validate(task.payload)
            self._reference = HarborReference.model_validate(task.reference)
        except ValidationError as error:
            raise TaskFileError(f"not a Harbor task: {error}", where=task.id) from error
        ready = await ready_image(payload, self._host)
        self._workdir = ready.workdir
        self._lender = await self._sandboxes.of_image(ready.tag, ready.workdir)
        self._sandbox = sandbox = await self._lender.acquire()
        await restore(sandbox, ready.workdir)
        self.toolboxes = (
            Shell(sandbox, ready.workdir),
            Finder(sandbox, ready.workdir),
            Editor(sandbox, ready.workdir),
            Submit(self._submit),
        )
        self._offered = offered(super().tools, self._names, sandbox, ready.workdir, self._submit)
        self._started = self._clock()
        system = [Message("system", self._system)] if self._system else []
        return [*system, Message("user", task.prompt)]

    async def step(self, turn: Turn) -> Observation:
        """Run the calls until the task's time is up; a turn without any is told so."""
        assert self._payload is not None
        if self._clock() - self._started > self._payload.agent_seconds:
            self.done = True
            return Observation([Message("user", TIME_IS_UP)], done=True)
        if not turn.calls:
            return Observation([Message("user", NO_CALL)])
        return await super().step(turn)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """{"submitted", "reward", "rewards", "resolved", "grading", "log", "flags", "network"}.

        "grading" and "flags": see `judge.Verified`. "resolved" is a reward of at least 1. Work that
        was not submitted counts too, as the format has it. Raises SandboxError.
        """
        assert self._sandbox is not None
        assert self._lender is not None
        assert self._payload is not None
        assert self._reference is not None
        with tempfile.TemporaryDirectory(prefix="agentrl-harbor-") as scratch:
            work = Path(scratch, "work")
            work.mkdir()
            await self._sandbox.copy_out(self._workdir, work)
            await self._give_back()
            found = await verify(self._lender, self._payload, self._reference, self._workdir, work)
        return {
            "submitted": self.submitted,
            "reward": found.reward,
            "rewards": found.rewards,
            "resolved": found.reward is not None and found.reward >= 1,
            "grading": found.grading,
            "log": found.log[-20_000:],
            "flags": list(dict.fromkeys([*flags_of_commands(episode), *found.flags])),
            "network": f"none (the task asks for {self._payload.network})",
        }

    async def close(self) -> None:
        await self._give_back()

    def _submit(self) -> None:
        self.submitted = self.done = True

    async def _give_back(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None and self._lender is not None:
            await super().close()
            await self._lender.release(sandbox)


async def solved(
    lender: SandboxProvider, payload: HarborPayload, reference: HarborReference, workdir: str
) -> Verified:
    """What the test script says of the task's own solution. Raises TaskFileError without one."""
    if not reference.solution:
        raise TaskFileError("it has no solution", where=payload.folder)
    solution = Path(payload.folder, reference.solution)
    sandbox = await lender.acquire()
    try:
        await restore(sandbox, workdir)
        await sandbox.copy_in(
            solution.parent if solution.parent.name == "solution" else solution,
            f"{INSIDE}/solution" + ("" if solution.parent.name == "solution" else "/solution.sh"),
        )
        await sandbox.exec(
            f"bash {INSIDE}/solution/{solution.name}",
            cwd=workdir,
            timeout=payload.agent_seconds,
            env=payload.env,
        )
        with tempfile.TemporaryDirectory(prefix="agentrl-harbor-") as scratch:
            work = Path(scratch, "work")
            work.mkdir()
            await sandbox.copy_out(workdir, work)
            return await verify(lender, payload, reference, workdir, work)
    finally:
        await lender.release(sandbox)


async def restore(sandbox: Sandbox, workdir: str) -> None:
    """Fill the working directory with what the image has there."""
    result = await sandbox.exec(
        f"cp -r --preserve=mode,timestamps,links {KEPT}/. {shlex.quote(workdir)}/", cwd="/"
    )
    if not result.ok:
        raise ConfigError(
            f"the working directory does not fit into the sandbox: {result.output.strip()[-300:]}",
            where=workdir,
            fix="raise the sandbox's work_mb",
        )
