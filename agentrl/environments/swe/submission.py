"""What an agent made of its repository, taken out of the sandbox and compared on the host."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path
from typing import Any

from agentrl.core import Sandbox
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import Tree, diff_trees, read_folder

# Beyond this many changed files the whole folder is copied out.
_MAX_READS = 50
_MAX_FILE = 1 << 20
_MAX_DIFF = 2 << 20
_NOISE = re.compile(
    r"(^|/)(__pycache__|\.pytest_cache|\.hypothesis|\.mypy_cache|\.git)(/|$)|\.pyc$"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LIST = r"LC_ALL=C find . -type f -printf '%P\0%i:%C@:%s\0'"

Listing = dict[str, str]


async def list_files(sandbox: Sandbox, root: str) -> Listing | None:
    """Inode, time of last change (ctime, which cannot be set) and size by path.

    It saves copying out what nobody touched. An agent that made it lie could only leave changes
    out of its own submission. None when there are too many files, or no folder.
    """
    result = await sandbox.exec(_LIST, cwd=root, timeout=30.0, max_output=4 << 20)
    parts = result.output.split("\0")
    if not result.ok or result.truncated or len(parts) % 2 == 0:
        return None
    return dict(zip(parts[:-1:2], parts[1::2], strict=True))


async def submitted_diff(
    sandbox: Sandbox, root: str, swe: SweTask, before: Listing | None
) -> str | None:
    """The diff of the sandbox's repository against the task's base tree, see `tree_diff`.

    Args:
        before: `list_files` of the untouched repository.
    """
    after = await list_files(sandbox, root) if before is not None else None
    if before is not None and after is not None:
        changed = [path for path, what in after.items() if before.get(path) != what]
        changed = [path for path in changed if _counts(path, swe)]
        if len(changed) <= _MAX_READS:
            try:
                return await _diff_of_changed(sandbox, root, swe, set(after), changed)
            except OSError:
                pass  # e.g. a file replaced by a folder meanwhile: the thorough way will tell
    return await _diff_of_all(sandbox, root, swe)


def tree_diff(swe: SweTask, submitted: Tree) -> str | None:
    """The diff of a tree against the base tree.

    Changes outside the source are shown, though they will not count; when all of it is too
    large, the source changes alone; None when these are too large as well.
    """
    if _size(submitted, swe.base) <= _MAX_DIFF:
        return diff_trees(swe.base, submitted)
    source = {path: data for path, data in submitted.items() if swe.is_source(path)}
    others = {path: data for path, data in swe.base.items() if not swe.is_source(path)}
    if _size({**others, **source}, swe.base) <= _MAX_DIFF:
        return diff_trees(swe.base, {**others, **source})
    return None


async def _diff_of_changed(
    sandbox: Sandbox, root: str, swe: SweTask, present: set[str], changed: list[str]
) -> str | None:
    tree = {path: data for path, data in swe.base.items() if path in present}
    for path in changed:
        tree[path] = await sandbox.read(f"{root}/{path}", max_bytes=_MAX_FILE)
    return await asyncio.to_thread(tree_diff, swe, tree)


async def _diff_of_all(sandbox: Sandbox, root: str, swe: SweTask) -> str | None:
    with tempfile.TemporaryDirectory(prefix="agentrl-submission-") as folder:
        target = Path(folder, "repo")
        try:
            await sandbox.copy_out(root, target)
        except FileNotFoundError:
            target.mkdir(exist_ok=True)
        except OSError:
            return None
        files = await asyncio.to_thread(read_folder, target, max_file=_MAX_FILE)
        tree = {path: data for path, data in files.items() if _counts(path, swe)}
        return await asyncio.to_thread(tree_diff, swe, tree)


def _counts(path: str, swe: SweTask) -> bool:
    """False for caches, git's files, and names that would garble a diff."""
    return path in swe.base or not (_NOISE.search(path) or _CONTROL.search(path))


def _size(new: Tree, old: Tree) -> int:
    return sum(len(data) for path, data in new.items() if old.get(path) != data)


def unjudged(
    diff: str | None, *, submitted: bool, f2p_total: int, p2p_total: int
) -> dict[str, Any]:
    """The outcome of an episode that nobody has graded; `diff` is None when it is too large."""
    return {
        "submitted": submitted,
        "modified": diff is None or bool(diff),
        "diff": diff or "",
        "resolved": False,
        "f2p_passed": 0,
        "f2p_total": f2p_total,
        "p2p_passed": 0,
        "p2p_total": p2p_total,
        "grading": "too_large" if diff is None else "not_submitted",
        "refused": {},
    }
