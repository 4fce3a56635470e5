"""Answers on disk: what was asked once is not paid for twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)


class AnswerCache:
    """Answers by a key over everything that an answer depends on.

    One SQLite file that many processes may share. It may be thrown away at any time: a file that is
    broken is set aside and begun anew, and one that cannot be written costs only the saving.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._db = self._open()

    @staticmethod
    def key(question: dict[str, Any]) -> str:
        """A hash of the JSON of `question`; the order of its keys does not count."""
        text = json.dumps(question, sort_keys=True, ensure_ascii=False, default=repr)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer that was put there, None when there is none."""
        try:
            with self._lock:
                row = self._db.execute(
                    "SELECT answer FROM answers WHERE key = ?", (key,)
                ).fetchone()
            found = None if row is None else json.loads(row[0])
        except (sqlite3.Error, ValueError) as error:
            _LOG.warning("%s: cannot read an answer: %s", self.path, error)
            return None
        return found if isinstance(found, dict) else None

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; the first one for a key stays."""
        try:
            with self._lock, self._db:
                self._db.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?)",
                    (key, json.dumps(answer, ensure_ascii=True)),
                )
        except sqlite3.Error as error:
            _LOG.warning("%s: cannot keep an answer: %s", self.path, error)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.broken")
            _LOG.warning("%s is no cache (%s): set aside as %s", self.path, error, aside.name)
            self.path.replace(aside)
            for rest in ("-wal", "-shm"):
                self.path.with_name(self.path.name + rest).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT)")
            db.execute("SELECT count(*) FROM answers WHERE key = ''")
        except BaseException:
            db.close()
            raise
        return db
