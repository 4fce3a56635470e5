"""File trees in memory: reading, packing, comparing, and patching them without git.

A tree maps relative POSIX paths to bytes. Diffs are unified diffs with `a/` and `b/` prefixes; they
are made and applied here, on the host, so that nothing in a sandbox has a say in them.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

from agentrl.core import AgentRLError

Tree = dict[str, bytes]

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_HEADER = re.compile(r"--- (?:a/([^\n]*)|/dev/null)\n\+\+\+ (?:b/([^\n]*)|/dev/null)\n")
_MAX_LINES = 20_000
_NO_NEWLINE = "\\ No newline at end of file\n"


def read_folder(folder: Path, *, max_file: int = 1 << 20) -> Tree:
    """The regular files below a folder; links, larger files and special files are left out."""
    tree: Tree = {}
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not os.path.islink(os.path.join(where, f)))
        for name in sorted(files):
            path = Path(where, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= max_file:
                tree[path.relative_to(folder).as_posix()] = path.read_bytes()
    return tree


def write_folder(tree: Tree, folder: Path) -> None:
    for path, data in tree.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def digest(tree: Tree) -> str:
    """A name for the tree's content: 16 hex digits of SHA-256 over its paths and files."""
    total = hashlib.sha256()
    for path in sorted(tree):
        total.update(f"{path}\0{hashlib.sha256(tree[path]).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def pack(tree: Tree) -> bytes:
    """A tar.gz that depends on the tree's content and nothing else."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree):
            entry = tarfile.TarInfo(path)
            entry.size = len(tree[path])
            archive.addfile(entry, io.BytesIO(tree[path]))
    return gzip.compress(raw.getvalue(), mtime=0)


def unpack(data: bytes) -> Tree:
    """The regular files of a tar or tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = [entry for entry in archive if entry.isfile()]
        return {entry.name: archive.extractfile(entry).read() for entry in files}  # type: ignore[union-attr]


def diff_trees(old: Tree, new: Tree) -> str:
    """What turns `old` into `new`, sorted by path; a binary file is only said to differ."""
    return "".join(
        diff_file(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def diff_file(path: str, old: bytes | None, new: bytes | None) -> str:
    """The unified diff of one file; None stands for a file that is not there."""
    names = [f"a/{path}" if old is not None else "/dev/null"]
    names.append(f"b/{path}" if new is not None else "/dev/null")
    try:
        before, after = lines_of(old or b""), lines_of(new or b"")
    except UnicodeDecodeError:
        return f"Binary files {names[0]} and {names[1]} differ\n"
    # The head comes first, so that an empty file made or removed leaves a trace too.
    text = [f"--- {names[0]}\n", f"+++ {names[1]}\n"]
    for line in _hunks(before, after):
        text.append(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}")
    return "".join(text)


def _hunks(before: list[str], after: list[str]) -> list[str]:
    if len(before) + len(after) <= _MAX_LINES:
        return list(difflib.unified_diff(before, after))[2:]
    # difflib needs quadratic time and more; a hostile submission must not get it.
    old, new = f"1,{len(before)}" if before else "0,0", f"1,{len(after)}" if after else "0,0"
    head = f"@@ -{old} +{new} @@\n"
    return [head, *(f"-{line}" for line in before), *(f"+{line}" for line in after)]


def lines_of(data: bytes) -> list[str]:
    """Lines with their ends; only \\n ends one. Raises UnicodeDecodeError."""
    return [line for line in re.split(r"(?<=\n)", data.decode("utf-8")) if line]


class PatchError(AgentRLError):
    """A diff is not one of `diff_trees`, or does not fit the tree it is applied to."""


def apply_diff(tree: Tree, diff: str) -> Tree:
    """The tree with a diff applied, exactly at its line numbers.

    Files that are only said to differ (binary ones) stay as they are. Raises PatchError.
    """
    new = dict(tree)
    lines = re.split(r"(?<=\n)", diff)
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("Binary files "):
            at += 1
            continue
        header = _HEADER.fullmatch("".join(lines[at : at + 2]))
        if header is None:
            raise PatchError(f"not the head of a file's diff: {lines[at][:80]!r}")
        source, target = header.groups()
        if source is not None and source not in tree:
            raise PatchError(f"the diff changes {source}, which does not exist")
        before = lines_of(tree[source]) if source is not None else []
        text, at = _patched(before, lines, at + 2, target or source or "")
        if target is not None:
            new[target] = text.encode()
        elif source is not None:
            new.pop(source, None)
    return new


def _patched(before: list[str], lines: list[str], at: int, path: str) -> tuple[str, int]:
    """One file's text after its hunks, and the index of the line that follows them."""
    after: list[str] = []
    used = 0
    while at < len(lines) and (hunk := _HUNK.match(lines[at])):
        start, old_count, _, new_count = (int(g) if g else 1 for g in hunk.groups())
        start -= old_count > 0
        after += before[used:start]
        used = start
        at += 1
        while old_count > 0 or new_count > 0:
            mark, line = lines[at][:1], lines[at][1:]
            bare = lines[at + 1 : at + 2] == [_NO_NEWLINE]
            line = line[:-1] if bare else line
            at += 2 if bare else 1
            if mark not in (" ", "-", "+"):
                raise PatchError(f"a hunk ends early at {line[:60]!r}", where=path)
            if mark != "+":
                if before[used : used + 1] != [line]:
                    raise PatchError(f"line {used + 1} is not what the diff says", where=path)
                used += 1
                old_count -= 1
            if mark != "-":
                after.append(line)
                new_count -= 1
    return "".join(after + before[used:]), at
