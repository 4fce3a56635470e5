"""Documents from JSON Lines, Parquet and plain text, and the passages that are indexed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl.core import ConfigError

SUFFIXES = (".jsonl", ".parquet", ".txt", ".md", ".rst")
_TEXT_KEYS = ("text", "contents", "content", "extract", "abstract")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_ID = re.compile(r"[^\s\[\]]+")


@dataclass(slots=True, frozen=True)
class Document:
    """A text with an id that can be cited: no spaces, no square brackets."""

    id: str
    text: str
    title: str = ""


def read_documents(paths: Iterable[str | Path]) -> Iterator[Document]:
    """The documents of files, and of all such files in folders, in the order of their names.

    `.jsonl` and `.parquet` have a record a document: `id`, `text` (or contents, content, extract,
    abstract) and, if there is one, `title`. Any other file is one document named by its path.

    Raises:
        ConfigError: a file that cannot be read; names the line, the field and what is needed.
    """
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise ConfigError(
                    "the folder holds no documents",
                    where=str(path),
                    fix=f"files that are read end with {', '.join(SUFFIXES)}",
                )
            for file in inside:
                yield from _read(file, str(file.relative_to(path)))
        else:
            yield from _read(path, path.name)


def _read(path: Path, name: str) -> Iterator[Document]:
    try:
        if path.suffix == ".jsonl":
            yield from _jsonl(path)
        elif path.suffix == ".parquet":
            yield from _parquet(path)
        else:
            text = path.read_bytes().decode("utf-8", "replace")
            yield Document(as_id(name), text, path.stem)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror or error}", where=str(path), fix="check the path"
        ) from error


def _jsonl(path: Path) -> Iterator[Document]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ConfigError(
                    f"not JSON: {error}", where=where, fix="each line is one JSON object"
                ) from error
            yield _document(record, where)


def _parquet(path: Path) -> Iterator[Document]:
    import pyarrow.lib
    import pyarrow.parquet

    try:
        row = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for record in batch.to_pylist():
                yield _document(record, f"{path}: row {row}")
                row += 1
    except pyarrow.lib.ArrowException as error:
        raise ConfigError(f"not a Parquet file: {error}", where=str(path)) from error


def _document(record: Any, where: str) -> Document:
    found = record if isinstance(record, dict) else {}
    key = next((k for k in _TEXT_KEYS if isinstance(found.get(k), str)), None)
    name = found.get("id", found.get("_id"))
    if key is None or not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise ConfigError(
            "a document needs an `id` (text or integer) and a text",
            where=where,
            fix=f"the text is called one of: {', '.join(_TEXT_KEYS)}",
        )
    return Document(as_id(str(name)), found[key], str(found.get("title") or ""))


def as_id(name: str) -> str:
    """A name as an id that can stand in [[..]]: spaces and brackets become underscores."""
    return "_".join(_ID.findall(name)) or "_"


def passages(document: Document, sentences: int) -> Iterator[Document]:
    """Windows of that many sentences, with ids "document#number" from 0; 0: the whole text."""
    parts = _SENTENCE.split(document.text.strip()) if sentences else []
    if len(parts) <= sentences:
        yield document
        return
    for number, start in enumerate(range(0, len(parts), sentences)):
        text = " ".join(parts[start : start + sentences])
        yield Document(f"{document.id}#{number}", text, document.title)
