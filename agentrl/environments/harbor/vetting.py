"""Whether a task folder is fit to train on: its solution earns the reward, and nothing does not."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from agentrl.core import Task
from agentrl.environments.harbor.environment import restore, solved
from agentrl.environments.harbor.folder import HarborPayload, HarborReference
from agentrl.environments.harbor.images import ready_image
from agentrl.environments.harbor.judge import verify
from agentrl.environments.images import ImageProvider
from agentrl.environments.swe.vetting import Vetted


async def vet_folder(
    task: Task, sandboxes: ImageProvider, *, runs: int = 3, host: str | None = None
) -> Vetted:
    """Run the solution `runs` times and the untouched working directory once.

    The reported seconds are of wall time. Raises SandboxError, ConfigError: no verdict.
    """
    found = Vetted(task.id, runs=runs)
    payload = HarborPayload.model_validate(task.payload)
    reference = HarborReference.model_validate(task.reference)
    if not reference.solution:
        found.reasons.append("it has no solution, so that nothing shows that it can be solved")
        return found
    ready = await ready_image(payload, host)
    lender = await sandboxes.of_image(ready.tag, ready.workdir)
    rewards: list[float | None] = []
    for _ in range(runs):
        started = time.monotonic()
        result = await solved(lender, payload, reference, ready.workdir)
        found.seconds = max(found.seconds, round(time.monotonic() - started, 2))
        rewards.append(result.reward)
    found.gold_passed = sum(reward is not None and reward >= 1 for reward in rewards)
    if 0 < found.gold_passed < runs:
        found.flaky = [reference.script]
        found.reasons.append(f"flaky: the solution earned {', '.join(map(str, rewards))}")
    elif not found.gold_passed:
        end = result.log.strip().splitlines()[-1:] or [result.grading]
        found.reasons.append(f"the solution earned {rewards[-1]}, not 1: {end[0][:200]}")
    sandbox = await lender.acquire()
    with tempfile.TemporaryDirectory(prefix="agentrl-harbor-") as scratch:
        work = Path(scratch, "work")
        work.mkdir()
        try:
            await restore(sandbox, ready.workdir)
            await sandbox.copy_out(ready.workdir, work)
        finally:
            await lender.release(sandbox)
        empty = await verify(lender, payload, reference, ready.workdir, work)
    if empty.reward is not None and empty.reward >= 1:
        found.empty_passed = 1
        found.reasons.append("the untouched working directory earns the reward")
    return found
