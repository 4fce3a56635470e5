"""Instances of SWE-bench's format as episodes: the agent works in the instance's own image."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.core import ConfigError, Episode, Message, Sandbox, SandboxProvider, Task, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.images import ImageProvider
from agentrl.environments.offered import offered
from agentrl.environments.swe.environment import NO_CALL
from agentrl.environments.swe.flags import flags_of_commands, flags_of_patch
from agentrl.environments.swe.package import is_test_file
from agentrl.environments.swe.submission import unjudged
from agentrl.environments.swe.swebench.images import KEPT, prepared_image, restore
from agentrl.environments.swe.swebench.logs import log_verdict
from agentrl.environments.swe.swebench.script import evaluation, patched_files
from agentrl.environments.swe.swebench.seal import (
    SEAL_MODULE,
    SEAL_SOURCE,
    Seal,
    forged_log,
    is_pytest,
)
from agentrl.sandboxes import DockerEngine
from agentrl.tools import Editor, Finder, Shell, Submit, Tool

SYSTEM = "You repair a repository. Use the tools to find and fix the problem, then submit."
_START_SECONDS = 120.0
_MAX_LOG = 16 << 20
_MAX_PATCH = 2 << 20
# Through these a submission could reach the test runner instead of repairing the source.
_JUDGES = re.compile(
    r"(^|/)(conftest\.py|pytest\.ini|tox\.ini|setup\.cfg|pyproject\.toml|\.coveragerc|"
    r"sitecustomize\.py|usercustomize\.py|[^/]*\.pth)$"
)


@dataclass(slots=True, frozen=True)
class Evaluated:
    """What came of a submission, with the log it was read from.

    `passed`: tests among those that count; of pass-to-pass tests also the skipped.
    """

    resolved: bool
    f2p_passed: int
    p2p_passed: int
    grading: str
    refused: dict[str, str]
    flags: list[str]
    log: str
    passed: frozenset[str]


class SweBenchEnvironment(Environment):
    """The repository of an instance, the issue, tools, and the instance's tests as the judge.

    Judged is the patch between the image's files and the agent's, without tests and without
    what configures the test runner, in another sandbox of the same image.
    """

    def __init__(
        self,
        sandboxes: ImageProvider,
        *,
        tools: str | Sequence[str] | None = None,
        system: str = SYSTEM,
        grade_unsubmitted: bool = False,
        test_timeout: float = 1800.0,
        host: str | None = None,
    ) -> None:
        """
        Args:
            tools: names of the tools to offer, None for all; or the name of a published
                scaffold, see `agentrl.tools.preset`.
            test_timeout: seconds for the instance's tests.
            host: of the Docker engine on which images are made ready.
        """
        self._sandboxes = sandboxes
        self._names = tools
        self._system = system
        self._grade_unsubmitted = grade_unsubmitted
        self._test_timeout = test_timeout
        self._host = host
        self._lender: SandboxProvider | None = None
        self._sandbox: Sandbox | None = None
        self._offered: dict[str, Tool] = {}
        self._task: Task | None = None
        self.submitted = False

    @property
    def tools(self) -> dict[str, Tool]:
        return self._offered

    async def reset(self, task: Task) -> list[Message]:
        """Raises SandboxError, ConfigError."""
        self._task = task
        image, folder = task.payload["image"], task.payload["folder"]
        tag = await asyncio.to_thread(
            self._prepared, image, folder, task.payload["base_commit"], task.payload["bug"]
        )
        self._lender = await self._sandboxes.of_image(tag, folder)
        self._sandbox = sandbox = await self._lender.acquire()
        await started(sandbox, folder)
        self.toolboxes = (
            Finder(sandbox, folder),
            Editor(sandbox, folder),
            Shell(sandbox, folder),
            Submit(self._submit),
        )
        self._offered = offered(super().tools, self._names, sandbox, folder, self._submit)
        system = [Message("system", self._system)] if self._system else []
        return [*system, Message("user", task.prompt)]

    async def step(self, turn: Turn) -> Observation:
        """Run the calls; a turn without any is told so and does not end the episode."""
        if not turn.calls:
            return Observation([Message("user", NO_CALL)])
        return await super().step(turn)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """The outcome has the keys of `SweEnvironment.finish`, and "log": the end of it."""
        assert self._task is not None
        assert self._sandbox is not None
        assert self._lender is not None
        task, lender = self._task, self._lender
        folder, reference = task.payload["folder"], task.reference
        patch = await patch_of(self._sandbox, folder)
        await self._give_back()
        outcome = unjudged(
            patch,
            submitted=self.submitted,
            f2p_total=len(reference["fail_to_pass"]),
            p2p_total=len(reference["pass_to_pass"]),
        )
        outcome["flags"] = flags_of_commands(episode)
        if patch is None or not (self.submitted or self._grade_unsubmitted):
            return outcome
        found = await evaluate(lender, task, patch, timeout=self._test_timeout)
        return {
            **outcome,
            "resolved": found.resolved,
            "f2p_passed": found.f2p_passed,
            "p2p_passed": found.p2p_passed,
            "grading": found.grading,
            "refused": found.refused,
            "flags": list(dict.fromkeys([*outcome["flags"], *found.flags])),
            "log": found.log[-20_000:],
        }

    async def close(self) -> None:
        await self._give_back()

    def _submit(self) -> None:
        self.submitted = self.done = True

    def _prepared(self, image: str, folder: str, commit: str, bug: str) -> str:
        engine = DockerEngine(self._host)
        try:
            return prepared_image(image, folder, commit, bug, engine=engine)
        finally:
            engine.close()

    async def _give_back(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None and self._lender is not None:
            await super().close()
            await self._lender.release(sandbox)


async def started(sandbox: Sandbox, folder: str) -> None:
    """Put the repository into place."""
    result = await sandbox.exec(restore(folder), cwd="/", timeout=_START_SECONDS)
    if not result.ok:
        raise ConfigError(
            f"the repository does not fit into the sandbox: {result.output.strip()[-300:]}",
            where=folder,
            fix="raise the sandbox's work_mb and memory_mb",
        )


async def patch_of(sandbox: Sandbox, folder: str) -> str | None:
    """What differs from the image's copy, as a git diff; None when it is too large.

    git runs on two folders and outside any repository, so that nothing of the agent's `.git`,
    its attributes or its configuration has a say.
    """
    command = (
        f"rm -rf {folder}/.git; cd /; "
        "env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 "
        "GIT_CONFIG_GLOBAL=/dev/null git -c core.fileMode=false -c core.quotePath=false "
        "-c diff.noprefix=false diff --no-index --no-renames --no-color --no-ext-diff "
        f"--no-textconv --binary -- {KEPT} {folder}"
    )
    result = await sandbox.exec(command, cwd="/", timeout=120.0, max_output=_MAX_PATCH)
    if result.truncated:
        return None
    return _relative(result.output, KEPT, folder)


def _relative(diff: str, start: str, end: str) -> str:
    """The diff with paths relative to the repository, and without its `.git` and caches."""
    parts = re.split(r"(?m)^(?=diff --git )", diff)
    kept = []
    for part in parts:
        head, at, body = part.partition("\n@@")
        if not head.startswith("diff --git "):
            continue
        for folder in (start, end):
            head = re.sub(rf"(?<![\w/])([ab]){re.escape(folder)}/", r"\1/", head)
        path = head.split("\n", 1)[0].rpartition(" b/")[2]
        if not re.search(r"(^|/)(\.git|__pycache__|\.pytest_cache)(/|$)|\.pyc$", path):
            kept.append(head + at + body)
    return "".join(kept)


def admissible_patch(patch: str, test_patch: str) -> tuple[str, dict[str, str]]:
    """The part of a patch that counts, and what was refused, by path."""
    protected = set(patched_files(test_patch))
    kept, refused = [], {}
    for part in re.split(r"(?m)^(?=diff --git )", patch):
        paths = patched_files(part)
        if not paths:
            continue
        path = paths[0]
        if path in protected:
            refused[path] = "a file of the tests that count"
        elif _JUDGES.search(path):
            refused[path] = "configures the test runner"
        elif is_test_file(path):
            refused[path] = "a test"
        else:
            kept.append(part)
    return "".join(kept), refused


async def evaluate(lender: SandboxProvider, task: Task, patch: str, *, timeout: float) -> Evaluated:
    """Judge a patch in an unused sandbox. Raises SandboxError."""
    reference, folder = task.reference, task.payload["folder"]
    counted, refused = admissible_patch(patch, reference["test_patch"])
    f2p, p2p = reference["fail_to_pass"], reference["pass_to_pass"]
    sandbox = await lender.fresh()
    try:
        await started(sandbox, folder)
        applied = True
        if counted:
            await sandbox.write("/tmp/model.patch", counted)
            result = await sandbox.exec(
                "git apply --whitespace=nowarn /tmp/model.patch", cwd=folder, timeout=60.0
            )
            applied = result.ok
        await sandbox.write("/tmp/test.patch", reference["test_patch"])
        script = evaluation(
            folder, reference["test_patch"], reference["test_command"],
            reference["eval_script"], [*f2p, *p2p],
        )  # fmt: skip
        await sandbox.write("/tmp/eval.sh", script)
        seal = Seal.new()
        await sandbox.write(f"/tmp/seal/{SEAL_MODULE}.py", SEAL_SOURCE)
        ran = await sandbox.exec(
            "bash /tmp/eval.sh 2>&1",
            cwd=folder,
            timeout=timeout,
            max_output=_MAX_LOG,
            env=seal.environment("/tmp/seal"),
        )
    finally:
        await lender.release(sandbox)
    log = ran.output
    verdict = log_verdict(
        log, f2p, p2p, parser=reference["log_parser"], eval_type=reference["eval_type"]
    )
    forged = forged_log(log, script, verdict.conflicting)
    sealed = seal.passed(log)
    if is_pytest(script) and verdict.valid:
        if sealed is None:
            forged.append("not_finished: the test runner did not come to its end")
        elif not {*verdict.f2p_passed, *verdict.p2p_passed} <= sealed:
            forged.append("forged_log: the log has passes that the runner did not see")
    flags = flags_of_patch(patch, refused) + forged
    grading = "tests" if verdict.valid else "bad_diff" if not applied else "died"
    if ran.timed_out or ran.truncated:
        grading = "timeout" if ran.timed_out else "too_much_output"
    trusted = grading == "tests" and applied and not forged
    return Evaluated(
        verdict.resolved and trusted,
        len(verdict.f2p_passed) if trusted else 0,
        len(verdict.p2p_passed) if trusted else 0,
        "tampered" if forged and grading == "tests" else grading,
        refused,
        flags,
        log,
        frozenset([*verdict.f2p_passed, *verdict.p2p_passed] if trusted else ()),
    )
