"""Code by what it does: unit tests, or input and output. It only ever runs in a sandbox."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from dataclasses import dataclass
from typing import Any

from agentrl.core import Check, ExecResult, Sandbox, SandboxProvider, Score
from agentrl.rewards.verifiers.base import Item, verdict

_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)```", re.DOTALL)
_LONGEST = 200_000


def last_fence(text: str) -> str | None:
    """The last fenced block of a text; None when there is none."""
    found = _FENCE.findall(text)
    return found[-1] if found else None


@dataclass(slots=True)
class InputOutput:
    """A program that reads standard input and prints the answer (Agnostics, paper 10).

    Reference: a list of [input, expected output]. The program is the last fenced block of the
    answer. Output is compared with trailing white space of every line left out; a non-zero exit
    code is an error. 1 when all cases pass; `partial` when it ran cleanly and printed wrong
    answers. Stops at the first failing case.

    Attributes:
        command: how to run `program`, the file's path in the sandbox.
        seconds: for one case.
    """

    sandboxes: SandboxProvider
    command: str = "python3 {program}"
    partial: float = 0.0
    seconds: float = 10.0
    name: str = "input_output"

    async def verify(self, item: Item) -> Score:
        program = last_fence(item.answer)
        if program is None or len(program) > _LONGEST:
            return verdict(False, "no program in the answer")
        sandbox = await self.sandboxes.acquire()
        try:
            await sandbox.write("program", program)
            return await self._cases(sandbox, item.reference)
        finally:
            await self.sandboxes.release(sandbox)

    async def _cases(self, sandbox: Sandbox, cases: list[list[str]]) -> Score:
        run = self.command.format(program="program")
        checks: list[Check] = []
        for number, (given, wanted) in enumerate(cases):
            await sandbox.write("input", given)
            found = await sandbox.exec(f"{run} < input 2> errors", timeout=self.seconds)
            status = _status(found, wanted)
            checks.append(
                Check(f"case/{number}", float(status == "pass"), status == "pass", status)
            )
            if status != "pass":
                value = self.partial if status == "wrong output" else 0.0
                return Score(value, checks, evidence=status)
        return Score(float(bool(checks)), checks, evidence=f"{len(checks)} cases pass")


def _status(found: ExecResult, wanted: str) -> str:
    if found.timed_out:
        return "timeout"
    if not found.ok:
        return f"exit code {found.exit_code}"
    if found.truncated:
        return "too much output"
    return "pass" if _lines(found.output) == _lines(wanted) else "wrong output"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


@dataclass(slots=True)
class UnitTests:
    """Test functions over the answer's code: the share that pass, each a check.

    Reference: {"tests": Python source with `test_*` functions that import `solution`}. The code is
    the last fenced block. Every test runs in a process of its own (the code cannot end the others
    with `sys.exit(0)`), and passes only when that process reports the test's secret at its end.

    Attributes:
        all_or_nothing: the value is 1 only when all pass.
        seconds: for one test.
    """

    sandboxes: SandboxProvider
    all_or_nothing: bool = True
    seconds: float = 10.0
    python: str = "python3"
    name: str = "unit_tests"

    async def verify(self, item: Item) -> Score:
        program = last_fence(item.answer)
        names = test_names(item.reference)
        if not names:
            return Score(abstained=True, evidence="the reference has no test functions")
        if program is None or len(program) > _LONGEST:
            return verdict(False, "no code in the answer")
        sandbox = await self.sandboxes.acquire()
        try:
            await sandbox.write("solution.py", program)
            await sandbox.write("hidden_tests.py", str(item.reference["tests"]))
            checks = [await self._one(sandbox, name) for name in names]
        finally:
            await self.sandboxes.release(sandbox)
        share = sum(check.value for check in checks) / len(checks)
        value = float(share == 1.0) if self.all_or_nothing else share
        return Score(value, checks, evidence=f"{share:.0%} of {len(checks)} tests pass")

    async def _one(self, sandbox: Sandbox, name: str) -> Check:
        secret = secrets.token_hex(16)
        runner = (
            "import sys; secret = sys.stdin.readline().strip(); report = sys.__stdout__.write; "
            f"import hidden_tests; hidden_tests.{name}(); report('\\n' + secret + '\\n')"
        )
        command = f"echo {secret} | {self.python} -c {shlex.quote(runner)}"
        found = await sandbox.exec(command, timeout=self.seconds)
        passed = found.ok and found.output.rstrip().endswith(secret)
        why = "" if passed else ("timeout" if found.timed_out else _last(found.output))
        return Check(name, float(passed), passed, why)


def _last(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1][:200] if lines else "ended early"


def test_names(reference: dict[str, Any]) -> list[str]:
    """The test functions at the top of the tests' source, in order. The source is not run."""
    import ast

    tree = ast.parse(str(reference.get("tests", "")))
    return [
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")
    ]


test_names.__test__ = False  # type: ignore[attr-defined]


async def run_python(
    sandboxes: SandboxProvider, source: str, given: Any, seconds: float
) -> tuple[Any, str]:
    """Call `main(given)` of a Python source in a sandbox.

    Returns:
        (its JSON-able answer, ""), or (None, what went wrong).
    """
    sandbox = await sandboxes.acquire()
    try:
        await sandbox.write("written.py", source)
        await sandbox.write("given.json", json.dumps(given))
        runner = (
            "import json, sys; out = sys.stdout; sys.stdout = sys.stderr; import written; "
            "answer = written.main(json.load(open('given.json'))); "
            "open('answer.json', 'w').write(json.dumps(answer))"
        )
        found = await sandbox.exec(f"python3 -c {shlex.quote(runner)}", timeout=seconds)
        if not found.ok:
            return None, "timeout" if found.timed_out else _last(found.output)
        return json.loads(await sandbox.read("answer.json")), ""
    except (FileNotFoundError, ValueError) as error:
        return None, f"no answer: {error}"
    finally:
        await sandboxes.release(sandbox)
