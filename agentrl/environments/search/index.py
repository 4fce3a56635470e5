"""An index on disk: passages, one or more rankings of them, and a manifest that is written last.

    INDEX/manifest.json     format, counts, settings, sizes of the files, which generation is valid
    INDEX/3/                generation 3: passages (see `passages`), bm25s/, tantivy/, dense/

A build writes a new generation beside the old one and then replaces the manifest: killed at any
moment, the old index is still whole, and what was half written is removed by the next build.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentrl.core import ConfigError
from agentrl.environments.search.backends import BACKENDS, Backend
from agentrl.environments.search.documents import Document, passages, read_documents
from agentrl.environments.search.passages import FILES, Passages, write_passages
from agentrl.environments.search.retriever import Hit, fuse

FORMAT = 1
MANIFEST = "manifest.json"
DEFAULT = "tantivy"
HYBRID = "hybrid"
# A ranking is fused to this depth, or the asked one when that is more.
_FUSED = 50
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Manifest:
    format: int
    generation: int
    documents: int
    passages: int
    sentences: int
    backends: list[str]
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class BuildReport:
    """What a build came to: documents added, those that were there already, passages in all."""

    added: int
    known: int
    passages: int
    backends: list[str]


class Index:
    """An opened index: a `Retriever` that lives in this process."""

    def __init__(self, folder: Path, manifest: Manifest, backend: str) -> None:
        self._files = folder / str(manifest.generation)
        self.backend, self.manifest = backend, manifest
        self.passages = Passages(self._files)
        names = _parts(backend, manifest.backends)
        self._rankers: list[Backend] = [BACKENDS[n](self._files / n) for n in names]

    def find(self, query: str, top: int) -> list[Hit]:
        """The best `top` passages; safe from several threads."""
        if len(self._rankers) == 1:
            ranked = self._rankers[0].rank(query, top)
        else:
            depth = max(top, _FUSED)
            ranked = fuse([[row for row, _ in r.rank(query, depth)] for r in self._rankers])[:top]
        return [Hit(self.passages[row], score) for row, score in ranked]

    async def search(self, query: str, top: int) -> list[Hit]:
        return await asyncio.to_thread(self.find, query, top)

    async def passage(self, key: str) -> Document | None:
        row = self.passages.row(key)
        return None if row is None else self.passages[row]

    async def close(self) -> None:
        """Nothing to give back: the files are memory-mapped."""


def open_index(folder: str | Path, backend: str | None = None) -> Index:
    """Open an index for queries.

    Args:
        backend: one that was built, "hybrid" for all of them fused; None: the only one, or hybrid.

    Raises:
        ConfigError: no index, another format, damaged, or without that backend.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    chosen = backend or (manifest.backends[0] if len(manifest.backends) == 1 else HYBRID)
    _parts(chosen, manifest.backends)
    _check_sizes(folder, manifest)
    try:
        return Index(folder, manifest, chosen)
    except ImportError as error:
        raise ConfigError(
            f"the backend {chosen!r} needs {error.name}", fix="pip install 'agentrl[search]'"
        ) from error
    except (
        Exception
    ) as error:  # the boundary to four file formats: whatever they say, it is damaged
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def build_index(
    folder: str | Path,
    documents: Sequence[str | Path],
    *,
    backends: Sequence[str] = (DEFAULT,),
    sentences: int = 0,
    told: Progress | None = None,
) -> BuildReport:
    """Make an index, or add to the one that is there: documents whose id it knows are skipped.

    Args:
        sentences: of one passage; 0: a document is one passage. Kept from the first build on.
        told: called with a stage and how many passages it has done, now and then.

    Raises:
        ConfigError: documents that cannot be read, an unknown backend, other settings than before.
    """
    folder = Path(folder)
    for name in backends:
        if name not in BACKENDS:
            raise ConfigError(f"unknown backend {name!r}", fix=f"one of: {', '.join(BACKENDS)}")
    before = _manifest(folder) if (folder / MANIFEST).exists() else None
    old = _opened(folder, before, backends, sentences)
    generation = (before.generation if before else 0) + 1
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder, keep=before.generation if before else None)
    partial = folder / str(generation)
    partial.mkdir()
    say = _sparse(told or (lambda *_: None))
    counter = _Counter()
    try:
        # Told while writing: reading and cutting is the slow part of it.
        items = _new_and_old(old, read_documents(documents), sentences, counter, say)
        count = write_passages(partial, items)
        if not count:
            raise ConfigError("there is no document to index", fix="name files with documents")
        _rank(partial, folder, before, backends, say)
        documents_now = counter.added + (before.documents if before else 0)
        kept = Manifest(FORMAT, generation, documents_now, count, sentences, list(backends))
        kept.sizes = _sizes(partial)
        _write_manifest(folder, kept)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _remove_others(folder, keep=generation)
    return BuildReport(counter.added, counter.known, count, list(backends))


