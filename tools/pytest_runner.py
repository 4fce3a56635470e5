"""Run a repository's tests, with an answer of a few lines."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from agentrl.core import Sandbox, ToolResult
from agentrl.tools.definition import ToolError, tool
from agentrl.tools.files import Repository
from agentrl.tools.pytest_client import Failure, PytestClient, TestReport
from agentrl.tools.wording import clip_line, printable

_BACKSTOP_SECONDS = 3600.0
_MAX_MESSAGE_LINES = 4
_WIDTH = 160
_WORD = r"(not )?\w[\w\-\[\].]*"
_NAME = re.compile(rf"{_WORD}( (and|or) {_WORD})*$")
_OUTCOMES = ("failed", "error", "passed", "skipped")


class PytestRunner:
    """The tool `run_tests` over one repository, by the warm pytest of its sandbox.

    Args:
        root: the repository's folder inside the sandbox.
        client: shared with others, or made here.
        python: interpreter inside the sandbox, when the client is made here.
        default: what is run when no target is given; "" for everything.
        timeout: seconds for one run of the tests; cpu: of processor time (None: no limit).
        max_failures: failures that are described; the summary counts all.
        env: environment variables for the tests.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        root: str,
        *,
        client: PytestClient | None = None,
        python: str = "python3",
        default: str = "",
        timeout: float = 60.0,
        cpu: float | None = None,
        max_failures: int = 3,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.repository = Repository(sandbox, root)
        self.client = client or PytestClient(sandbox, python=python)
        self.default = default
        self.timeout, self.cpu, self.max_failures = timeout, cpu, max_failures
        self.env = dict(env or {})
        self.last: TestReport | None = None

    @tool(timeout=_BACKSTOP_SECONDS)
    async def run_tests(self, target: str = "") -> ToolResult:
        """Run the tests and show the first failures.

        Args:
            target: a test file, a test id (file::test), a part of a test's name, or "." for all
                tests; when left out, the failing test that the issue names, if any.
        """
        target = target.strip() or self.default
        targets, args = await self._selection("" if target == "." else target)
        report = await self.client.run(
            self.repository.root,
            targets,
            args=args,
            timeout=self.timeout,
            cpu=self.cpu,
            env=self.env,
            max_failures=self.max_failures,
        )
        self.last = report
        text = "\n".join(report_lines(report, self.timeout))
        if report.timed_out:
            return ToolResult(text, ok=False, error="deadline")
        return ToolResult(text)

    async def close(self) -> None:
        await self.client.close()

    async def _selection(self, target: str) -> tuple[list[str], list[str]]:
        """What to hand to pytest: paths and node ids, or `-k` with a name."""
        if not target:
            return [], []
        path, mark, rest = target.partition("::")
        if mark or path.endswith(".py") or "/" in path:
            # Without the dot, a path such as -x.py would be an option.
            return [posixpath.join(".", self.repository.relative(path)) + mark + rest], []
        if not _NAME.match(target):
            raise ToolError(f"{target!r} is not a file, a test id or a test name")
        return [], ["-k", target]


def report_lines(report: TestReport, timeout: float) -> list[str]:
    """A report in a few lines: the counts, then each described failure."""
    counts = [f"{report.counts[o]} {o}" for o in _OUTCOMES if report.counts.get(o)]
    lines = [", ".join(counts) or "no tests ran"]
    if report.timed_out:
        after = "" if report.seconds < timeout else f" after its deadline of {timeout:g} s"
        lines.append(f"error: stopped{after}; {report.error}")
    elif report.error:
        lines.append(clip_line(f"error: {printable(report.error)}", 400))
    for failure in report.failures:
        lines += _failure_lines(failure)
    return lines


def _failure_lines(failure: Failure) -> list[str]:
    """Node id, where it failed (the test's line, and the line that raised), and why."""
    lines = [failure.id if failure.when == "call" else f"{failure.id} (in {failure.when})"]
    frames = [frame for frame in failure.frames if not frame[0].startswith(("/", "..", "<"))]
    for path, number, text in dict.fromkeys([*frames[:1], *frames[-1:]]):
        lines.append(f"{path}:{number}| {text}")
    message = [line for line in failure.message if line.strip()]
    lines += [f"E {line.strip()}" for line in message[:_MAX_MESSAGE_LINES]]
    if len(message) > _MAX_MESSAGE_LINES:
        lines.append(f"E [{len(message) - _MAX_MESSAGE_LINES} more lines]")
    return [clip_line(printable(line), _WIDTH) for line in lines]
