"""Tasks from release histories: what counts as a pair, and the reason when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from docker_marks import docker_test
from release_pair import CHANGES, NEW, OLD, write_release

from agentrl.core import ConfigError, Episode
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.images import ImagePools, docker_images, provider_for
from agentrl.environments.swe import Grader, PackageError, SweEnvironment
from agentrl.environments.swe.difficulty import difficulty, fix_size
from agentrl.environments.swe.releases.changelog import read_changelog, section
from agentrl.environments.swe.releases.history import Release, read_release
from agentrl.environments.swe.releases.make import ReleaseSettings, tasks_of_pair
from agentrl.environments.swe.releases.pair import lay_over
from agentrl.environments.swe.releases.requirements import declared_requirements
from agentrl.environments.swe.releases.settings import ini_options
from agentrl.environments.swe.vetting import vet
from agentrl.sandboxes import Limits

SETTINGS = ReleaseSettings(repeats=2, split=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools() -> AsyncIterator[ImagePools]:
    async with docker_images(size=2, spare=0, limits=Limits(memory_mb=1024)) as pools:
        yield pools


def releases(folder: Path, new: dict[str, str | None] | None = None) -> tuple[Release, Release]:
    """Both releases; `new` replaces files of the newer one (None: without it)."""
    old = write_release(folder / "old", "1.2")
    later = write_release(folder / "new", "1.3")
    for path, text in (new or {}).items():
        target = later / path
        target.unlink() if text is None else target.write_text(text)
    return read_release(old, "wordy"), read_release(later, "wordy")


@docker_test
async def test_a_pair_becomes_a_task_that_holds(pools, tmp_path: Path):
    old, new = releases(tmp_path)
    out = tmp_path / "tasks.jsonl"
    write_tasks(out, await tasks_of_pair(old, new, out, pools, SETTINGS))
    (task,) = read_tasks(out)
    assert task.reference["fail_to_pass"] == [
        "tests/test_longest.py::test_longest",
        "tests/test_wordy.py::test_count_folds_spaces",
    ], "the version alone is no bug"
    assert task.reference["pass_to_pass"] == [
        "tests/test_version.py::test_version",
        "tests/test_wordy.py::test_count",
        "tests/test_wordy.py::test_title",
    ]
    assert "treats several spaces as one" in task.prompt
    assert "First release" not in task.prompt
    assert "pull/12" not in task.prompt, "a link to the fix"
    assert "`wordy.longest`" in task.prompt, "names that the tests ask for must be said"
    assert task.metadata["repository"] == "github.com/o/wordy"
    assert task.metadata["uncollected"] == 1
    vetted = await vet(task, pools, runs=2)
    assert vetted.holds, vetted.reasons
    assert (vetted.gold_passed, vetted.empty_passed, vetted.flaky) == (2, 0, [])


@docker_test
async def test_the_agent_gets_the_older_release_and_its_own_fix_resolves(pools, tmp_path: Path):
    old, new = releases(tmp_path)
    (task,) = await tasks_of_pair(old, new, tmp_path / "tasks.jsonl", pools, SETTINGS)
    grader = Grader(pools)
    environment = SweEnvironment(pools, grader)
    try:
        await environment.reset(task)
        sandbox, root = environment._sandbox, environment._root
        seen = (await sandbox.exec(f"cat {root}/tests/*.py {root}/wordy/*.py; ls {root}")).output
        assert "test_count_folds_spaces" not in seen
        assert "longest" not in seen
        assert "CHANGES" not in seen
        await sandbox.write(f"{root}/wordy/__init__.py", NEW.replace("key=len, ", "key=len, "))
        environment.submitted = True
        outcome = await environment.finish(Episode(task))
    finally:
        await environment.close()
        grader.close()
    assert outcome["resolved"]
    assert outcome["refused"] == {}


NONE = {
    "ships no tests": {"tests/test_wordy.py": None, "tests/test_longest.py": None,
                       "tests/test_version.py": None},
    "the Python source did not change": {"wordy/__init__.py": OLD.replace("1.2", "1.3")},
    "no test tells the two releases apart: 3 pass on both": {
        "tests/test_longest.py": None, "tests/test_wordy.py": "from wordy import count, title\n"
        "def test_a(): assert count('a b') == 2\ndef test_b(): assert title('a') == 'A'\n"},
    "modules missing: nowhere": {
        "tests/test_wordy.py": "import nowhere\n", "tests/test_longest.py": "import nowhere\n",
        "tests/test_version.py": "import nowhere\n"},
    "flaky": {
        "tests/test_longest.py": None,
        "tests/test_wordy.py": "import os, pathlib\nfrom wordy import count\ndef test_f():\n"
        "    p = pathlib.Path('/tmp/runs'); n = len(p.read_text()) if p.exists() else 0\n"
        "    p.write_text('x' * (n + 1)); assert n % 2 == 0 and count('a  b') == 2\n"},
}  # fmt: skip


@docker_test
@pytest.mark.parametrize("reason", NONE)
async def test_why_a_pair_gives_no_task_is_said(pools, tmp_path: Path, reason):
    old, new = releases(tmp_path, NONE[reason])
    with pytest.raises(PackageError, match=reason):
        await tasks_of_pair(old, new, tmp_path / "tasks.jsonl", pools, SETTINGS)


async def test_a_fix_that_is_too_large_is_refused_before_anything_runs(tmp_path: Path):
    old, new = releases(tmp_path)
    with pytest.raises(PackageError, match="the fix is too large: 6 lines in 1 files"):
        await tasks_of_pair(
            old, new, tmp_path / "t.jsonl", None, ReleaseSettings(max_release_lines=5)
        )


def test_the_fix_and_the_bug_are_opposite_and_only_source(tmp_path: Path):
    pair = lay_over(*releases(tmp_path))
    assert set(pair.planted) == {"wordy/__init__.py"}
    assert b'__version__ = "1.3"' in pair.buggy["wordy/__init__.py"]
    assert pair.base["tests/test_wordy.py"] == pair.old.package.tree["tests/test_wordy.py"]
    assert "tests/test_longest.py" not in pair.base
    assert fix_size(pair.fix).files == 1


RST = CHANGES
MARKDOWN = """\
# Changelog
## [Unreleased]
nothing
## [1.3] - 2024-03-02
### Fixed
- a bug in 1.2 of `count`
## 1.2
old
"""
PLAIN = """\
Version 1.3.0
  * fixed in this one