@dataclass(slots=True)
class _Counter:
    added: int = 0
    known: int = 0


def _opened(
    folder: Path, before: Manifest | None, backends: Sequence[str], sentences: int
) -> Passages | None:
    """The passages that are there already, if what is asked fits them."""
    if before is None:
        return None
    if before.sentences != sentences or sorted(before.backends) != sorted(backends):
        raise ConfigError(
            f"the index was built with sentences={before.sentences} and backends "
            f"{', '.join(before.backends)}",
            where=str(folder),
            fix="give the same to add to it, or another folder",
        )
    _check_sizes(folder, before)
    return Passages(folder / str(before.generation))


def _new_and_old(
    old: Passages | None,
    documents: Iterable[Document],
    sentences: int,
    counter: _Counter,
    say: Progress,
) -> Iterator[Document]:
    """Known passages in their rows, then those of new documents; an id counts once."""
    done = 0
    for passage in old or ():
        done += 1
        say("passages", done)
        yield passage
    seen: set[str] = set()
    for document in documents:
        known = old is not None and any(
            old.row(key) is not None for key in (document.id, f"{document.id}#0")
        )
        if known or document.id in seen:
            counter.known += 1
            continue
        seen.add(document.id)
        counter.added += 1
        for passage in passages(document, sentences):
            done += 1
            say("passages", done)
            yield passage


def _rank(
    partial: Path, folder: Path, before: Manifest | None, backends: Sequence[str], say: Progress
) -> None:
    written = Passages(partial)
    for name in backends:
        target = partial / name
        start = 0
        if before is not None and name != "bm25s":
            shutil.copytree(folder / str(before.generation) / name, target)
            start = before.passages
        else:
            target.mkdir()
        BACKENDS[name].build(target, written, start, lambda done, name=name: say(name, done))


def _parts(backend: str, built: Sequence[str]) -> list[str]:
    if backend == HYBRID and len(built) > 1:
        return list(built)
    if backend in built:
        return [backend]
    raise ConfigError(
        f"the index has no backend {backend!r}",
        fix=f"it has: {', '.join(built)}" + (f", {HYBRID}" if len(built) > 1 else ""),
    )


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(
            "there is no index here",
            where=str(folder),
            fix=f"agentrl search index DOCS --out {folder}",
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from error
    version = data.get("format") if isinstance(data, dict) else None
    if version != FORMAT:
        raise ConfigError(
            f"the index has format {version}, this agentrl reads format {FORMAT}",
            where=str(folder),
            fix="build it again from the documents",
        )
    try:
        return Manifest(**data)
    except TypeError as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from error


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    partial = folder / f".{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / MANIFEST)


def _sizes(generation: Path) -> dict[str, int]:
    files = (p for p in generation.rglob("*") if p.is_file())
    return {str(p.relative_to(generation)): p.stat().st_size for p in files}


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    generation = folder / str(manifest.generation)
    for name, size in manifest.sizes.items():
        path = generation / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            now = "is missing" if found is None else f"has {found} bytes in the place of {size}"
            raise _damaged(folder, f"{manifest.generation}/{name} {now}")
    missing = [name for name in FILES if name not in manifest.sizes]
    if missing:
        raise _damaged(folder, f"{MANIFEST} does not name {missing[0]}")


def _damaged(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the index is damaged: {why}",
        where=str(folder),
        fix="build it again from the documents",
    )


def _remove_others(folder: Path, keep: int | None) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name.isdigit() and path.name != str(keep):
            shutil.rmtree(path, ignore_errors=True)


def _sparse(told: Progress) -> Progress:
    """Pass on every thousandth count: progress must not cost more than the work."""

    def say(stage: str, done: int) -> None:
        if done % 1000 == 0:
            told(stage, done)

    return say
