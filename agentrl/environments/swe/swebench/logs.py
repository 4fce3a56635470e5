"""What a test log says, by the rules of the swebench package (version 5).

The rules are restated here so that the usual case needs no further package; logs of runners other
than pytest are parsed by the official parsers (`pip install 'agentrl[swebench]'`). A test
compares the verdicts with swebench's own on many logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentrl.core import ConfigError

START, END = ">>>>> Start Test Output", ">>>>> End Test Output"
EXIT_CODE = ">>>>> Test Exit Code"
_BROKEN = (
    ">>>>> Patch Apply Failed", ">>>>> Reset Failed", ">>>>> Tests Errored",
    ">>>>> Tests Timed Out",
)  # fmt: skip
_STATUSES = ("FAILED", "PASSED", "SKIPPED", "ERROR", "XFAIL")
_PASSING = ("PASSED", "XFAIL")
_RAN = re.compile(
    r"Executed [1-9]\d* of \d+|TOTAL: [1-9]\d* (?:SUCCESS|FAILED)|[1-9]\d* passing"
    r"|Tests:\s+[1-9]\d*|Test Suites:\s+(?:\d+ \w+, )*[1-9]\d* total|^# tests [1-9]\d*"
    r"|[1-9]\d* specs?, \d+ failures?|': ok$",
    re.M,
)


@dataclass(slots=True, frozen=True)
class LogVerdict:
    """Attributes:
    valid: the log is one of a run that took place; else nothing has passed.
    conflicting: tests that the log reports in more than one way: a sign of forged lines.
    """

    resolved: bool
    valid: bool
    f2p_passed: list[str] = field(default_factory=list)
    p2p_passed: list[str] = field(default_factory=list)
    conflicting: list[str] = field(default_factory=list)


def log_verdict(
    log: str,
    fail_to_pass: Iterable[str],
    pass_to_pass: Iterable[str],
    *,
    parser: str = "parse_log_pytest",
    eval_type: str = "pass_and_fail",
) -> LogVerdict:
    """The verdict of a log with the official markers. Raises ConfigError for an unknown parser."""
    found = outcomes(log, parser)
    if found is None:
        return LogVerdict(False, False)
    f2p, p2p = list(fail_to_pass), list(pass_to_pass)
    if eval_type == "fail_only":
        f2p_passed = [test for test in f2p if found.get(test) != "FAILED"]
        p2p_passed = [test for test in p2p if found.get(test) != "FAILED"]
    else:
        f2p_passed = [test for test in f2p if _outcome(test, found) in _PASSING]
        p2p_passed = [test for test in p2p if _outcome(test, found) in (*_PASSING, "SKIPPED")]
    return LogVerdict(
        len(f2p_passed) == len(f2p) and len(p2p_passed) == len(p2p),
        True,
        f2p_passed,
        p2p_passed,
        conflicts(log),
    )


def outcomes(log: str, parser: str) -> dict[str, str] | None:
    """Status by test; None when the log is not one of a complete run."""
    if any(mark in log for mark in _BROKEN) or START not in log or END not in log:
        return None
    parse = parser_of(parser)
    found = parse(log.split(START)[1].split(END)[0]) or parse(log)
    if not found and not _RAN.search(log):
        return None
    code = re.search(rf"{re.escape(EXIT_CODE)}:\s*(-?\d+)", log)
    failed = any(status in ("FAILED", "ERROR") for status in found.values())
    if code and int(code[1]) != 0 and found and not failed:
        return None
    return found


def parser_of(name: str):  # type: ignore[no-untyped-def]
    """A function from a log to statuses: our own for pytest, else the official one.

    Raises ConfigError.
    """
    if name in ("", "parse_log_pytest"):
        return parse_pytest
    try:
        from swebench.harness.log_parsers import PARSER_REGISTRY
    except ImportError as error:
        raise ConfigError(
            f"logs of this repository need the official parser {name}",
            fix="pip install 'agentrl[swebench]'",
        ) from error
    if name not in PARSER_REGISTRY:
        raise ConfigError(
            f"swebench has no log parser {name!r}", fix=f"one of {', '.join(PARSER_REGISTRY)}"
        )
    return lambda log: PARSER_REGISTRY[name](log, None)


def parse_pytest(log: str) -> dict[str, str]:
    """Status by test of the short summary that `pytest -rA` prints; the last line of one counts."""
    found: dict[str, str] = {}
    for status, test in _reported(log):
        found[test] = status
    return found


def conflicts(log: str) -> list[str]:
    """Tests that lines of the log report both as passed and as not passed."""
    seen: dict[str, set[bool]] = {}
    for status, test in _reported(log):
        seen.setdefault(test, set()).add(status in _PASSING)
    return sorted(test for test, ways in seen.items() if len(ways) > 1)


def _reported(log: str) -> list[tuple[str, str]]:
    found = []
    for line in log.split("\n"):
        if not line.startswith(_STATUSES):
            continue
        words = (line.replace(" - ", " ") if line.startswith("FAILED") else line).split()
        if len(words) > 1 and not (words[0] == "SKIPPED" and re.fullmatch(r"\[\d+\]", words[1])):
            found.append((words[0], words[1]))
    return found


def _outcome(test: str, found: dict[str, str]) -> str:
    """The status of a test; one whose name was cut off inside its parameters takes that of the
    tests it may be, when these agree on passing."""
    if test in found:
        return found[test]
    if test.count("[") > test.count("]"):
        cut = [name for name in found if name.startswith(test)]
        if cut and len({found[name] in _PASSING for name in cut}) == 1:
            return found[cut[0]]
    return ""
