"""The run directory keeps what it was given."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentrl.core import (
    Check,
    Episode,
    Image,
    Message,
    PlacedImage,
    Score,
    Segment,
    Status,
    Task,
    ToolCall,
    ToolResult,
    Turn,
)
from agentrl.store import RunStore, StoreError

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Every code point, lone surrogates and NUL included: tools print anything. Two that follow each
# other as halves of one character come back as that character, and no decoder makes them.
text = st.text(st.characters(), max_size=12).filter(lambda said: not _PAIR.search(said))
floats = st.floats(width=64)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_dicts = st.dictionaries(text, json_values, max_size=3)
by_name = st.dictionaries(text, floats, max_size=3)


@st.composite
def arrays(draw: Any, dtype: str, length: int) -> np.ndarray:
    """Any bit pattern, NaN payloads included."""
    size = np.dtype(dtype).itemsize * length
    raw = draw(st.binary(min_size=size, max_size=size))
    return np.frombuffer(bytearray(raw), dtype)


images = st.builds(Image, st.binary(max_size=8), text)


@st.composite
def segments(draw: Any) -> Segment:
    n = draw(st.integers(0, 20))
    origin = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.uint8)
    kinds = ("<i4", "<f4", "<i2", "<i4")
    tokens, logprobs, turn, weights = (draw(arrays(kind, n)) for kind in kinds)
    bounds = st.integers(0, n)
    placed = draw(st.lists(st.builds(PlacedImage, bounds, bounds, images), max_size=2))
    return Segment(tokens, origin, logprobs, turn, weights, placed)


calls = st.builds(ToolCall, text, json_dicts, text, text, st.none() | text)
results = st.builds(ToolResult, text, st.booleans(), st.none() | text, floats, st.lists(images))
messages = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    text,
    st.lists(calls, max_size=2),
    text,
    text,
    st.lists(images, max_size=1),
    st.booleans(),
)
tasks = st.builds(Task, text, text, text, json_dicts, json_dicts, json_dicts)
checks = st.builds(Check, text, floats, st.none() | st.booleans(), text)
scores = st.builds(
    Score, floats, st.lists(checks, max_size=2), st.lists(floats, max_size=3), text, st.booleans()
)


@st.composite
def turns(draw: Any) -> Turn:
    n = draw(st.integers(0, 10))
    return Turn(
        draw(arrays("<i4", n)),
        draw(arrays("<f4", n)),
        draw(text),
        draw(st.lists(calls, max_size=2)),
        draw(st.lists(results, max_size=2)),
        draw(st.lists(messages, max_size=2)),
        draw(by_name),
        draw(text),
        draw(by_name),
    )


EPISODE = {
    "task": tasks,
    "id": text,
    "seed": st.integers(0, 2**63 - 1),
    "status": st.sampled_from(Status),
    "cause": text,
    "prompt": st.lists(messages, max_size=2),
    "turns": st.lists(turns(), max_size=3),
    "segments": st.lists(segments(), max_size=2),
    "outcome": json_dicts,
    "scores": st.dictionaries(text, scores, max_size=3),
    "guidance": json_dicts,
    "branch": json_dicts,
    "tools": st.lists(json_dicts, max_size=2),
    "source": text,
    "timings": by_name,
}
episodes = st.builds(Episode, **EPISODE)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit: types, order of keys, NaN and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__slots__") and type(a).__module__.startswith("agentrl"):
        return all(same(getattr(a, n), getattr(b, n)) for n in a.__slots__)
    return bool(a == b)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with RunStore.create(tmp_path / "run", {"model": "tiny"}) as opened:
        yield opened


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(episodes, min_size=1, max_size=2))
def test_episodes_come_back_bit_for_bit(store: RunStore, given: list[Episode]) -> None:
    store.rewind(0)
    store.add_episodes(5, "train", given)
    assert same(store.episodes(step=5), given)
    assert [s.task for s in store.summaries()] == [
        e.task.id.encode("utf-8", "backslashreplace").decode() for e in given
    ]


def test_every_field_of_an_episode_is_in_the_round_trip() -> None:
    assert set(EPISODE) == {field.name for field in fields(Episode)}


def episode(task: str, number: int, reward: float | None = 1.0) -> Episode:
    scores = {} if reward is None else {"reward": Score(reward)}
    return Episode(Task(task, "do"), f"{task}/{number}", scores=scores, status=Status.COMPLETED)


def test_filters_limits_and_summaries(store: RunStore) -> None:
    store.add_episodes(1, "train", [episode("a", 0), episode("b", 0, 0.0)])
    store.add_episodes(2, "eval", [episode("a", 1, None)])
    ids = lambda **filters: [e.id for e in store.episodes(**filters)]  # noqa: E731
    assert ids() == ["a/0", "b/0", "a/1"]
    assert ids(task="a") == ["a/0", "a/1"]
    assert ids(task="a", step=1) == ids(split="train", task="a") == ["a/0"]
    assert ids(newest=True, limit=1) == ["a/1"]
    assert ids(id="b/0", status=Status.COMPLETED) == ["b/0"]
    assert ids(status=Status.INFRA_ERROR) == []
    assert [s.reward for s in store.summaries()] == [1.0, 0.0, None]


def test_a_task_is_stored_once_and_shared(store: RunStore) -> None:
    task = Task("big", "x" * 100_000)
    store.add_episodes(0, "train", [Episode(task, str(i)) for i in range(50)])
    assert (store.directory / "run.db-wal").stat().st_size < 1_000_000
    back = store.episodes()
    assert all(e.task is back[0].task for e in back)


def test_odd_values_of_user_code_lose_no_episode(store: RunStore) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    odd = Episode(Task("t", "p", payload={"lock": threading.Lock(), "set": {2, 1}}))
    odd.outcome = {("a", 1): np.float32(0.5), "loop": loop, "path": Path("x"), "n": np.arange(2)}
    store.add_episodes(0, "train", [odd])
    (back,) = store.episodes()
    assert back.outcome["('a', 1)"] == 0.5
    assert back.outcome["n"] == [0, 1]
    assert back.task.payload["set"] == [1, 2]
    assert "lock" in back.task.payload["lock"]


def test_a_transaction_is_all_or_nothing(store: RunStore) -> None:
    store.add_metrics(0, {"reward": 0.0})

    def half_a_step() -> None:
        with store.transaction():
            store.add_episodes(1, "train", [episode("a", 0)])
            store.add_metrics(1, {"reward": 1.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_a_step()
    assert store.episodes() == []
    assert store.metrics() == {"reward": [(0, 0.0)]}


def test_metrics_by_name_and_prefix(store: RunStore) -> None:
    store.add_metrics(2, {"reward/mean": 1.0, "reward_max": 2.0, "loss": float("nan")})
    store.add_metrics(1, {"reward/mean": 0.5})
    store.add_metrics(2, {"reward/mean": 1.5})
    assert store.metrics("reward/") == {"reward/mean": [(1, 0.5), (2, 1.5)]}
    assert set(store.metrics("reward")) == {"reward/mean", "reward_max"}
    assert np.isnan(store.metrics("loss")["loss"][0][1])
    assert store.metrics("%") == {}


def test_failures_and_meta(store: RunStore) -> None:
    store.add_failure(3, "a", ["a/0", "a/1"])
    store.add_failure(4, "b", ["b/0"])
    assert [(f.step, f.task, f.episodes) for f in store.failures()] == [
        (3, "a", ["a/0", "a/1"]),
        (4, "b", ["b/0"]),
    ]
    assert [f.step for f in store.failures("b")] == [4]
    store.set_meta("sampler", {"epoch": 2})
    assert store.meta("sampler") == {"epoch": 2}
    assert store.meta("nothing", 7) == 7


def test_rewind_forgets_what_came_after_a_step(store: RunStore) -> None:
    for step in (1, 2, 3):
        store.add_episodes(step, "train", [episode("a", step)])
        store.add_metrics(step, {"x": step})
        store.add_failure(step, "a", [])
    store.rewind(1)
    assert [e.id for e in store.episodes()] == ["a/1"]
    assert store.metrics() == {"x": [(1, 1.0)]}
    assert len(store.failures()) == 1


def test_rewind_can_spare_metrics_that_count_other_steps(store: RunStore) -> None:
    store.add_metrics(5, {"imitation/loss": 1.0, "x": 1.0})
    store.rewind(0, spare="imitation/")
    assert store.metrics() == {"imitation/loss": [(5, 1.0)]}
    store.rewind(0)
    assert store.metrics() == {}


def test_writing_from_many_threads_loses_nothing(store: RunStore) -> None:
    async def main() -> None:
        adds = [
            asyncio.to_thread(store.add_episodes, step, "train", [episode("a", step)])
            for step in range(40)
        ]
        await asyncio.gather(*adds)

    asyncio.run(main())
    assert sorted(s.step for s in store.summaries()) == list(range(40))


def test_a_reader_sees_a_run_that_is_being_written(store: RunStore) -> None:
    store.add_metrics(1, {"x": 1.0})
    with RunStore.open(store.directory, read_only=True) as reader:
        assert reader.metrics() == {"x": [(1, 1.0)]}
        store.add_metrics(2, {"x": 2.0})
        assert len(reader.metrics()["x"]) == 2
        assert reader.config == {"model": "tiny"}


def test_two_writers_are_refused(store: RunStore) -> None:
    with pytest.raises(StoreError, match="another process is writing this run"):
        RunStore.open(store.directory)
    store.close()
    RunStore.open(store.directory).close()


def test_create_never_overwrites_a_run(store: RunStore) -> None:
    with pytest.raises(StoreError, match="already holds a run") as error:
        RunStore.create(store.directory, {})
    assert "--resume" in str(error.value)


def test_open_of_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run directory"):
        RunStore.open(tmp_path)


def test_a_run_of_a_newer_agentrl_is_refused(store: RunStore) -> None:
    import sqlite3

    store.close()
    connection = sqlite3.connect(store.directory / "run.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer agentrl") as error:
        RunStore.open(store.directory)
    assert "upgrade" in str(error.value)


def test_a_damaged_database_is_named(store: RunStore) -> None:
    store.close()
    (store.directory / "run.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="opening the run's database failed"):
        RunStore.open(store.directory)


def test_an_image_is_stored_once_however_often_it_is_shown(tmp_path):
    image = Image(bytes(range(256)) * 400)
    placed = [PlacedImage(0, 2, image)]
    none = np.zeros(0, np.int32)
    segment = Segment(none, none, none, none, none, placed)
    shown = Message("user", "look", images=[image, image])
    episode = Episode(Task("t", ""), prompt=[shown], segments=[segment, segment])
    with RunStore.create(tmp_path / "run", {}) as store:
        store.add_episodes(0, "train", [episode] * 20)
        again = list(store.episodes())
    assert len(again) == 20
    assert all(same(e.prompt, episode.prompt) for e in again)
    assert all(same(e.segments, episode.segments) for e in again)
    size = (tmp_path / "run" / "run.db").stat().st_size
    assert size < 3 * len(image.data)


def test_a_run_from_before_images_had_a_table_is_read_and_written(tmp_path):
    old = Episode(Task("t", ""), prompt=[Message("user", "hi")])
    with RunStore.create(tmp_path / "run", {}) as store:
        store.add_episodes(0, "train", [old])
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "run.db")) as database:
        database.executescript(
            "DROP TABLE images; DROP TABLE segment_images; PRAGMA user_version = 1;"
        )
    with RunStore.open(tmp_path / "run", read_only=True) as store:
        assert [e.prompt for e in store.episodes()] == [old.prompt]
    seen = Episode(Task("t", ""), prompt=[Message("user", "hi", images=[Image(b"x")])])
    with RunStore.open(tmp_path / "run") as store:
        store.add_episodes(1, "train", [seen])
        assert [e.prompt for e in store.episodes()] == [old.prompt, seen.prompt]
