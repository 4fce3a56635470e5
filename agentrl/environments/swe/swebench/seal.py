"""Whether a log is the test runner's own: the code under test can print whatever it likes.

The official rules read outcomes from lines of a log. Where the runner is pytest, a plugin of ours
says at its end, with a word made for this run, which tests it saw pass. A run that ended early, or
a log with passes of which the runner knows nothing, is no pass. Other runners have no such seal;
for them the markers and contradictions in the log are all there is.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass

from agentrl.environments.swe.swebench.logs import END, START

SEAL_MODULE = "agentrl_seal"
# Also for the old Pythons of old instances. It is imported before any code of the repository.
SEAL_SOURCE = """\
import json, os
_word = os.environ.pop("AGENTRL_SEAL", "")
_file = os.environ.pop("AGENTRL_SEAL_FILE", "")
_out = os.open(_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if _file else os.dup(1)
_seen = {}

def pytest_runtest_logreport(report):
    if report.when == "call" and report.nodeid not in _seen:
        passed = report.outcome == "passed" or hasattr(report, "wasxfail")
        _seen[report.nodeid] = "skipped" if report.outcome == "skipped" and not passed else passed
    elif report.outcome == "failed":
        _seen[report.nodeid] = False
    elif report.outcome == "skipped" and report.nodeid not in _seen:
        _seen[report.nodeid] = "skipped"

def pytest_unconfigure(config):
    good = sorted(test for test, how in _seen.items() if how)
    os.write(_out, ("\\n" + _word + json.dumps(good) + "\\n").encode())
"""
_PYTEST = re.compile(r"\bpytest\b|\bpy\.test\b")


@dataclass(slots=True, frozen=True)
class Seal:
    """The word of one run."""

    word: str

    @classmethod
    def new(cls) -> Seal:
        return cls(f"agentrl-seal-{secrets.token_hex(16)}")

    def environment(self, folder: str, file: str = "") -> dict[str, str]:
        """Variables for the run; `folder` holds the plugin, which writes to stdout or to `file`."""
        return {
            "AGENTRL_SEAL": self.word,
            **({"AGENTRL_SEAL_FILE": file} if file else {}),
            "PYTEST_ADDOPTS": f"-p {SEAL_MODULE}",
            "PYTHONPATH": folder,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def passed(self, log: str) -> set[str] | None:
        """The tests that passed or were skipped, as the runner says; None when it says nothing."""
        found: set[str] = set()
        lines = re.findall(rf"^{self.word}(\[.*\])$", log, re.M)
        for line in lines:
            try:
                found |= {name.split()[0] for name in json.loads(line) if name.strip()}
            except ValueError:
                return None
        return found if lines else None


def is_pytest(script: str) -> bool:
    """Whether some line of a script runs pytest."""
    lines = [line for line in script.split("\n") if not re.match(r"\s*(#|pip|git)", line)]
    return any(_PYTEST.search(line) for line in lines)


def forged_log(log: str, script: str, conflicting: list[str]) -> list[str]:
    """Signs that the code under test wrote what only the runner and the script should."""
    found = []
    for mark in (START, END):
        # With `set -x` bash prints a command and then what it prints itself.
        lines = [line for line in script.split("\n") if mark in line]
        expected = sum(2 if line.lstrip().startswith("echo") else 1 for line in lines)
        if log.count(mark) > max(1, expected):
            found.append("forged_log: a marker is there too often")
    if conflicting:
        found.append(f"forged_log: {conflicting[0]} is reported both as passed and as failed")
    return list(dict.fromkeys(found))
