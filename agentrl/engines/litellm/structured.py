"""Answers as pydantic models: the schema goes out, what comes back is read with patience."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Answer = TypeVar("Answer", bound=BaseModel)

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*[ \t]*\r?\n(.*?)```", re.DOTALL)


def schema_instruction(schema: type[BaseModel]) -> str:
    """What is said to a model whose API takes no schema."""
    text = json.dumps(schema.model_json_schema(), ensure_ascii=False)
    return f"Answer with one JSON object that fits this JSON schema, and nothing else:\n{text}"


def parse_answer(text: str, schema: type[Answer]) -> tuple[Answer | None, str]:
    """The answer in `text`, and what is wrong when there is none.

    The whole text is tried, then what stands in code fences, then every JSON object in it. Two
    different answers are no answer: which one is meant, and which one was quoted from what is
    being judged, cannot be told.
    """
    text = _THOUGHT.sub("", text).strip()
    if not text:
        return None, "the answer is empty"
    problem = ""
    for candidates in (_whole(text), _fenced(text), _objects(text)):
        found: list[Answer] = []
        for candidate in candidates:
            try:
                answer = schema.model_validate_json(json.dumps(candidate))
            except ValidationError as error:
                problem = problem or _problem(error)
            else:
                if answer not in found:
                    found.append(answer)
        if len(found) == 1:
            return found[0], ""
        if found:
            return None, f"{len(found)} different answers in one text"
    return None, problem or f"no JSON object in {text[:80]!r}"


def _whole(text: str) -> Iterator[dict[str, object]]:
    yield from _loaded(text)


def _fenced(text: str) -> Iterator[dict[str, object]]:
    for block in _FENCE.findall(text):
        yield from _loaded(block)


def _objects(text: str) -> Iterator[dict[str, object]]:
    """Outermost JSON objects, in order."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            yield value
        at = text.find("{", end)


def _loaded(text: str) -> Iterator[dict[str, object]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        yield value


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "answer"
    return f"{where}: {first['msg']}"
