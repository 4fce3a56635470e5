"""The house stays the house: floors, light imports, short files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("agentrl", "tools", "sandboxes", "rewards")
HEAVY = ("torch", "transformers", "docker", "litellm", "matplotlib", "vllm", "playwright", "ray")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in a process whose first import path is `folder`, so that its agentrl is the one read."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r});"
        "from importlinter.cli import lint_imports;"
        f"sys.exit(lint_imports(config_filename={str(folder / 'pyproject.toml')!r}, no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_imports_only_go_down():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("agentrl/core/task.py", "import agentrl.models"),
        ("rewards/outcome.py", "import agentrl.tools"),
        ("tools/__init__.py", "from agentrl.episodes import runner"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_caught(tmp_path, file, line):
    """Through the symbolic links too: else the rule would hold for half of the house."""
    for name in SOURCES:
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / file
    target.write_text(f"{target.read_text('utf-8')}\n{line}\n", "utf-8")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


@pytest.mark.parametrize(
    "module", ["agentrl", "agentrl.core", "agentrl.tools", "agentrl.rewards", "agentrl.papers"]
)
def test_no_heavy_library_comes_with_an_import(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_import_agentrl_takes_less_than_three_tenths_of_a_second():
    """CPU time, best of five: what the import costs, not what the machine is busy with."""
    code = "import time; t = time.process_time(); import agentrl; print(time.process_time() - t)"
    took = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(took) < 0.3


def test_no_source_file_is_longer_than_four_hundred_lines():
    files = [p for name in SOURCES for p in (ROOT / name).rglob("*.py")]
    assert len(files) > 30
    long = {str(p.relative_to(ROOT)): n for p in files if (n := _lines(p)) > 400}
    assert not long


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_front_door_rooms_are_links_and_not_copies():
    for name in ("tools", "sandboxes", "rewards"):
        link = ROOT / "agentrl" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_nothing_imports_the_front_door_rooms_by_their_bare_names():
    for path in (p for name in SOURCES for p in (ROOT / name).rglob("*.py")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            words = line.split()
            if len(words) > 1 and words[0] in ("import", "from"):
                top = words[1].split(".")[0]
                assert top not in ("tools", "sandboxes", "rewards"), f"{path}:{number}: {line}"
