"""Two releases of one package as folders: a fix, a feature, and a change log."""

from __future__ import annotations

from pathlib import Path

OLD = '''\
"""Words."""

__version__ = "1.2"


def title(text):
    return " ".join(word.capitalize() for word in text.split(" "))


def count(text):
    return len(text.split(" "))
'''
NEW = '''\
"""Words."""

__version__ = "1.3"


def title(text):
    return " ".join(word.capitalize() for word in text.split(" "))


def count(text):
    return len(text.split())


def longest(text):
    return max(text.split(), key=len, default="")
'''
OLD_TESTS = """\
from wordy import count, title


def test_title():
    assert title("a bc") == "A Bc"


def test_count():
    assert count("a b") == 2
"""
NEW_TESTS = (
    OLD_TESTS
    + """\


def test_count_folds_spaces():
    assert count("a  b") == 2
"""
)
NEW_FILE = """\
from wordy import longest


def test_longest():
    assert longest("a bcd ef") == "bcd"
"""
VERSION_TESTS = """\
import wordy


def test_version():
    assert wordy.__version__ == "{}"
"""
CHANGES = """\
Changes
=======

1.3 (2024-03-02)
----------------

* ``count`` treats several spaces as one (`#12 <https://github.com/o/wordy/pull/12>`_).
* New function ``longest``.

1.2 (2023-01-01)
----------------

* First release.
"""


def write_release(folder: Path, version: str, *, changes: str = CHANGES) -> Path:
    """The unpacked source distribution of wordy 1.2 or 1.3."""
    new = version == "1.3"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: wordy\nVersion: {version}\n"
        "Project-URL: Source, https://github.com/o/wordy\n\nWords.\n",
        "CHANGES.rst": changes if new else changes.replace("1.3", "0.9"),
        "setup.cfg": "[tool:pytest]\naddopts = --no-such-option\npython_files = test_*.py\n",
        "wordy/__init__.py": NEW if new else OLD,
        "tests/test_wordy.py": NEW_TESTS if new else OLD_TESTS,
        "tests/test_version.py": VERSION_TESTS.format(version),
    }
    if new:
        files["tests/test_longest.py"] = NEW_FILE
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder
