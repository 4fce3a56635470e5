"""How hard a repair is likely to be, from what is known before anybody tried it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_HUNK = re.compile(r"^@@ ", re.M)


@dataclass(slots=True, frozen=True)
class FixSize:
    """Files, hunks, and lines added or removed by a diff."""

    files: int
    hunks: int
    lines: int


def fix_size(diff: str) -> FixSize:
    changed = [
        line
        for line in diff.splitlines()
        if line[:1] in ("+", "-") and not line.startswith(("--- ", "+++ "))
    ]
    files = len(re.findall(r"^\+\+\+ ", diff, re.M)) or len(re.findall(r"^--- ", diff, re.M))
    return FixSize(files, len(_HUNK.findall(diff)), len(changed))


def difficulty(gold_patch: str, failing_tests: int) -> tuple[float, str]:
    """A number that grows with the fix and falls with the evidence, and its name.

    `log2(1 + lines) + (files - 1) + (hunks - 1) / 2 - log2(1 + failing tests) / 2`: every doubling
    of the fix, every further place it is in, makes it harder; every doubling of the failing tests
    says more about what is wrong. "easy" below 2, "hard" from 6 on. An estimate to sort tasks by,
    not measured on any model.
    """
    size = fix_size(gold_patch)
    value = math.log2(1 + size.lines) + max(0, size.files - 1) + max(0, size.hunks - 1) / 2
    value -= math.log2(1 + failing_tests) / 2
    name = "easy" if value < 2 else "medium" if value < 6 else "hard"
    return round(value, 2), name
