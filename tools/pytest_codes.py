"""Compiled code that outlives the run which compiled it; sent along with `pytest_server`.

Importing a package costs mostly compilation, and every run of tests is a process of its own. So
children say what they loaded, the parent compiles it before it forks the next one (which runs
nothing of it), and a child takes that code for a file that still has the same bytes.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import stat
import sys
from pathlib import Path
from types import CodeType
from typing import Any

MAX_FILES, MAX_BYTES = 2000, 1 << 20
# What `compile` raises for what somebody wrote; a child will find the same and report it.
_BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


class Codes:
    """Code by (path, whether pytest rewrote its asserts), with the bytes that it was made of."""

    def __init__(self) -> None:
        self.named: set[tuple[str, bool]] = set()
        self.kept: dict[tuple[str, bool], tuple[bytes, CodeType]] = {}

    def refresh(self) -> None:
        """In the parent: compile what was named, if it is new or has changed."""
        for name in self.named:
            source = _read(name[0])
            if source is None:
                self.kept.pop(name, None)
            elif name not in self.kept or self.kept[name][0] != source:
                self.kept.pop(name, None)
                with contextlib.suppress(*_BROKEN):
                    self.kept[name] = source, _compile(source, *name)

    def name(self, loaded: list[Any]) -> None:
        """In the parent: what a child says it loaded. Raises TypeError, ValueError for nonsense."""
        self.named |= {(str(path), bool(rewritten)) for path, rewritten in loaded[:MAX_FILES]}
        if len(self.named) > MAX_FILES:
            self.named.clear()
            self.kept.clear()

    def install(self, root: str) -> None:
        """In the child: use kept code of unchanged files, and no .pyc below the repository.

        Two edits of one size in one second look the same to a .pyc.
        """
        kept = self.kept
        loaders: Any = importlib.import_module("importlib._bootstrap_external")
        rewrite: Any = importlib.import_module("_pytest.assertion.rewrite")
        place, compiled = loaders.cache_from_source, loaders.SourceLoader.source_to_code
        read = rewrite._read_pyc
        named, real = root + os.sep, os.path.realpath(root) + os.sep

        def inside(path: Any) -> bool:
            return str(path).startswith(named) or os.path.realpath(path).startswith(real)

        def cache_from_source(path: str, *args: Any, **kwargs: Any) -> str:
            if inside(path):
                raise NotImplementedError
            return str(place(path, *args, **kwargs))

        def source_to_code(self: Any, data: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            known = kept.get((path, False))
            if known is not None and known[0] == data:
                return known[1]
            return compiled(self, data, path, *args, **kwargs)

        def read_pyc(source: Path, *args: Any, **kwargs: Any) -> Any:
            if not inside(source):
                return read(source, *args, **kwargs)
            known = kept.get((str(source), True))
            return known[1] if known is not None and known[0] == source.read_bytes() else None

        loaders.cache_from_source = cache_from_source
        loaders.SourceLoader.source_to_code = source_to_code
        rewrite._read_pyc = read_pyc


def loaded_from(root: str) -> list[tuple[str, bool]]:
    """Source files of the repository that are imported here, and whether pytest rewrote them."""
    found = []
    for module in list(sys.modules.values()):
        # A module may be any object, and what it answers may be anything.
        with contextlib.suppress(Exception):
            spec = module.__spec__
            if spec is not None and str(spec.origin).startswith(root + os.sep):
                found.append((str(spec.origin), "rewrite" in type(spec.loader).__module__))
    return found


def _read(path: str) -> bytes | None:
    """A file of moderate size; never waits for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
            return None
        return os.read(descriptor, facts.st_size)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _compile(source: bytes, path: str, rewritten: bool) -> CodeType:
    if not rewritten:
        return compile(source, path, "exec", dont_inherit=True)
    rewrite: Any = importlib.import_module("_pytest.assertion.rewrite")
    tree = ast.parse(source, filename=path)
    rewrite.rewrite_asserts(tree, source, path, None)
    return compile(tree, path, "exec", dont_inherit=True)
