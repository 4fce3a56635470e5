"""The README's first example is complete, short, and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block in the README"
    return found.group(1)


def test_the_first_example_prints_what_the_readme_shows(tmp_path):
    script = tmp_path / "first.py"
    script.write_text(block("python"), "utf-8")
    result = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == block("text")


def test_the_first_example_is_shorter_than_thirty_lines():
    assert len(block("python").splitlines()) < 30


def test_every_file_that_the_readme_links_to_is_there():
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([\w./-]+)\)", prose)
    assert len(targets) > 5
    for target in targets:
        assert (Path(__file__).parents[2] / target).is_file(), target
