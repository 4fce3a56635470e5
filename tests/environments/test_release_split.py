"""One release, several fixes: which places belong together, and the tasks that come of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from docker_marks import docker_test
from release_pair import write_release

from agentrl.environments.images import ImagePools, docker_images
from agentrl.environments.swe.releases.entries import assigned, entries, words
from agentrl.environments.swe.releases.history import read_release
from agentrl.environments.swe.releases.make import ReleaseSettings, tasks_of_pair
from agentrl.environments.swe.releases.pair import Pair, lay_over
from agentrl.environments.swe.releases.prove import Failing
from agentrl.environments.swe.releases.split import parts_of, places_of, without
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.vetting import vet
from agentrl.sandboxes import Limits


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[ImagePools]:
    async with docker_images(size=2, spare=0, limits=Limits(memory_mb=1024)) as pools:
        yield pools


def pair_of(folder: Path, old: str, new: str) -> Pair:
    sides = []
    for version, source in (("1.2", old), ("1.3", new)):
        place = write_release(folder / version, version)
        (place / "wordy/__init__.py").write_text(source)
        sides.append(read_release(place, "wordy"))
    return lay_over(*sides)


@docker_test
async def test_a_release_with_two_fixes_gives_two_tasks_that_hold(pools, tmp_path: Path):
    old = read_release(write_release(tmp_path / "old", "1.2"), "wordy")
    new = read_release(write_release(tmp_path / "new", "1.3"), "wordy")
    notes: list[str] = []
    settings = ReleaseSettings(repeats=2, max_fix_lines=5)
    tasks = await tasks_of_pair(old, new, tmp_path / "tasks.jsonl", pools, settings, notes)
    assert notes == []
    count, longest = tasks
    assert count.reference["fail_to_pass"] == ["tests/test_wordy.py::test_count_folds_spaces"]
    assert longest.reference["fail_to_pass"] == ["tests/test_longest.py::test_longest"]
    assert "tests/test_longest.py::test_longest" in count.reference["pass_to_pass"]
    assert "several spaces as one" in count.prompt
    assert "longest" not in count.prompt
    assert "New function ``longest``" in longest.prompt
    assert "spaces" not in longest.prompt
    assert count.id != longest.id
    copy = SweTask(count).base
    assert b"def longest" in copy["wordy/__init__.py"]
    assert b"test_count_folds_spaces" not in copy["tests/test_wordy.py"]
    assert "tests/test_longest.py" in copy
    assert "tests/test_longest.py" not in SweTask(longest).base
    for task in tasks:
        vetted = await vet(task, pools, runs=1)
        assert vetted.holds, vetted.reasons


OLD = """\
A = 1

def one():
    return 1

def two():
    return A

class Box:
    def get(self):
        x = 1
        y = 2
        z = 3
        return x
"""
NEW = """\
import re
A = 2

def one():
    return re.escape("1")

def two():
    return re.escape(str(A))

class Box:
    def get(self):
        x = 2
        y = 2
        z = 4
        return x

def fresh():
    return 0
"""


def run_by(what: dict[str, set[str]], pair: Pair, calls: list[str]):
    """Stands for the sandbox: a test fails where any of its pieces of text is missing."""

    async def run(texts):
        text = texts["wordy/__init__.py"]
        calls.append(text)
        missed = {test: [p for p in pieces if p not in text] for test, pieces in what.items()}
        # A test whose missing piece is a `def` finds its file not to be imported.
        ran = {t for t, gone in missed.items() if gone and not all("def " in p for p in gone)}
        return Failing(ran, {t for t, gone in missed.items() if gone} - ran)

    return run


def test_places_are_hunks_and_those_of_one_function_are_one(tmp_path: Path):
    pair = pair_of(tmp_path, OLD, NEW)
    names = [sorted(place.names) for place in places_of(pair)]
    assert names == [[], ["one"], ["two"], ["Box.get"], ["fresh"]]
    assert without(pair, places_of(pair)) == pair.planted
    for place in places_of(pair):
        text = without(pair, [place])["wordy/__init__.py"]
        assert text not in (OLD, NEW)
        compile(text, "x", "exec")


async def test_what_two_fixes_need_is_left_as_the_newer_release_has_it(tmp_path: Path):
    pair = pair_of(tmp_path, OLD, NEW)
    calls: list[str] = []
    needs = {"a": {"import re", 'escape("1")'}, "b": {"import re", "escape(str(A))"}}
    parts, why = await parts_of(pair, ["a", "b"], run_by(needs, pair, calls))
    assert why == ""
    assert [(set(p.tests), [set(x.names) for x in p.places]) for p in parts] == [
        ({"a"}, [{"one"}]), ({"b"}, [{"two"}])
    ]  # fmt: skip
    assert len(calls) == 5


async def test_a_file_that_asks_for_a_new_name_joins_no_fixes(tmp_path: Path):
    pair = pair_of(tmp_path, OLD, NEW)
    new = "def fresh"
    needs = {"a": {'escape("1")', new}, "b": {"z = 4", new}, "c": {new}, "d": {new}}
    parts, _ = await parts_of(pair, list(needs), run_by(needs, pair, []))
    assert [set(part.tests) for part in parts] == [{"a"}, {"b"}, {"c", "d"}]


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"a": {'escape("1")', "escape(str(A))"}}, "tell no two fixes apart"),
        ({"a": {'escape("1")'}, "b": {'escape("1")'}}, "tell no two fixes apart"),
        ({"a": {"import re"}, "b": {"import re", 'escape("1")'}}, "tell no two fixes apart"),
        # Either of two places is enough for it: it misses neither alone.
        ({"a": set(), "b": {"z = 4"}}, "tell no two fixes apart"),
    ],
)
async def test_where_tests_do_not_separate_there_is_no_split(tmp_path: Path, needs, why):
    pair = pair_of(tmp_path, OLD, NEW)
    parts, said = await parts_of(pair, list(needs), run_by(needs, pair, []))
    assert parts == []
    assert why in said


async def test_one_place_is_not_taken_apart(tmp_path: Path):
    pair = pair_of(tmp_path, OLD, OLD.replace("return 1", "return 2"))
    assert await parts_of(pair, ["a"], run_by({}, pair, [])) == ([], "it changes one place")


NOTES = """\
### Fixed

- `count` folds spaces
  as it should
- `Box.get` gives two
  - a detail

### Other
* by J. Smith
"""


def test_entries_are_the_outermost_items():
    assert entries(NOTES) == [
        "- `count` folds spaces\n  as it should",
        "- `Box.get` gives two\n  - a detail",
        "* by J. Smith",
    ]
    assert entries("One thing.\n\nAnother thing.\n") == ["One thing.", "Another thing."]


def test_an_entry_goes_to_the_fix_whose_words_it_has_and_to_none_when_two_are_alike():
    parts = [words("def count(text): fold_spaces"), words("class Box: get two"), words("count x1")]
    count, box, other = assigned(NOTES, parts)
    assert [e[:9] for e in count] == ["- `count`"]
    assert [e[:9] for e in box] == ["- `Box.ge"]
    assert other == []
    assert assigned("- speaks of alpha", [words("alpha"), words("alpha")]) == [[], []]