Version 1.2.0
  * older
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RST, "* ``count`` treats several"),
        (MARKDOWN, "### Fixed\n- a bug in 1.2 of `count`"),
        (PLAIN, "  * fixed in this one"),
        ("v1.3 / 2024-03-02\n=================\n\n- yes\n\nv1.2 / 2023\n====\n- no", "- yes"),
        ("1.30\n----\n- other\n", ""),
        ("nothing here about 1.3 or any release of it at all, only a long sentence\n", ""),
    ],
)
def test_the_entry_of_a_version_is_found_in_the_usual_ways_of_writing(text, expected):
    found = section(text, "1.3")
    assert found.startswith(expected)
    assert "older" not in found
    assert "First release" not in found
    assert "- no" not in found
    if not expected:
        assert found == ""


def test_notes_without_versions_are_compared(tmp_path: Path):
    for name, text in (("old", "News\n\nold line\n"), ("new", "News\n\nnew line\nold line\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "NEWS").write_text(text)
    old, new = (read_changelog(tmp_path / name) for name in ("old", "new"))
    assert new.entry("1.3") == ""
    assert new.since(old) == "new line"


def test_declared_requirements_are_read_from_everywhere(tmp_path: Path):
    files = {
        "PKG-INFO": "Name: x\nRequires-Dist: one>=1\nRequires-Dist: old; python_version < '3'\n"
        "Requires-Dist: two; extra == 'test'\nRequires-Dist: three; extra == 'docs'\n\nbody\n",
        "x.egg-info/requires.txt": "four\n\n[tests]\nfive>2\n\n[:python_version < '3']\nsix\n",
        "pyproject.toml": '[project]\ndependencies = ["seven"]\n[dependency-groups]\n'
        'test = ["eight", {include-group = "x"}]\ndev = ["mypy"]\n'
        '[tool.poetry.group.test.dependencies]\nnine = "^1"\n',
        "requirements-test.txt": "-r base.txt\nten  # why\n\n# no\n./local\n",
        "requirements/dev.txt": "twine\n",
        "tox.ini": "[testenv]\ndeps =\n  eleven\n  py27: mock\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    found = declared_requirements(tmp_path)
    assert found.run == ["one>=1", "four", "seven"]
    assert set(found.test) == {"two", "five>2", "eight", "nine", "ten", "eleven"}
    assert set(found.develop) == {"mypy", "twine"}


def test_only_harmless_pytest_options_are_taken_over(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "-p evil"\nasyncio_mode = "auto"\n'
        'python_files = ["check_*.py", "test_*.py"]\nxfail_strict = true\n'
    )
    assert ini_options(tmp_path) == {
        "asyncio_mode": "auto", "python_files": "check_*.py test_*.py", "xfail_strict": "true"
    }  # fmt: skip


def test_difficulty_grows_with_the_fix_and_falls_with_the_evidence():
    small = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
    large = small + "".join(f"--- a/{n}\n+++ b/{n}\n@@ -1 +1,9 @@\n" + "+x\n" * 8 for n in "pqr")
    assert difficulty(small, 8)[0] < difficulty(small, 1)[0] < difficulty(large, 1)[0]
    assert difficulty(small, 3)[1] == "easy"
    assert difficulty(large, 1)[1] == "hard"


async def test_a_task_with_packages_needs_a_provider_that_has_them():
    with pytest.raises(ConfigError, match="attrs"):
        await provider_for(object(), ["attrs==1"])


@docker_test
async def test_packages_of_a_task_are_in_its_sandbox_and_in_no_other(pools):
    lender = await pools.with_packages(["text-unidecode==1.3"])
    one, other = await asyncio.gather(lender.acquire(), pools.acquire())
    try:
        look = "python3 -c 'import text_unidecode'"
        assert (await one.exec(look)).ok
        assert not (await other.exec(look)).ok
    finally:
        await asyncio.gather(lender.release(one), pools.release(other))
