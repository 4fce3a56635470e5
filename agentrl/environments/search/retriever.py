"""What a search environment asks: hits for a query, and a passage by its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agentrl.environments.search.documents import Document

RRF = 60


@dataclass(slots=True, frozen=True)
class Hit:
    """A passage that was found; scores of different retrievers cannot be compared."""

    passage: Document
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Shared by all episodes of a run, from several threads at once or on one event loop."""

    async def search(self, query: str, top: int) -> list[Hit]:
        """The best `top` passages, best first. Raises InfraError("retriever_down")."""
        ...

    async def passage(self, key: str) -> Document | None:
        """A passage by its id; None when there is none, or the retriever cannot look up."""
        ...

    async def close(self) -> None: ...


def fuse(rankings: Sequence[Sequence[int]], *, constant: int = RRF) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: sum over rankings of 1 / (constant + rank), rank from 1; best first.

    Equal sums keep the order in which the rankings name them.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1.0 / (constant + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
