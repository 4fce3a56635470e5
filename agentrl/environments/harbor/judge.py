"""Running a task's test script on what the agent left, and believing only what it says itself.

The sandbox is unused, so no process of the agent is there, and of its files only the working
directory. But such scripts run the agent's programs, with the script's own rights: they can write
where the reward is looked for. What is done about that:

- before the script writes the reward (`echo` or `printf`), every other process is ended, and after
  it everything; a script that does not come to its own end says nothing;
- a kind of reward file that neither the script nor the tests name is none of theirs, and neither is
  one that was there before a script that writes it by `echo` or `printf` alone had done so;
- the files of the tests are compared with what they were;
- pytest's own account is asked for where the script runs it, see `swe.swebench.seal`;
- files of the agent that name the judge's places are no honest work.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentrl.core import Sandbox, SandboxProvider
from agentrl.environments.harbor.folder import HarborPayload, HarborReference
from agentrl.environments.harbor.images import INSIDE, KEPT
from agentrl.environments.swe.swebench.seal import SEAL_MODULE, SEAL_SOURCE, Seal, is_pytest

_MAX_LOG = 1 << 20
_SEAL, _SEALED = "/tmp/seal", "/tmp/seal/said"
_GUARD, _EARLY = f"{_SEAL}/guard.sh", f"{_SEAL}/early"
_PLACE = f"{INSIDE}/logs/verifier"
# Read by the script's bash before its first line.
_GUARD_SOURCE = f"""\
unset BASH_ENV
set -o functrace
trap 'case "$BASH_COMMAND" in echo*reward*|printf*reward*)
  kill -9 -1
  [ -e {_EARLY} ] || ls {_PLACE} >{_EARLY} 2>/dev/null
esac' DEBUG
"""
_JUDGES_PLACES = r"/logs/verifier|/tmp/harbor|/tmp/seal|agentrl_seal"
_SIGNALLED = 128


@dataclass(slots=True, frozen=True)
class Verified:
    """
    Attributes:
        reward: of the file that the test script wrote; None when it wrote none that counts.
        grading: "tests", or why there is no reward: "no_reward", "timeout", "died" (the script was
            ended by a signal), "tampered".
        flags: signs of an attempt on the judge, "kind: where".
    """

    reward: float | None
    rewards: dict[str, float]
    grading: str
    log: str
    flags: list[str] = field(default_factory=list)


async def verify(
    lender: SandboxProvider,
    payload: HarborPayload,
    reference: HarborReference,
    workdir: str,
    work: Path,
) -> Verified:
    """Run the task's test script on a working directory, in an unused sandbox."""
    folder = Path(payload.folder)
    script = (folder / reference.script).read_text("utf-8", "replace")
    sandbox = await lender.fresh()
    try:
        await sandbox.copy_in(work, workdir)
        flags = await _names_the_judge(sandbox, workdir, folder)
        await sandbox.exec(f"mkdir -p {_PLACE} {INSIDE}/tests {_SEAL}", cwd="/")
        if (folder / reference.tests).is_dir():
            await sandbox.copy_in(folder / reference.tests, f"{INSIDE}/tests")
        place = f"{INSIDE}/tests/{Path(reference.script).name}"
        await sandbox.write(place, (folder / reference.script).read_bytes())
        await sandbox.write(f"{_SEAL}/{SEAL_MODULE}.py", SEAL_SOURCE)
        await sandbox.write(_GUARD, _GUARD_SOURCE)
        seal = Seal.new()
        own = {**payload.env, **reference.env}
        sealing = seal.environment(_SEAL, _SEALED)
        sealing["PYTHONPATH"] = ":".join(filter(None, [_SEAL, own.get("PYTHONPATH", "")]))
        ran = await sandbox.exec(
            f"exec bash {shlex.quote(place)}",
            cwd=workdir,
            timeout=reference.verifier_seconds,
            max_output=_MAX_LOG,
            env={**own, **sealing, "BASH_ENV": _GUARD, "TEST_DIR": "/tests"},
        )
        # Nothing that the script started outlives it, not even this shell.
        await sandbox.exec("kill -9 -1", timeout=30.0)
        flags += await _changed_tests(sandbox, folder, reference)
        flags += await _unfinished(sandbox, seal, script)
        rewards = None
        if not reference.by_exit_code:
            texts = _texts(folder, reference)
            files = [name for name in _FILES if any(name in text for text in texts)]
            flags += await _forged(sandbox, texts, files)
            rewards = await _rewards(sandbox, files or _FILES)
    finally:
        await lender.release(sandbox)
    if ran.timed_out:
        return Verified(None, {}, "timeout", ran.output, flags)
    if ran.exit_code > _SIGNALLED:
        return Verified(None, {}, "died", ran.output, [*flags, "not_finished: the test script"])
    if reference.by_exit_code:
        rewards = {"reward": float(ran.ok)}
    if rewards is None:
        return Verified(None, {}, "no_reward", ran.output, flags)
    reward = _reward(rewards)
    if flags and reward > 0:
        return Verified(None, {}, "tampered", ran.output, flags)
    return Verified(reward, rewards, "tests", ran.output, flags)


