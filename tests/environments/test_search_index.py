"""Indexes: every backend finds, all grow, and whatever happens to the files is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.core import ConfigError
from agentrl.environments.search import (
    Document,
    build_index,
    fuse,
    open_index,
    read_documents,
)
from agentrl.environments.search.documents import passages
from agentrl.environments.search.passages import Passages, write_passages

TEXTS = {
    "cat": "The cat sleeps on the warm roof. It hunts mice at night.",
    "dog": "A dog guards the house. It barks when strangers come near.",
    "ship": "The ship crossed the ocean with cotton and sugar aboard.",
    "moon": "The moon pulls the tides. Its far side is never seen from here.",
}
TEXT = st.text(max_size=20)
QUERY = {
    "cat": "hunting mice",
    "dog": "barks at strangers",
    "ship": "cotton aboard",
    "moon": "tides",
}


def write(path: Path, names: list[str]) -> Path:
    lines = [json.dumps({"id": n, "title": n.title(), "text": TEXTS[n]}) for n in names]
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    return write(tmp_path / "docs.jsonl", list(TEXTS))


@pytest.mark.timeout(900)  # wall time of importing torch where many share the cores
@pytest.mark.parametrize("backend", ["tantivy", "bm25s", "dense"])
def test_every_backend_finds_and_grows(tmp_path, backend):
    first = write(tmp_path / "first.jsonl", ["cat", "dog"])
    both = write(tmp_path / "both.jsonl", list(TEXTS))
    folder = tmp_path / "index"
    report = build_index(folder, [first], backends=[backend])
    assert (report.added, report.known, report.passages) == (2, 0, 2)
    report = build_index(folder, [both], backends=[backend])
    assert (report.added, report.known, report.passages) == (2, 2, 4)
    index = open_index(folder)
    for name, query in QUERY.items():
        hits = index.find(query, 2)
        assert hits[0].passage == Document(name, TEXTS[name], name.title())
        assert all(a.score >= b.score for a, b in pairwise(hits))
    assert len(index.find("the", 10)) <= 4
    assert len(list(folder.iterdir())) == 2  # the manifest and one generation


@pytest.mark.timeout(900)
def test_a_meaning_without_a_shared_word_is_found_by_vectors_only(tmp_path, documents):
    folder = tmp_path / "index"
    build_index(folder, [documents], backends=["tantivy", "dense"])
    query = "vessel sailing across the sea"
    assert open_index(folder, "dense").find(query, 1)[0].passage.id == "ship"
    assert all(h.passage.id != "ship" or h.score == 0 for h in open_index(folder, "tantivy").find(
        "vessel sailing across sea", 4))  # fmt: skip
    assert open_index(folder).backend == "hybrid"
    assert open_index(folder).find("cotton vessel", 1)[0].passage.id == "ship"


def test_reciprocal_rank_fusion():
    assert fuse([[1, 2, 3], [3, 1]]) == [(1, 1 / 61 + 1 / 62), (3, 1 / 63 + 1 / 61), (2, 1 / 62)]
    assert fuse([[], []]) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4))
def test_fusion_keeps_what_all_rank_first(rankings):
    fused = [row for row, _ in fuse([[99, *r] for r in rankings])]
    assert not rankings or fused[0] == 99
    assert len(fused) == len(set(fused)) == len({row for r in rankings for row in r} | {99}) or (
        not rankings
    )


@pytest.mark.parametrize(
    "query", ["", "...", "\0", "NOT OR (", "x" * 100_000, "zzz", '"' * 9, "id:1"]
)
@pytest.mark.parametrize("backend", ["tantivy", "bm25s"])
def test_odd_queries_find_nothing_and_break_nothing(tmp_path, documents, query, backend):
    build_index(tmp_path / "index", [documents], backends=[backend])
    assert open_index(tmp_path / "index").find(query, 3) == []


def test_documents_of_every_kind(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub dir").mkdir(parents=True)
    write(folder / "a.jsonl", ["cat"])
    table = pyarrow.table({"id": [7], "contents": ["A parquet passage."], "title": [None]})
    pyarrow.parquet.write_table(table, folder / "b.parquet")
    (folder / "sub dir" / "note [1].txt").write_bytes(b"caf\xe9")
    (folder / "ignored.bin").write_bytes(b"x")
    found = list(read_documents([folder]))
    assert [d.id for d in found] == ["cat", "7", "sub_dir/note_1_.txt"]
    assert [d.text for d in found[1:]] == ["A parquet passage.", "caf\ufffd"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"id": "x"}', "a.jsonl:1: a document needs an `id`"),
        ("a.jsonl", b'{"id": "x", "text": "t"}\n{', "a.jsonl:2: not JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not JSON"),
        ("a.jsonl", b'{"id": true, "text": "t"}', "needs an `id`"),
        ("a.parquet", b"no parquet", "a.parquet: not a Parquet file"),
        ("a.jsonl", b"", "there is no document to index"),
    ],
)
def test_bad_documents_are_told_and_leave_nothing(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        build_index(tmp_path / "index", [tmp_path / name])
    assert said in str(caught.value)
    assert list((tmp_path / "index").iterdir()) == []


def test_a_missing_file_and_an_empty_folder_are_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        build_index(tmp_path / "index", [tmp_path / "none.jsonl"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no documents"):
        build_index(tmp_path / "index", [tmp_path / "empty"])


def test_passages_are_windows_of_sentences():
    document = Document("d", "One. Two! Three? Four.", "T")
    cut = list(passages(document, 3))
    assert [(p.id, p.text) for p in cut] == [("d#0", "One. Two! Three?"), ("d#1", "Four.")]
    assert list(passages(document, 4)) == list(passages(document, 0)) == [document]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(TEXT, TEXT), max_size=6))
def test_passages_are_read_back_by_row_and_by_id(tmp_path_factory, items):
    folder = tmp_path_factory.mktemp("passages")
    given_ = [Document(k, text, title.replace("\0", "")) for k, (text, title) in items.items()]
    assert write_passages(folder, given_) == len(given_)
    stored = Passages(folder)
    assert list(stored) == given_
    for row, document in enumerate(given_):
        assert stored.row(document.id) == row
    assert stored.row("\x01 not there") is None


@pytest.mark.parametrize("harm", ["cut", "missing", "flipped manifest", "other format", "no json"])
@pytest.mark.parametrize("backend", ["tantivy", "bm25s"])
def test_a_damaged_index_is_told_and_can_be_built_again(tmp_path, documents, harm, backend):
    folder = tmp_path / "index"
    build_index(folder, [documents], backends=[backend])
    manifest = folder / "manifest.json"
    data = json.loads(manifest.read_text())
    files = sorted((folder / "1").rglob("*"))
    victims = [f for f in files if f.is_file() and f.stat().st_size] if harm == "cut" else files[:1]
    for victim in victims:
        kept = victim.read_bytes() if victim.is_file() else b""
        if harm == "cut":
            victim.write_bytes(kept[: len(kept) // 2])
        elif harm == "missing":
            (folder / "1" / "text.bin").unlink()
        elif harm == "flipped manifest":
            manifest.write_text(json.dumps({**data, "surprise": 1}))
        elif harm == "other format":
            manifest.write_text(json.dumps({**data, "format": 99}))
        else:
            manifest.write_text("{")
        with pytest.raises(ConfigError, match=r"damaged|format 99"):
            open_index(folder)
        if harm == "cut":
            victim.write_bytes(kept)
    if harm == "cut":
        assert open_index(folder).find("tides", 1)[0].passage.id == "moon"


def test_content_that_was_overwritten_is_told(tmp_path, documents):
    """Same sizes, other bytes: the readers of the formats notice, and it is told the same way."""
    folder = tmp_path / "index"
    build_index(folder, [documents])
    for victim in sorted((folder / "1").rglob("*")):
        if victim.name in ("meta.json", "table.npy", "keys.npy"):
            kept = victim.read_bytes()
            victim.write_bytes(b"\xff" * len(kept))
            with pytest.raises(ConfigError, match="damaged"):
                open_index(folder)
            victim.write_bytes(kept)


def test_other_settings_than_before_are_refused(tmp_path, documents):
    build_index(tmp_path / "index", [documents])
    with pytest.raises(ConfigError, match="was built with sentences=0 and backends tantivy"):
        build_index(tmp_path / "index", [documents], sentences=1)
    with pytest.raises(ConfigError, match="no backend 'bm25s'"):
        open_index(tmp_path / "index", "bm25s")
    with pytest.raises(ConfigError, match="unknown backend"):
        build_index(tmp_path / "other", [documents], backends=["lucene"])
    with pytest.raises(ConfigError, match="there is no index here"):
        open_index(tmp_path / "nowhere")


KILLED = """
import sys, time
from agentrl.environments.search import build_index
def told(stage, done):
    if stage == "tantivy":
        print("ranking", flush=True)
        time.sleep(60)
