"""Recorded tool calls in a file that people can read, diff and ship.

JSON Lines, one call a line, ordered by tool and arguments once the file is closed:

    {"tool": "find_train", "arguments": {"day": "Mon", "to": "Oslo"}, "result": "08:15, 24 EUR"}

While calls are recorded, lines are appended and flushed: a kill loses at most the last one.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentrl.core import AgentRLError, ConfigError

Mode = Literal["record", "replay", "refresh"]


@dataclass(slots=True, frozen=True)
class Recorded:
    """One call and what it was answered (any JSON value)."""

    tool: str
    arguments: dict[str, Any]
    result: Any


def canonical(tool: str, arguments: Mapping[str, Any]) -> str:
    """One text for all ways to write a call: keys ordered, whole floats as integers."""
    return f"{tool} {json.dumps(_plain(arguments), sort_keys=True, ensure_ascii=False)}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


class CallCache:
    """Calls by their canonical form.

    Modes: "record" answers what is known and keeps what is new; "replay" answers what is known and
    keeps nothing; "refresh" answers nothing that was not seen since it was opened, and keeps the
    new answers in the place of the old.

    Args:
        path: the file, None: in memory only.
        calls: known from the start, besides those of the file.

    Attributes:
        mended: the last line was cut off (a kill while it was written) and was dropped.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        mode: Mode = "replay",
        calls: Iterable[Recorded] = (),
    ) -> None:
        self.path = Path(path) if path is not None else None
        self.mode: Mode = mode
        self.mended = False
        self.hits = self.misses = 0
        self._known = {canonical(c.tool, c.arguments): c for c in calls}
        self._fresh: set[str] = set()
        self._lock = threading.Lock()
        self._file: Any = None
        if self.path is not None and (self.path.exists() or mode == "replay"):
            self._known.update({canonical(c.tool, c.arguments): c for c in self._read(self.path)})

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Recorded]:
        return iter(list(self._known.values()))

    def get(self, tool: str, arguments: Mapping[str, Any]) -> Recorded | None:
        """The recorded call, None when it is not known (or, in refresh, not known anew)."""
        key = canonical(tool, arguments)
        found = self._known.get(key)
        if self.mode == "refresh" and key not in self._fresh:
            found = None
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, tool: str, arguments: Mapping[str, Any], result: Any) -> None:
        """Keep an answer; in replay mode nothing is kept."""
        if self.mode == "replay":
            return
        call = Recorded(tool, _plain(arguments), result)
        key = canonical(tool, arguments)
        with self._lock:
            self._known[key] = call
            self._fresh.add(key)
            if self.path is not None:
                self._append(call)

    def close(self) -> None:
        """Write the file in its order; the old one stays whole until the new one is complete."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            if self.path is None or self.mode == "replay":
                return
            partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_line(self._known[key]) for key in sorted(self._known))
            partial.replace(self.path)

    def _append(self, call: Recorded) -> None:
        assert self.path is not None
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._end_last_line()
            self._file = self.path.open("a", encoding="utf-8", newline="\n")
        self._file.write(_line(call))
        self._file.flush()

    def _end_last_line(self) -> None:
        """What is appended begins a line of its own, also after a line that was cut off."""
        assert self.path is not None
        data = self.path.read_bytes() if self.path.exists() else b""
        if self.mended:
            os.truncate(self.path, data.rfind(b"\n") + 1)
        elif data and not data.endswith(b"\n"):
            with self.path.open("ab") as file:
                file.write(b"\n")

    def _read(self, path: Path) -> list[Recorded]:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigError(
                f"the file of recorded calls cannot be read: {error.strerror}",
                where=str(path),
                fix="check the path, or record calls first: mode=record",
            ) from error
        calls = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                calls.append(_recorded(json.loads(line)))
            except (ValueError, RecursionError, TypeError, KeyError) as error:
                # Only a line without its end can have been cut while it was written.
                if number == len(lines):
                    self.mended = True
                    break
                raise ConfigError(
                    f"not a recorded call: {type(error).__name__}: {error}",
                    where=f"{path}:{number}",
                    fix='a line is {"tool": "..", "arguments": {..}, "result": ..}',
                ) from error
        return calls


def _recorded(data: Any) -> Recorded:
    if not isinstance(data, dict) or set(data) != {"tool", "arguments", "result"}:
        raise ValueError("needs exactly tool, arguments and result")
    if not isinstance(data["tool"], str) or not isinstance(data["arguments"], dict):
        raise ValueError("tool is a text and arguments is an object")
    return Recorded(data["tool"], data["arguments"], data["result"])


def _line(call: Recorded) -> str:
    data = {"tool": call.tool, "arguments": call.arguments, "result": call.result}
    try:
        return json.dumps(data, sort_keys=True, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise AgentRLError(
            f"the answer of {call.tool} is no JSON value: {error}",
            where="CallCache",
            fix="let the live tool return texts, numbers, lists and objects",
        ) from error