async def _names_the_judge(sandbox: Sandbox, workdir: str, folder: Path) -> list[str]:
    """Files of the agent in which the judge's places stand, unless the task speaks of them."""
    asked = [folder / name for name in ("instruction.md", "task.yaml")]
    if any(p.is_file() and re.search(_JUDGES_PLACES, p.read_text("utf-8")) for p in asked):
        return []
    look = f"grep -rIlE {shlex.quote(_JUDGES_PLACES)} . 2>/dev/null"
    found = await sandbox.exec(look, cwd=workdir, timeout=60.0)
    given = await sandbox.exec(look, cwd=KEPT, timeout=60.0)
    names = set(found.output.split("\n")) - set(given.output.split("\n"))
    return [f"edits_grader: {name.removeprefix('./')}" for name in sorted(names) if name]


async def _changed_tests(sandbox: Sandbox, folder: Path, reference: HarborReference) -> list[str]:
    """The task's own tests that are no longer what they were."""
    source = folder / reference.tests
    given = {p.relative_to(source): p for p in source.rglob("*") if p.is_file()}
    given[Path(Path(reference.script).name)] = folder / reference.script
    with tempfile.TemporaryDirectory(prefix="agentrl-harbor-") as scratch:
        left = Path(scratch, "tests")
        left.mkdir()
        await sandbox.copy_out(f"{INSIDE}/tests", left)
        return [
            f"edits_grader: tests/{name.as_posix()}"
            for name, path in sorted(given.items())
            if not _same(path, left / name)
        ]


def _same(first: Path, second: Path) -> bool:
    return (
        second.is_file() and not second.is_symlink() and first.read_bytes() == second.read_bytes()
    )


async def _unfinished(sandbox: Sandbox, seal: Seal, script: str) -> list[str]:
    """A pytest that was started and did not come to its end by itself."""
    if not is_pytest(script):
        return []
    try:
        said = (await sandbox.read(_SEALED)).decode("utf-8", "replace")
    except OSError:
        # No pytest that loads plugins was started: none is there, or the script took another way.
        return []
    done = seal.passed(said) is not None
    return [] if done else ["not_finished: the test runner did not come to its end"]


_FILES = ("reward.json", "reward.txt")


def _texts(folder: Path, reference: HarborReference) -> list[str]:
    """The script, and the files of the tests."""
    script = folder / reference.script
    tests = [p for p in (folder / reference.tests).rglob("*") if p.is_file() and p != script]
    return [path.read_text("utf-8", "replace") for path in (script, *tests)]


async def _forged(sandbox: Sandbox, texts: Sequence[str], files: Sequence[str]) -> list[str]:
    """Reward files that the script did not write: a program of the agent that it ran did.

    Args:
        files: those that the texts name.
    """
    script, *tests = texts
    lines = [line for line in script.splitlines() if "reward." in line]
    echoed = all(re.match(r"\s*(echo|printf)\b", line) for line in lines)
    found = set(_FILES).difference(files) if files else set()
    if lines and echoed and not any("reward." in text for text in tests):
        found |= set((await sandbox.exec(f"cat {_EARLY} 2>/dev/null", cwd="/")).output.split())
    there = (await sandbox.exec(f"ls {_PLACE}", cwd="/")).output.split()
    return [f"edits_grader: {name}" for name in sorted(found.intersection(there, _FILES))]


async def _rewards(sandbox: Sandbox, files: Sequence[str]) -> dict[str, float] | None:
    """Of /logs/verifier: a JSON file has a number or numbers by name, a text file a number."""
    for name in files:
        try:
            text = (await sandbox.read(f"{_PLACE}/{name}", max_bytes=1 << 16)).decode()
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
