"""Whether an instance of SWE-bench's format is fit to train on, in its own image."""

from __future__ import annotations

import asyncio
import re
import time

from agentrl.core import Task
from agentrl.environments.images import ImageProvider
from agentrl.environments.swe.swebench.environment import Evaluated, admissible_patch, evaluate
from agentrl.environments.swe.swebench.images import prepared_image
from agentrl.environments.swe.vetting import Vetted, conclude
from agentrl.sandboxes import DockerEngine

_TELLING = 16


async def vet_instance(
    task: Task,
    sandboxes: ImageProvider,
    *,
    runs: int = 3,
    max_seconds: float = 1800.0,
    host: str | None = None,
) -> Vetted:
    """As `agentrl.environments.swe.vetting.vet`; `max_seconds` are of wall time, and so are the
    reported seconds. The history in the prepared image ends at the task's commit.

    Raises SandboxError, ConfigError: no verdict.
    """
    found = Vetted(task.id, runs=runs)
    payload, reference = task.payload, task.reference
    gold = reference["gold_patch"]
    _, refused = admissible_patch(gold, reference["test_patch"])
    for path, why in refused.items():
        found.reasons.append(f"a part of the gold patch would be refused: {path}: {why}")
    issue = " ".join(task.prompt.split())
    added = [" ".join(line.split()) for line in re.findall(r"^\+(?!\+\+ )(.*)$", gold, re.M)]
    told = [line for line in added if len(line) >= _TELLING and line in issue]
    found.leaks += [f"the issue tells a line of the fix: {line}" for line in told[:1]]
    tag = await asyncio.to_thread(
        _prepared, payload["image"], payload["folder"], payload["base_commit"], payload["bug"], host
    )
    lender = await sandboxes.of_image(tag, payload["folder"])
    good: list[Evaluated] = []
    for _ in range(runs):
        started = time.monotonic()
        good.append(await evaluate(lender, task, gold, timeout=max_seconds))
        found.seconds = max(found.seconds, round(time.monotonic() - started, 2))
    empty = await evaluate(lender, task, "", timeout=max_seconds)
    conclude(
        found,
        reference["fail_to_pass"],
        reference["pass_to_pass"],
        [(one.passed, one.grading) for one in good],
        empty.passed,
    )
    found.reasons += found.leaks
    return found


def _prepared(image: str, folder: str, commit: str, bug: str, host: str | None) -> str:
    engine = DockerEngine(host)
    try:
        return prepared_image(image, folder, commit, bug, engine=engine)
    finally:
        engine.close()
