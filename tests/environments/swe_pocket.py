"""A small package with a test suite that has everything in it which synthesis must cope with."""

from __future__ import annotations

from pathlib import Path

NUMBERS = '''\
"""Numbers."""


def clamp(value, low, high):
    """Keep value between low and high."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)


def _at_import():
    return 3 + 4


SEVEN = _at_import()


def never_tested(a, b):
    return a - b


def countdown(n):
    steps = 0
    while n > 0:
        n -= 1
        steps += 1
    return steps
'''

TEST_NUMBERS = """\
import pathlib
import tempfile
import time
import unittest

import pytest

from pocket.numbers import SEVEN, clamp, countdown, mean


@pytest.mark.parametrize("value, expected", [(-1, 0), (0, 0), (5, 5), (10, 10), (11, 10)])
def test_clamp(value, expected):
    assert clamp(value, 0, 10) == expected


def test_clamp_keeps_type():
    assert clamp(2, 1, 3) == 2
    assert clamp(9, 1, 3) == 3


class TestMean(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 2, 3]), 2)


def test_countdown():
    assert countdown(3) == 3


def test_seven():
    assert SEVEN == 7


def test_slow():
    time.sleep(0.7)
    assert mean([2]) == 2


def test_broken():
    assert mean([1]) == 5


def test_every_second_time():
    path = pathlib.Path(tempfile.gettempdir(), "pocket-runs")
    runs = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (runs + 1))
    assert runs % 2 == 0


@pytest.mark.skip
def test_skipped():
    assert False
"""


def write_pocket(folder: Path) -> Path:
    """Put the package into a folder, src layout, with an ini file that must be ignored."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: pocket\nVersion: 1.5\n",
        "pytest.ini": "[pytest]\naddopts = --no-such-option\n",
        "src/pocket/__init__.py": "",
        "src/pocket/numbers.py": NUMBERS,
        "tests/test_numbers.py": TEST_NUMBERS,
        "tests/conftest.py": "import pytest\n",
        "docs/conf.py": "project = 'pocket'\n",
    }
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder
