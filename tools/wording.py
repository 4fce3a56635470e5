"""The words of an observation: clipping, values as text, and errors that tell what to do.

Every refusal starts with `error: `, so that a small policy can tell one by its first token.
"""

from __future__ import annotations

import difflib
import linecache
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic_core import to_json

_MAX_MESSAGE = 500
_MAX_VALUE = 60


def clip(text: str, limit: int) -> str:
    """At most about `limit` characters: head and tail stay, and a mark says what was cut."""
    if len(text) <= limit:
        return text
    head = limit - limit // 2
    tail = limit // 2
    cut = len(text) - head - tail
    return f"{text[:head]}\n[... {cut:,} characters cut ...]\n{text[len(text) - tail :]}"


def clip_line(text: str, limit: int) -> str:
    """One line of at most `limit` characters; ` ...` marks a cut."""
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def as_text(value: object) -> str:
    """What a tool returned, as the policy reads it: text as it is, everything else as JSON."""
    if value is None:
        return "ok"
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return printable(value) or "(no output)"
    return to_json(value, fallback=str).decode()


def printable(text: str) -> str:
    """Lone surrogates replaced: neither tokenizers nor databases can encode them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_tool(name: str, names: Sequence[str]) -> str:
    if not names:
        return f"error: unknown tool {name!r}; there are no tools here"
    guess = nearest(name, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"error: unknown tool {name!r}; {hint}tools: {', '.join(names)}"


def bad_argument_lines(errors: Sequence[Any], free: Sequence[str]) -> list[str]:
    """Pydantic's errors, one line per argument.

    Args:
        errors: `ValidationError.errors()`.
        free: parameters that were not given; a misspelt argument is probably one of these.
    """
    by_argument: dict[str, list[str]] = {}
    for error in errors:
        name, *path = (str(part) for part in error["loc"]) if error["loc"] else ("arguments",)
        message = _argument_message(error, name, path, free)
        messages = by_argument.setdefault(name, [])
        if message not in messages and len(messages) < 3:
            messages.append(message)
    return [f"{name}: {'; '.join(messages)}" for name, messages in by_argument.items()]


def _argument_message(error: Any, name: str, path: list[str], free: Sequence[str]) -> str:
    inside = f"{'.'.join(path)}: " if path else ""
    if error["type"] == "missing":
        return f"{inside}missing"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        guess = None if path else nearest(name, free)
        return f"{inside}no such argument" + (f", did you mean {guess!r}?" if guess else "")
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{inside}{message}, got {_shown(error['input'])}"


def _shown(value: object) -> str:
    try:
        text = to_json(value, fallback=repr).decode()
    except ValueError:
        text = repr(value)
    return clip_line(printable(text), _MAX_VALUE)


def raised(error: BaseException, function: Callable[..., Any]) -> str:
    """Type, message, and the last line inside the file that the tool is written in.

    Only base names of files are shown: a policy should not learn this machine's paths.
    """
    message = clip_line(printable(_safe_str(error)), _MAX_MESSAGE)
    kind = type(error).__name__
    text = f"error: {kind}: {message}" if message else f"error: {kind}"
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(function, "__code__", None)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not own:
        return text
    frame = own[-1]
    line = (linecache.getline(frame.filename, frame.lineno or 0)).strip()
    place = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"
    return f"{text}\n  at {place}" + (f": {clip_line(line, 120)}" if line else "")


def _safe_str(error: BaseException) -> str:
    """A tool's exception class may be broken itself; that must not kill the episode."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (boundary: code of whoever wrote the tool)
        return "(its message could not be shown)"
