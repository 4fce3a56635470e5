"""What the warm pytest keeps of compiled code, and when it must not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.tools.pytest_codes import MAX_BYTES, MAX_FILES, Codes

WATCHED = """\
import os, sys

ROOT = os.path.dirname(__file__)
COMPILED = set()


def watch(event, args):
    if event == "compile" and isinstance(args[1], str) and args[1].startswith(ROOT):
        COMPILED.add(os.path.relpath(args[1], ROOT))


sys.addaudithook(watch)
"""
ASKS = """\
from calc import value


def test_value():
    assert value() == 1


def test_nothing_was_compiled():
    import conftest

    assert conftest.COMPILED == set()
"""
VALUE, COMPILED = "test_watch.py::test_value", "test_watch.py::test_nothing_was_compiled"


async def test_unchanged_files_are_compiled_once_and_changed_ones_are_seen(
    client: Any, root: Path
) -> None:
    (root / "conftest.py").write_text(WATCHED)
    (root / "test_watch.py").write_text(ASKS)
    module = root / "calc" / "__init__.py"
    module.write_text("def value(): return 1\n")
    times = os.stat(module).st_mtime_ns

    async def outcomes() -> list[str]:
        report = await client.run(str(root), ["test_watch.py"])
        return [report.outcomes[VALUE], report.outcomes[COMPILED]]

    assert await outcomes() == ["passed", "failed"]
    assert await outcomes() == ["passed", "passed"]
    # As long as before, and as old as before.
    module.write_text("def value(): return 2\n")
    os.utime(module, ns=(times, times))
    assert await outcomes() == ["failed", "passed"]
    module.write_text("def value(: return 1\n")
    report = await client.run(str(root), ["test_watch.py"])
    assert "SyntaxError" in " ".join(report.failures[0].message)
    module.write_text("def value(): return 1\n")
    assert (await outcomes())[0] == "passed"


async def test_a_file_that_is_named_in_vain_holds_nobody_up(client: Any, root: Path) -> None:
    """A child can say what it likes; the parent reads files of it, and nothing else."""
    (root / "test_lies.py").write_text(
        "import importlib.machinery as m, os, sys, types\n"
        "def test_lies():\n"
        "    os.mkfifo('pipe')\n"
        "    for i, path in enumerate(['pipe', 'calc', 'gone', '\\0']):\n"
        "        lie = sys.modules[f'lie{i}'] = types.ModuleType(f'lie{i}')\n"
        "        lie.__spec__ = m.ModuleSpec('lie', None, origin=os.path.join(os.getcwd(), path))\n"
    )
    for _ in range(2):
        report = await client.run(str(root), ["test_lies.py"], timeout=20)
        (root / "pipe").unlink()
        assert report.ok


async def test_neighbours_of_the_targets_are_not_looked_at(client: Any, root: Path) -> None:
    for folder in ("one", "one/deep", "two"):
        (root / "suite" / folder).mkdir(parents=True)
        (root / "suite" / folder / "__init__.py").touch()
        (root / "suite" / folder / "test_it.py").write_text("def test_it(): pass\n")
    (root / "suite" / "one" / "conftest.py").write_text(
        "import pytest\n@pytest.fixture\ndef here(): return 1\n"
    )
    (root / "suite" / "one" / "test_it.py").write_text("def test_it(here): assert here\n")
    (root / "suite" / "two" / "test_it.py").write_text("raise SystemExit(1)\n")

    async def ran(*targets: str) -> set[str]:
        report = await client.run(str(root), list(targets))
        assert set(report.outcomes.values()) == {"passed"}
        return {name.partition("::")[0] for name in report.outcomes}

    both = {"suite/one/test_it.py", "suite/one/deep/test_it.py"}
    assert await ran("suite/one") == await ran("./suite/one/") == both
    assert await ran("suite/one/deep", "suite/one/test_it.py::test_it") == both
    assert await ran("suite/../suite/one/deep/test_it.py") == {"suite/one/deep/test_it.py"}


def test_only_what_can_be_compiled_is_kept(tmp_path: Path) -> None:
    files = {
        "good.py": "x = 1\n",
        "broken.py": "def (\n",
        "null.py": "x = '\0'\n",
        "deep.py": "(" * 100_000,
        "large.py": "#" * (MAX_BYTES + 1),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    codes = Codes()
    names = [*files, "folder.py", "pipe.py", "gone.py", "\0.py"]
    codes.name([[str(tmp_path / name), rewritten] for name in names for rewritten in (0, 1)])
    codes.refresh()
    good = str(tmp_path / "good.py")
    assert set(codes.kept) == {(good, False), (good, True)}
    first = codes.kept[good, False]
    codes.refresh()
    assert codes.kept[good, False] is first
    Path(good).write_text("x = 2\n")
    codes.refresh()
    assert codes.kept[good, False] != first
    Path(good).unlink()
    codes.refresh()
    assert codes.kept == {}


def test_names_are_not_hoarded() -> None:
    codes = Codes()
    for start in range(0, 3 * MAX_FILES, MAX_FILES // 2):
        codes.name([[f"/gone/{start + n}", False] for n in range(MAX_FILES // 2)])
        assert len(codes.named) <= MAX_FILES
    codes.name([[f"/gone/{n}", False] for n in range(5 * MAX_FILES)])
    assert len(codes.named) <= MAX_FILES


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=6))
def test_nonsense_is_refused_and_not_kept(said: Any) -> None:
    codes = Codes()
    try:
        codes.name(said)
    except (TypeError, ValueError):
        assert codes.named == set()
    codes.refresh()
    assert codes.kept == {}


@pytest.mark.parametrize("rewritten", [False, True])
def test_code_says_where_it_is_from(tmp_path: Path, rewritten: bool) -> None:
    path = tmp_path / "mod.py"
    path.write_text("def f(): pass\nassert True\n")
    codes = Codes()
    codes.name([[str(path), rewritten]])
    codes.refresh()
    (_, code) = codes.kept[str(path), rewritten]
    assert code.co_filename == str(path)
