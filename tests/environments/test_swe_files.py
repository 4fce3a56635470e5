"""Trees, diffs, hiding tests, packages, issue texts and task files: all without a sandbox."""

from __future__ import annotations

import ast
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swe_pocket import TEST_NUMBERS, write_pocket

from agentrl.core import Task, TaskFileError
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.swe.functions import functions_of
from agentrl.environments.swe.hide import hide_tests, split_id
from agentrl.environments.swe.package import PackageError, is_source, load_package
from agentrl.environments.swe.synth.issue import failing_statement, issue_text
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import (
    PatchError,
    apply_diff,
    diff_trees,
    digest,
    pack,
    read_folder,
    unpack,
)

# Lines that look like parts of a diff must not be taken for such.
line = st.sampled_from(["a", "b", "", "-- x", "++ b/y", "@@ -1 +1 @@", "--- a/f", "\\ No", "é\r"])
text = st.builds(
    lambda lines, end: ("\n".join(lines) + end).encode(), st.lists(line, max_size=12),
    st.sampled_from(["", "\n"]),
)  # fmt: skip
trees = st.dictionaries(st.sampled_from(["f", "g h", "d/f.py"]), text)


@given(trees, trees)
def test_a_diff_applied_to_the_old_tree_gives_the_new_one(old, new):
    assert apply_diff(old, diff_trees(old, new)) == new


@given(trees)
def test_packing_loses_nothing_and_depends_on_content_alone(tree):
    assert unpack(pack(tree)) == tree
    assert pack(dict(reversed(tree.items()))) == pack(tree)
    assert digest(dict(reversed(tree.items()))) == digest(tree)


def test_a_diff_of_very_long_files_takes_linear_time_and_still_applies():
    old = {"f": b"x\ny\n" * 20_000}
    new = {"f": b"y\nx\nz\n" * 20_000}
    assert apply_diff(old, diff_trees(old, new)) == new


@pytest.mark.parametrize(
    "diff",
    ["nonsense", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-other\n+new\n", "--- a/g\n+++ b/g\n",
     "--- a/f\n+++ b/f\n@@ -1,9 +1 @@\n-a\n"],
)  # fmt: skip
def test_a_diff_that_does_not_fit_is_refused(diff: str):
    with pytest.raises(PatchError):
        apply_diff({"f": b"a\n"}, diff)


def test_links_and_large_files_are_not_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    assert read_folder(tmp_path, max_file=50) == {"a": b"x"}


def names_of(source: bytes) -> set[str]:
    return {f.name for f in functions_of("t.py", source)}


def test_hidden_tests_are_gone_with_their_decorators_and_the_rest_is_untouched():
    source = TEST_NUMBERS.encode()
    hidden = hide_tests(source, {"test_clamp", "TestMean.test_mean"})
    assert hidden is not None
    assert names_of(source) - names_of(hidden) == {"test_clamp", "TestMean.test_mean"}
    assert b"parametrize" not in hidden
    assert "class TestMean(unittest.TestCase):\n    pass\n" in hidden.decode()
    left = [row for row in hidden.splitlines() if row.strip() != b"pass"]
    rows = iter(source.splitlines())
    assert all(row in rows for row in left)


def test_hiding_a_test_that_is_not_there_says_so():
    assert hide_tests(b"def test_a(): pass\n", {"test_b"}) is None


def test_test_ids_with_brackets_and_colons_in_parameters():
    assert split_id("t.py::A::test_x[a::b[0]]") == ("t.py", "A.test_x")


def test_a_package_is_laid_out_and_trimmed(tmp_path: Path):
    package = load_package(str(write_pocket(tmp_path)))
    assert (package.name, package.version) == ("pocket", "1.5")
    assert (package.roots, package.paths) == (["src/pocket"], ["src", "."])
    assert package.tests == ["tests/test_numbers.py"]
    assert package.sources == ["src/pocket/__init__.py", "src/pocket/numbers.py"]
    assert "docs/conf.py" not in package.tree
    assert "pytest.ini" not in package.tree
    assert "src/pocket-1.5.dist-info/METADATA" in package.tree


def test_a_single_module_with_its_test_beside_it(tmp_path: Path):
    (tmp_path / "thing.py").write_text("def f(): return 1\n")
    (tmp_path / "setup.py").write_text("def f(): return 1\n")
    (tmp_path / "test_thing.py").write_text("def test_f(): pass\n")
    package = load_package(str(tmp_path))
    assert (package.sources, package.tests) == (["thing.py"], ["test_thing.py"])


@pytest.mark.parametrize(
    ("files", "says"),
    [({"pack/__init__.py": "x = 1"}, "ships no tests"), ({"README": ""}, "no Python source")],
)
def test_a_package_without_what_it_takes_is_refused(tmp_path: Path, files, says):
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    with pytest.raises(PackageError, match=says):
        load_package(str(tmp_path))


