"""Episodes to rows and back."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from agentrl.core import Episode, Image, PlacedImage, Segment, Status, Task, Turn
from agentrl.store.arrays import pack_array, unpack_array
from agentrl.store.database import Database
from agentrl.store.postgres import PostgresDatabase
from agentrl.store.records import (
    Images,
    column,
    dump,
    load,
    load_call,
    load_message,
    load_result,
    load_score,
    load_task,
)

# What an episode and a turn keep in their record: all that has no table or column of its own, so
# that a field added to `core` is stored without a change here.
_ELSEWHERE = ("task", "status", "turns", "segments", "scores")
_KEPT = tuple(f.name for f in fields(Episode) if f.name not in _ELSEWHERE)
_TURN_KEPT = tuple(f.name for f in fields(Turn) if f.name not in ("tokens", "logprobs"))
_ARRAYS = ("tokens", "origin", "logprobs", "turn", "weights")
_DIGEST = re.compile(r'"digest":"([0-9a-f]{32})"')


def encode_episode(step: int, split: str, episode: Episode) -> tuple[list[Any], ...]:
    """(task row, episode row, turn, score, segment, segment image and image rows), without the
    episode's key.

    Done before the transaction starts: writing holds the lock for as short as it can.
    """
    images: Images = {}
    task = dump(episode.task)
    task_hash = hashlib.blake2b(task.encode(), digest_size=16).hexdigest()
    task_id = column(episode.task.id)
    score = episode.scores.get("reward")
    reward = None if score is None or score.abstained else float(score.value)
    row = [
        column(episode.id),
        step,
        split,
        task_id,
        task_hash,
        str(episode.status),
        column(episode.cause),
        column(episode.source),
        reward,
        len(episode.turns),
        episode.trained_tokens,
        time.time(),
        dump({name: getattr(episode, name) for name in _KEPT}, images),
    ]
    turns = [
        (
            column(turn.finish_reason),
            pack_array(turn.tokens),
            pack_array(turn.logprobs),
            dump({name: getattr(turn, name) for name in _TURN_KEPT}, images),
        )
        for turn in episode.turns
    ]
    scores = [
        (column(name), float(score.value), int(score.abstained), dump([name, score]))
        for name, score in episode.scores.items()
    ]
    segments = [
        (len(s), *(pack_array(getattr(s, name)) for name in _ARRAYS)) for s in episode.segments
    ]
    placed = [(number, p) for number, s in enumerate(episode.segments) for p in s.images]
    placed_rows = [
        (number, p.start, p.stop, p.image.digest, dump(p.image.media_type)) for number, p in placed
    ]
    images |= {p.image.digest: p.image.data for _, p in placed}
    return (
        [task_hash, task_id, task],
        row,
        turns,
        scores,
        segments,
        placed_rows,
        list(images.items()),
    )


def write_encoded(database: Database | PostgresDatabase, encoded: tuple[list[Any], ...]) -> None:
    """Write one encoded episode inside a transaction."""
    task, row, turns, scores, segments, placed, images = encoded
    database.insert("INSERT INTO tasks VALUES (?,?,?) ON CONFLICT DO NOTHING", tuple(task))
    database.write("INSERT INTO images VALUES (?,?) ON CONFLICT DO NOTHING", images)
    key = database.insert(
        "INSERT INTO episodes (id, step, split, task, task_hash, status, cause, source, reward,"
        " turns, tokens, created, record) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) RETURNING key",
        tuple(row),
    )
    of_episode = {"turns": turns, "scores": scores, "segments": segments, "segment_images": placed}
    for table, rows in of_episode.items():
        if rows:
            marks = ",".join("?" * (len(rows[0]) + 2))
            numbered = [(key, number, *values) for number, values in enumerate(rows)]
            database.write(f"INSERT INTO {table} VALUES ({marks})", numbered)


def read_episode(database: Database, row: Any, tasks: dict[str, Task]) -> Episode:
    """Rebuild one episode from its row; `tasks` caches tasks by hash."""
    key = (row["key"],)
    if row["task_hash"] not in tasks:
        found = database.read("SELECT record FROM tasks WHERE hash = ?", (row["task_hash"],))
        tasks[row["task_hash"]] = load_task(found[0]["record"])
    kept = load(row["record"])
    turns = database.read("SELECT * FROM turns WHERE episode = ? ORDER BY number", key)
    images, placed = _read_images(
        database, row["key"], row["record"], *(t["record"] for t in turns)
    )
    kept["prompt"] = [load_message(m, images) for m in kept["prompt"]]
    scores = database.read("SELECT record FROM scores WHERE episode = ? ORDER BY number", key)
    segments = database.read("SELECT * FROM segments WHERE episode = ? ORDER BY number", key)
    return Episode(
        task=tasks[row["task_hash"]],
        status=Status(row["status"]),
        turns=[_turn(t, images) for t in turns],
        segments=[_segment(s, placed.get(s["number"], [])) for s in segments],
        scores=dict(load_score(s["record"]) for s in scores),
        **kept,
    )


def _read_images(
    database: Database, key: int, *records: str
) -> tuple[Images, dict[int, list[PlacedImage]]]:
    """Bytes of the images that an episode's records name, and those of each segment."""
    if database.version < 2:
        return {}, {}
    rows = database.read("SELECT * FROM segment_images WHERE episode = ? ORDER BY number", (key,))
    named = {row["digest"] for row in rows}.union(*(_DIGEST.findall(text) for text in records))
    images: Images = {}
    for digest in named:
        found = database.read("SELECT data FROM images WHERE digest = ?", (digest,))
        images |= {digest: found[0]["data"]} if found else {}
    placed: dict[int, list[PlacedImage]] = {}
    for row in rows:
        image = Image(images[row["digest"]], load(row["media_type"]))
        placed.setdefault(row["segment"], []).append(PlacedImage(row["start"], row["stop"], image))
    return images, placed


def _segment(row: Any, images: list[PlacedImage]) -> Segment:
    tokens, origin, logprobs, turn, weights = (unpack_array(row[name]) for name in _ARRAYS)
    return Segment(tokens, origin, logprobs, turn, weights, images)


def _turn(row: Any, images: Images) -> Turn:
    kept = load(row["record"])
    return Turn(
        tokens=unpack_array(row["tokens"]),
        logprobs=unpack_array(row["logprobs"]),
        **{
            **kept,
            "calls": [load_call(c) for c in kept["calls"]],
            "results": [load_result(r, images) for r in kept["results"]],
            "observations": [load_message(m, images) for m in kept["observations"]],
        },
    )


def where(filters: Sequence[tuple[str, Any]]) -> tuple[str, list[Any]]:
    """An SQL condition for the filters whose value is given."""
    given = [(name, value) for name, value in filters if value is not None]
    if not given:
        return "", []
    return " WHERE " + " AND ".join(f"{name} = ?" for name, _ in given), [v for _, v in given]
