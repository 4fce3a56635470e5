"""Harbor and Terminal-Bench tasks as episodes: a shell, a working directory, and a test script."""

from __future__ import annotations

import json
import math
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from agentrl.environments.images import ImageProvider
from agentrl.environments.offered import chosen
from agentrl.environments.swe.flags import flags_of_commands
from agentrl.tools import Editor, Finder, Shell, Submit, Tool

NO_CALL = "No tool call found. Call a tool, or submit when you are done."
TIME_IS_UP = "The time for this task is up."
_MAX_LOG = 1 << 20


@dataclass(slots=True, frozen=True)
class Verified:
    """Attributes:
    reward: of the file that the test script wrote; None when it wrote none that counts.
    grading: "tests", or why there is no reward: "no_reward", "timeout".
    """

    reward: float | None
    rewards: dict[str, float]
    grading: str
    log: str


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
        tools: Sequence[str] | None = None,
        system: str = "",
        host: str | None = None,
        clock: Any = time.monotonic,
    ) -> None:
        """
        Args:
            tools: names of the tools to offer, None for all.
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
        self._payload: HarborPayload | None = None
        self._reference: HarborReference | None = None
        self._workdir = ""
        self.submitted = False

    @property
    def tools(self) -> dict[str, Tool]:
        return chosen(super().tools, self._names)

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

        "resolved" is a reward of at least 1. Work that was not submitted counts too, as the
        format has it. Raises SandboxError.
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
            "flags": flags_of_commands(episode),
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


async def verify(
    lender: SandboxProvider,
    payload: HarborPayload,
    reference: HarborReference,
    workdir: str,
    work: Path,
) -> Verified:
    """Run the task's test script on a working directory, in an unused sandbox."""
    folder = Path(payload.folder)
    sandbox = await lender.fresh()
    try:
        await sandbox.copy_in(work, workdir)
        await sandbox.exec(f"mkdir -p {INSIDE}/logs/verifier {INSIDE}/tests", cwd="/")
        if (folder / reference.tests).is_dir():
            await sandbox.copy_in(folder / reference.tests, f"{INSIDE}/tests")
        script = f"{INSIDE}/tests/{Path(reference.script).name}"
        await sandbox.write(script, (folder / reference.script).read_bytes())
        ran = await sandbox.exec(
            f"bash {shlex.quote(script)}",
            cwd=workdir,
            timeout=reference.verifier_seconds,
            max_output=_MAX_LOG,
            env={**payload.env, **reference.env, "TEST_DIR": "/tests"},
        )
        if ran.timed_out:
            return Verified(None, {}, "timeout", ran.output)
        if reference.by_exit_code:
            reward = float(ran.ok)
            return Verified(reward, {"reward": reward}, "tests", ran.output)
        rewards = await _rewards(sandbox)
    finally:
        await lender.release(sandbox)
    if rewards is None:
        return Verified(None, {}, "no_reward", ran.output)
    return Verified(_reward(rewards), rewards, "tests", ran.output)


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


async def _rewards(sandbox: Sandbox) -> dict[str, float] | None:
    """/logs/verifier/reward.json (a number or numbers by name), else reward.txt (a number)."""
    for name in ("reward.json", "reward.txt"):
        try:
            text = (
                await sandbox.read(f"{INSIDE}/logs/verifier/{name}", max_bytes=1 << 16)
            ).decode()
            data = json.loads(text) if name.endswith("json") else float(text)
        except (OSError, ValueError):
            continue
        values = data if isinstance(data, dict) else {"reward": data}
        numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in values.values())
        if values and numbers:
            return {str(key): float(value) for key, value in values.items()}
    return None


def _reward(rewards: dict[str, float]) -> float:
    """The one named "reward", else the mean."""
    return rewards.get("reward", sum(rewards.values()) / len(rewards))
