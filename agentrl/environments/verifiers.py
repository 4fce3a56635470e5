"""Environments of the `verifiers` package (0.1 on PyPI), unchanged.

Their own loop runs the episode and asks the gateway for every message; their own rubric judges it.
They live in a process of their own, with the interpreter of your choice, because the package pins
what others pin otherwise. A run file needs a module of two lines:

    host = VerifiersHost("wordle", python="/envs/verifiers/bin/python")      # my_env.py
    run = host.run

    environment: {kind: agent, program: "my_env:run"}
    reward: {kind: "agentrl.environments.verifiers:RubricReward"}
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentrl.core import Check, Episode, InfraError, Score, Task
from agentrl.environments.answers import ungraded

WORKER = Path(__file__).with_name("verifiers_worker.py")


@dataclass(slots=True)
class VerifiersHost:
    """One environment of the package in a process of its own; many episodes side by side.

    Attributes:
        environment: as `verifiers.load_environment` takes it; its module must be importable there.
        args: of its `load_environment`.
        python: an interpreter that has `verifiers` 0.1.
        variables: the process' environment; None: as ours.
    """

    environment: str
    args: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    variables: Mapping[str, str] | None = None
    _process: asyncio.subprocess.Process | None = field(default=None, init=False, repr=False)
    _reader: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _open: dict[int, asyncio.Future[Any]] = field(default_factory=dict, init=False, repr=False)
    _asked: int = field(default=0, init=False, repr=False)

    async def tasks(self, count: int = -1) -> list[Task]:
        """The rows of the environment's dataset as tasks; all of them with -1."""
        rows = await self._ask({"do": "rows", "count": count})
        return [
            Task(f"{self.environment}-{row['example_id']}", _text(row["prompt"]), payload=row)
            for row in rows
        ]

    async def run(self, task: Task, url: str) -> dict[str, Any]:
        """An agent program for the gateway: {"reward", "metrics", "turns"} of one episode.

        Raises InfraError("environment_lost"): the process ended, or the environment raised.
        """
        outcome: dict[str, Any] = await self._ask(
            {"do": "rollout", "row": task.payload, "url": url}
        )
        return outcome

    async def close(self) -> None:
        if self._process is not None and self._process.returncode is None:
            # The package has a handler of SIGTERM that waits for the reading thread.
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _ask(self, asked: dict[str, Any]) -> Any:
        if self._process is None or self._process.returncode is not None:
            await self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._asked += 1
        number = self._asked
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self._process.stdin.write(json.dumps({"id": number, **asked}).encode() + b"\n")
            await self._process.stdin.drain()
        except OSError:
            self._lose(f"the process of {self.environment} is gone")
        try:
            return await answer
        finally:
            self._open.pop(number, None)

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                self.python,
                str(WORKER),
                self.environment,
                json.dumps(dict(self.args)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=None if self.variables is None else dict(self.variables),
                limit=1 << 26,
            )
        except OSError as error:
            raise InfraError(
                "environment_lost",
                f"cannot start {self.python}: {error}",
                where=self.environment,
                fix="an interpreter with `verifiers` 0.1 installed",
            ) from error
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand every answer to who asked, until the process ends."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            done = json.loads(line)
            waiting = self._open.get(done["id"])
            if waiting is None or waiting.done():
                continue
            if "error" in done:
                waiting.set_exception(self._failure(done["error"]))
            else:
                waiting.set_result(done["ok"])
        code = await process.wait()
        self._lose(f"the process of {self.environment} ended with {code}")

    def _lose(self, what: str) -> None:
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(self._failure(what))

    def _failure(self, what: str) -> InfraError:
        return InfraError("environment_lost", what, where=f"verifiers: {self.environment}")


def _text(prompt: Any) -> str:
    """What a task says of itself: its last message; the environment shows all of them."""
    return str(prompt[-1]["content"]) if isinstance(prompt, list) and prompt else str(prompt)


@dataclass(slots=True)
class RubricReward:
    """The reward of the environment's own rubric; its functions are checks."""

    name: str = "rubric_of_environment"

    async def score(self, episode: Episode) -> Score:
        if "reward" not in episode.outcome:
            return ungraded("reward")
        checks = [Check(k, float(v)) for k, v in episode.outcome.get("metrics", {}).items()]
        return Score(float(episode.outcome["reward"]), checks)
