"""Passages on disk: written once, read through memory maps, found by row and by id.

text.bin     title NUL text of every passage, one after the other, UTF-8
names.bin    their ids, the same way
table.npy    int64[N + 1, 2]: where each begins in the two
keys.npy     uint64[N] hashes of the ids in order of size; rows.npy the rows they belong to
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from agentrl.environments.search.documents import Document

FILES = ("text.bin", "names.bin", "table.npy", "keys.npy", "rows.npy")


class Passages:
    """Read access; opening costs nothing, whatever the size. Raises OSError, ValueError."""

    def __init__(self, folder: Path) -> None:
        self._table = np.load(folder / "table.npy", mmap_mode="r")
        self._keys = np.load(folder / "keys.npy", mmap_mode="r")
        self._rows = np.load(folder / "rows.npy", mmap_mode="r")
        self._text, self._names = _mapped(folder / "text.bin"), _mapped(folder / "names.bin")
        ends = self._table[-1]
        if (len(self._text), len(self._names)) != (ends[0], ends[1]):
            raise ValueError("text.bin or names.bin is shorter or longer than table.npy says")
        if not len(self._keys) == len(self._rows) == len(self):
            raise ValueError("keys.npy, rows.npy and table.npy are of different lengths")

    def __len__(self) -> int:
        return len(self._table) - 1

    def __getitem__(self, row: int) -> Document:
        (a, c), (b, d) = self._table[row], self._table[row + 1]
        title, _, text = bytes(self._text[a:b]).decode("utf-8").partition("\0")
        return Document(bytes(self._names[c:d]).decode("utf-8"), text, title)

    def __iter__(self) -> Iterator[Document]:
        return (self[row] for row in range(len(self)))

    def row(self, key: str) -> int | None:
        """The row of an id, None when there is none."""
        wanted = _hash(key)
        place = int(np.searchsorted(self._keys, wanted))
        while place < len(self._keys) and self._keys[place] == wanted:
            row = int(self._rows[place])
            if self[row].id == key:
                return row
            place += 1
        return None


def write_passages(folder: Path, items: Iterable[Document]) -> int:
    """Write all passages into a new folder; their number. Raises OSError."""
    ends = [(0, 0)]
    with (folder / "text.bin").open("wb") as text, (folder / "names.bin").open("wb") as names:
        hashes = []
        for item in items:
            title = item.title.replace("\0", " ")
            text.write(f"{title}\0{item.text}".encode("utf-8", "replace"))
            names.write(item.id.encode("utf-8", "replace"))
            hashes.append(_hash(item.id))
            ends.append((text.tell(), names.tell()))
    keys = np.asarray(hashes, np.uint64)
    order = np.argsort(keys, kind="stable")
    np.save(folder / "table.npy", np.asarray(ends, np.int64))
    np.save(folder / "keys.npy", keys[order])
    np.save(folder / "rows.npy", order.astype(np.int64))
    return len(hashes)


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _mapped(path: Path) -> mmap.mmap | bytes:
    if path.stat().st_size == 0:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