build_index(sys.argv[1], [sys.argv[2]], told=told)
"""


def test_a_build_killed_half_way_leaves_the_old_index_whole(tmp_path, documents):
    folder = tmp_path / "index"
    build_index(folder, [documents])
    many = tmp_path / "many.jsonl"
    lines = (json.dumps({"id": i, "text": f"passage number {i}"}) for i in range(1500))
    many.write_text("\n".join(lines))
    argv = [sys.executable, "-c", KILLED, str(folder), str(many)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ranking\n"
        os.kill(process.pid, signal.SIGKILL)
    assert (folder / "2").is_dir()
    assert open_index(folder).find("tides", 1)[0].passage.id == "moon"
    assert build_index(folder, [many]).passages == 1504
    assert open_index(folder).find("number 1234", 1)[0].passage.id == "1234"
    assert sorted(p.name for p in folder.iterdir()) == ["2", "manifest.json"]


@pytest.mark.parametrize("backend", ["tantivy", "bm25s"])
def test_64_at_once_get_what_one_gets(tmp_path, backend):
    rng = np.random.default_rng(0)
    vocabulary = [f"w{i}" for i in range(300)]
    file = tmp_path / "docs.jsonl"
    texts = [" ".join(rng.choice(vocabulary, 30)) for _ in range(2000)]
    file.write_text("\n".join(json.dumps({"id": i, "text": t}) for i, t in enumerate(texts)))
    build_index(tmp_path / "index", [file], backends=[backend])
    index = open_index(tmp_path / "index")
    queries = [" ".join(rng.choice(vocabulary, 4)) for _ in range(64)]
    alone = [index.find(q, 3) for q in queries]
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda q: index.find(q, 3), queries)) == alone


def test_opening_reads_nothing_of_the_passages(tmp_path):
    """Memory-mapped: opening a large index takes the time of opening a small one."""
    items = (Document(str(i), "x" * 10_000) for i in range(3000))
    write_passages(tmp_path, items)
    started = time.process_time()
    assert Passages(tmp_path)[2999].id == "2999"
    assert time.process_time() - started < 0.5
