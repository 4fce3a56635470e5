"""One judge of input and output for every language: a port of the idea of Agnostics.

Agnostics (paper 10, arXiv 2508.04865): a program is judged by what it prints for what it reads,
so that a language is nothing but a way to compile and run a file. The expected output never
enters the sandbox; it is compared here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentrl.core import ExecResult, Sandbox, SandboxProvider
from agentrl.environments.languages.language import Language

_MESSAGE = 2000
_COMPILE_OUTPUT = 64 << 10


class IoStatus(StrEnum):
    """What became of a program; only the first is a pass."""

    SUCCESS = "success"
    WRONG_OUTPUT = "wrong_output"
    ERROR = "error"
    TIMEOUT = "timeout"
    COMPILE_ERROR = "compile_error"
    NO_CODE = "no_code"


@dataclass(slots=True, frozen=True)
class Case:
    """What a program reads, and what it must print (white space at the very end apart)."""

    input: str
    output: str


@dataclass(slots=True, frozen=True)
class IoResult:
    """The verdict on one program.

    Attributes:
        passed: cases before the first that failed, at which the judge stops; total: all.
        message: what compiler or program said, or what differed.
        seconds: wall time of the slowest run.
    """

    status: IoStatus
    passed: int
    total: int
    message: str = ""
    seconds: float = 0.0


async def judge(
    provider: SandboxProvider, language: Language, code: str, cases: Sequence[Case]
) -> IoResult:
    """Compile and run a program on each case, in a sandbox that nobody else is in.

    Raises SandboxError when the sandbox is gone: no verdict.
    """
    if not code.strip():
        return IoResult(IoStatus.NO_CODE, 0, len(cases))
    sandbox = await provider.acquire()
    try:
        return await _judge(sandbox, language, code, cases)
    finally:
        await provider.release(sandbox)


async def _judge(
    sandbox: Sandbox, language: Language, code: str, cases: Sequence[Case]
) -> IoResult:
    limits = language.limits
    await sandbox.write(language.file, code)
    if language.compile:
        made = await sandbox.exec(
            language.compile,
            cwd=sandbox.workdir,
            timeout=limits.compile_seconds,
            max_output=_COMPILE_OUTPUT,
        )
        if not made.ok:
            said = "the compiler did not finish" if made.timed_out else made.output
            return IoResult(IoStatus.COMPILE_ERROR, 0, len(cases), said[-_MESSAGE:])
    slowest = 0.0
    for number, case in enumerate(cases):
        ran = await _run(sandbox, language, case.input)
        slowest = max(slowest, ran.seconds)
        status, message = await _verdict(sandbox, ran, case, limits.output_kb)
        if status is not IoStatus.SUCCESS:
            return IoResult(status, number, len(cases), message, slowest)
    return IoResult(IoStatus.SUCCESS, len(cases), len(cases), "", slowest)


async def _run(sandbox: Sandbox, language: Language, text: str) -> ExecResult:
    """One run; what it prints on standard error goes to a file of its own."""
    await sandbox.write("/tmp/input", text)
    return await sandbox.exec(
        f"( {language.run} ) < /tmp/input 2> /tmp/errors",
        cwd=sandbox.workdir,
        timeout=language.limits.seconds,
        max_output=language.limits.output_kb << 10,
    )


async def _verdict(
    sandbox: Sandbox, ran: ExecResult, case: Case, output_kb: int
) -> tuple[IoStatus, str]:
    if ran.timed_out:
        return IoStatus.TIMEOUT, f"not finished after {ran.seconds:.1f} s"
    if ran.truncated:
        return IoStatus.ERROR, f"printed more than {output_kb} kB"
    if not ran.ok:
        said = await sandbox.exec(f"tail -c {_MESSAGE} {shlex.quote('/tmp/errors')}", timeout=10)
        return IoStatus.ERROR, f"ended with {ran.exit_code}: {said.output.strip()}"
    if ran.output.rstrip() == case.output.rstrip():
        return IoStatus.SUCCESS, ""
    return IoStatus.WRONG_OUTPUT, f"printed {ran.output[:200]!r}, expected {case.output[:200]!r}"