def test_a_folder_that_does_not_exist_is_not_looked_up_as_a_package_name():
    with pytest.raises(PackageError, match="no such folder"):
        load_package("./no/such/folder")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pack/a.py", True), ("pack/sub/b.py", True), ("pack/conftest.py", False),
        ("pack/tests/helper.py", False), ("pack/test_a.py", False), ("packer/a.py", False),
        ("random.py", False), ("pack/data.json", False), ("pack/x.pth", False),
        ("sitecustomize.py", False), ("pytest.ini", False), (".git/config", False),
    ],
)  # fmt: skip
def test_only_source_files_can_be_part_of_a_fix(path: str, source: bool):
    assert is_source(path, ["pack"]) is source


def test_an_issue_names_the_function_the_failure_and_the_test_in_few_words():
    (function,) = functions_of("src/pocket/numbers.py", b"def f():\n    return 1\n")
    issue = issue_text(
        function,
        ["src", "."],
        statement="assert f() == 2 " + "x" * 500,
        message="AssertionError: assert 1 == 2\n + where 1 = <function f at 0x7f>",
        reproduction="tests/test_f.py::test_f",
    )
    assert issue.startswith("`pocket.numbers.f` (src/pocket/numbers.py)")
    assert "AssertionError: assert 1 == 2\n" in issue
    assert issue.endswith("Reproduce: tests/test_f.py::test_f")
    assert len(issue.split()) < 80
    assert len(issue) < 600


def test_the_failing_statement_is_whole_and_on_one_line():
    source = b"def test():\n    with x:\n        check(\n            1,\n        )\n"
    assert failing_statement(source, 4) == "check( 1, )"
    assert ast.parse(failing_statement(source, 3))


def good(**changes) -> str:
    return json.dumps({"id": "a", "prompt": "p", **changes})


@pytest.mark.parametrize(
    ("lines", "where", "says"),
    [
        ([good(), "{"], ":2", "not JSON"),
        ([good(), "", '{"id": "b"}'], ":3", "'prompt': Field required"),
        (['["a"]'], ":1", "valid dictionary"),
        ([good(prompt=3)], ":1", "'prompt': Input should be a valid string"),
        ([good(reward=1)], ":1", "'reward': Extra inputs are not permitted"),
        ([good(), good()], ":2", "'a' is already used in line 1"),
        ([good(id="")], ":1", "'id'"),
        ([""], "", "holds no task"),
    ],
)
def test_a_bad_task_file_is_refused_with_line_field_and_reason(tmp_path, lines, where, says):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(TaskFileError) as error:
        read_tasks(path)
    assert str(error.value).startswith(f"{path}{where}: ")
    assert says in str(error.value)


def test_a_missing_task_file_says_how_to_make_one(tmp_path):
    with pytest.raises(TaskFileError, match="agentrl tasks synth"):
        raise_text(lambda: read_tasks(tmp_path / "none.jsonl"))


def raise_text(call):
    try:
        call()
    except TaskFileError as error:
        raise TaskFileError(str(error)) from error


def test_tasks_come_back_as_written_and_know_where_they_are_from(tmp_path):
    task = Task("é", "fix\nit", "swe", {"n": [1]}, {"gold": "x\u2028y"}, {"split": "train"})
    path = tmp_path / "new" / "tasks.jsonl"
    write_tasks(path, [task])
    (read,) = read_tasks(path)
    assert read.metadata == {"split": "train", "folder": str(path.parent), "line": f"{path}:1"}
    write_tasks(path, [read])
    assert read_tasks(path) == [read]
    assert "folder" not in path.read_text()


def swe_task(tmp_path: Path, **payload) -> Task:
    tree = {"pack/a.py": b"x = 1\n"}
    (tmp_path / "r.tar.gz").write_bytes(pack(tree))
    fields = {"archive": "r.tar.gz", "repo": digest(tree), "bug": "", "roots": ["pack"],
              "paths": ["."], "tests": [], **payload}  # fmt: skip
    reference = {"gold_patch": "", "fail_to_pass": ["t"], "pass_to_pass": []}
    return Task("a", "p", "swe", fields, reference, {"folder": str(tmp_path), "line": "f:1"})


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"roots": "pack"}, "roots: Input should be a valid list"),
        ({"archive": "none.tar.gz"}, "cannot be read"),
        ({"repo": "0" * 16}, "does not hold what the task was made from"),
        ({"hidden": {"pack/a.py": ["test_x"]}}, "names a test that is not in"),
    ],
)
def test_a_task_whose_files_do_not_fit_is_refused_by_line(tmp_path, payload, says):
    with pytest.raises(TaskFileError) as error:
        SweTask(swe_task(tmp_path, **payload))
    assert says in str(error.value)
    assert "f:1 (a)" in str(error.value)


def test_archives_are_ordinary_tar_files(tmp_path):
    swe_task(tmp_path)
    with tarfile.open(tmp_path / "r.tar.gz") as archive:
        assert archive.getnames() == ["pack/a.py"]
