"""The script that runs an instance's tests and prints the official markers."""

from __future__ import annotations

import re
import shlex

from agentrl.environments.swe.swebench.logs import END, EXIT_CODE, START

# What a patch carries that is no test, and must not be given to a test runner as a file.
_NOT_TESTS = (".json", ".png", ".csv", ".txt", ".md", ".jpg", ".jpeg", ".pkl", ".yml", ".yaml",
              ".toml", ".cfg", ".ini")  # fmt: skip


def patched_files(patch: str) -> list[str]:
    """Paths that a unified diff changes or makes, in order."""
    found = re.findall(r"^diff --git a/.* b/(.*)$", patch, re.M)
    found = found or re.findall(r"^\+\+\+ b/([^\t\n]+)", patch, re.M)
    return list(dict.fromkeys(path.strip() for path in found))


def evaluation(folder: str, test_patch: str, command: str, official: str, tests: list[str]) -> str:
    """Bash that puts the tests into place, runs them between the markers, and says their exit code.

    Args:
        folder: the repository, in which the start of the task is a commit.
        command: runs the tests; "" is pytest, on the files of the patch or of the tests.
        official: the data set's own script, which is taken as it is but for the exit code.
    """
    if official:
        return _with_exit_code(official)
    files = patched_files(test_patch)
    if not command:
        named = [f for f in files if not f.endswith(_NOT_TESTS)]
        named = named or list(dict.fromkeys(test.partition("::")[0] for test in tests))
        command = "python -m pytest -rA -p no:cacheprovider " + " ".join(map(shlex.quote, named))
    lines = ["#!/bin/bash", "set -uxo pipefail", f"cd {shlex.quote(folder)}"]
    for path in files:
        quoted = shlex.quote(path)
        lines.append(f"git checkout HEAD -- {quoted} 2>/dev/null || rm -f {quoted}")
    if test_patch:
        lines.append("git apply -v /tmp/test.patch || echo '>>>>> Patch Apply Failed'")
    lines += [f": '{START}'", command, "AGENTRL_EXIT=$?", f": '{END}'"]
    return "\n".join([*lines, f'echo "{EXIT_CODE}: $AGENTRL_EXIT"']) + "\n"


def _with_exit_code(script: str) -> str:
    lines = script.rstrip().split("\n")
    for number, line in enumerate(lines):
        if END in line:
            lines.insert(number, "AGENTRL_EXIT=$?")
            lines.insert(number + 2, f'echo "{EXIT_CODE}: $AGENTRL_EXIT"')
            break
    return "\n".join(lines) + "\n"
