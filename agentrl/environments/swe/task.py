"""A software-engineering task: where its files come from and what is in its payload."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from agentrl.core import Task, TaskFileError
from agentrl.environments.swe.hide import hide_tests
from agentrl.environments.swe.package import is_source
from agentrl.environments.swe.tree import Tree, apply_diff, digest, unpack


class Payload(BaseModel):
    """What it takes to set the scene.

    Attributes:
        archive: tar.gz of the repository, beside the task file; shared by a package's tasks.
        repo: digest of what the archive must hold.
        bug: diff from the archive to the repository state of the task.
        roots: source folders and modules; only Python files in them can be part of a fix.
        paths: sys.path entries.
        tests: test files, as pytest is to be given them.
        hidden: test functions by file that the agent's copy lacks.
        reproduction: id of the failing test that the agent can run, if any.
        shown: diff from the task's state to the agent's copy: here the older tests of a release.
        requires: pinned packages (`name==version`) that the sandbox's Python needs beside pytest;
            an image with them is made where it is missing, see `agentrl.environments.images`.
        plugins: modules of pytest plugins among these, for the tests that count.
        ini: pytest options, for the tests that count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str
    repo: str
    bug: str
    roots: list[str]
    paths: list[str]
    tests: list[str]
    hidden: dict[str, list[str]] = {}
    reproduction: str | None = None
    shown: str = ""
    requires: list[str] = []
    plugins: list[str] = []
    ini: dict[str, str] = {}


class Reference(BaseModel):
    """Privileged: what judges the task.

    Attributes:
        gold_patch: diff from the task's state to one that resolves it.
        fail_to_pass, pass_to_pass: test ids that must all pass afterwards.
        extra_tests: test files by path that the repository does not have.
        location: {"function", "line", "operator", "old", "new"} of the bug, for guidance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gold_patch: str
    fail_to_pass: list[str]
    pass_to_pass: list[str]
    extra_tests: dict[str, str] = {}
    location: dict[str, Any] = {}


class SweTask:
    """A task with its files, resolved from the task file's folder.

    Attributes:
        pristine: the archive's tree: the tests in it are the ones that count.
        base: what submissions are compared with: the repository as the agent gets it.
        planted: the new text of the files by which the task's state differs from `pristine`
            (None: it lacks the file).
    """

    def __init__(self, task: Task) -> None:
        """Raises TaskFileError, naming the task and the field."""
        self.task = task
        try:
            self.payload = Payload.model_validate(task.payload)
            self.reference = Reference.model_validate(task.reference)
        except ValidationError as error:
            first = error.errors()[0]
            raise TaskFileError(
                f"not a SWE task: {'.'.join(map(str, first['loc']))}: {first['msg']}",
                where=_where(task),
                fix="make task files with `agentrl tasks synth`",
            ) from error
        path = Path(task.metadata.get("folder", "."), self.payload.archive)
        self.pristine = _pristine(path, self.payload.repo, _where(task))
        self.buggy = apply_diff(self.pristine, self.payload.bug)
        base = hide(self.buggy, self.payload.hidden, _where(task))
        self.base = apply_diff(base, self.payload.shown)
        self.planted: dict[str, str | None] = {
            path: self.buggy[path].decode() if path in self.buggy else None
            for path in sorted(self.pristine.keys() | self.buggy.keys())
            if self.pristine.get(path) != self.buggy.get(path)
        }

    def is_source(self, path: str) -> bool:
        return is_source(path, self.payload.roots)


def hide(tree: Tree, hidden: dict[str, list[str]], where: str = "") -> Tree:
    """The tree without the named test functions."""
    visible = dict(tree)
    for path, names in hidden.items():
        source = hide_tests(tree.get(path, b""), set(names))
        if source is None:
            raise TaskFileError(
                f"payload.hidden names a test that is not in {path}: {', '.join(names)}",
                where=where,
            )
        visible[path] = source
    return visible


def _where(task: Task) -> str:
    return f"{task.metadata.get('line', 'task')} ({task.id})"


def _pristine(path: Path, expected: str, where: str) -> Tree:
    try:
        tree, found = _archive(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise TaskFileError(
            f"the repository archive cannot be read: {path}: {error.strerror}",
            where=where,
            fix="keep the `repos` folder beside the task file",
        ) from error
    if found != expected:
        raise TaskFileError(
            f"{path} does not hold what the task was made from (digest {found}, not {expected})",
            where=where,
            fix="make the tasks again",
        )
    return tree


@lru_cache(maxsize=8)
def _archive(path: Path, changed: int) -> tuple[Tree, str]:
    """The tree of an archive as it was at a time, and its digest; tasks of a package share it."""
    tree = unpack(path.read_bytes())
    return tree, digest(tree)
