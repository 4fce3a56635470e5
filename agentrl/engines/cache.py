"""KV caches of conversations: kept between turns, shared between prompts, evicted when idle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

BLOCK = 64
"""Prompts are computed in blocks that end at multiples of this many tokens, so that the rows of
a prompt come out bit-identical whichever conversation computed them."""


@dataclass(slots=True)
class Shape:
    """What one token takes in a cache."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device


@dataclass(slots=True, eq=False)
class KVCache:
    """Keys and values of one conversation.

    Attributes:
        kv: [2 * layers, 1, kv_heads, capacity, head_dim]: keys of layer l at 2l, values at
            2l + 1; None while empty.
        tokens: the tokens whose rows are stored.
        prompt: leading tokens whose rows are, or will be, what a fresh prefill of them gives:
            others may copy them.
        session: "" once the conversation is over or when it never had a name.
        busy: a running sequence owns it.
        used: clock of the last use.
    """

    session: str
    kv: torch.Tensor | None = None
    tokens: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0

    @property
    def capacity(self) -> int:
        return 0 if self.kv is None else self.kv.shape[3]

    def reserve(self, length: int, shape: Shape) -> None:
        """Room for `length` tokens; grows by doubling."""
        if length <= self.capacity:
            return
        rows = max(2 * self.capacity, -(-length // BLOCK) * BLOCK)
        fresh = torch.empty(
            (2 * shape.layers, 1, shape.kv_heads, rows, shape.head_dim),
            dtype=shape.dtype,
            device=shape.device,
        )
        if self.kv is not None and self.tokens:
            kept = len(self.tokens)
            fresh[:, :, :, :kept] = self.kv[:, :, :, :kept]
        self.kv = fresh

    def growth(self, length: int) -> int:
        """Tokens of capacity that `reserve(length)` would add."""
        if length <= self.capacity:
            return 0
        return max(2 * self.capacity, -(-length // BLOCK) * BLOCK) - self.capacity

    def cut(self, length: int) -> None:
        """Forget all rows from `length` on."""
        del self.tokens[length:]
        if length < len(self.prompt):
            del self.prompt[length - length % BLOCK :]

    def clear(self) -> None:
        self.kv, self.tokens, self.prompt = None, [], []

    def copy_from(self, other: KVCache, length: int, shape: Shape) -> None:
        """Take the first `length` rows of another conversation that starts alike."""
        assert other.kv is not None
        self.tokens = []
        self.reserve(length + BLOCK, shape)
        assert self.kv is not None
        self.kv[:, :, :, :length] = other.kv[:, :, :, :length]
        self.tokens = other.tokens[:length]


class CacheStore:
    """All caches of an engine, under a budget of tokens.

    Args:
        budget: tokens of capacity that idle and running conversations may hold together.
    """

    def __init__(self, shape: Shape, budget: int) -> None:
        self.shape, self.budget = shape, budget
        self.caches: list[KVCache] = []
        self.evicted = 0
        self._sessions: dict[str, KVCache] = {}
        self._clock = 0

    @property
    def held(self) -> int:
        """Tokens of capacity in use."""
        return sum(c.capacity for c in self.caches)

    def session(self, name: str) -> KVCache | None:
        return self._sessions.get(name)

    def claim(self, session: str, tokens: list[int]) -> tuple[KVCache, int]:
        """The cache that a run over `tokens` starts from, marked busy, and how many of its rows
        were copied from another conversation just now.

        It is the session's own, cut back to what `tokens` still start with, or a new one; either
        takes over rows of another conversation when that has more of this prompt.
        """
        cache = self._sessions.get(session) if session else None
        if cache is None or cache.busy:
            name = session if session and cache is None else ""
            cache = KVCache(name)
            self.caches.append(cache)
            if name:
                self._sessions[name] = cache
        # The last token is always computed anew: its output row is what is sampled from.
        cache.cut(min(common_prefix(cache.tokens, tokens), len(tokens) - 1))
        cache.busy = True
        self._touch(cache)
        source, length = self.best_prefix(tokens, cache, computed=True)
        copied = source is not None and length > len(cache.tokens)
        if source is not None and copied:
            cache.copy_from(source, length, self.shape)
            self._touch(source)
        if copied or not cache.tokens:
            cache.prompt = tokens[:-1]
        return cache, length if copied else 0

    def best_prefix(
        self, tokens: list[int], own: KVCache | None, *, computed: bool
    ) -> tuple[KVCache | None, int]:
        """Whose prompt has most of `tokens`: the cache and how many rows may be copied.

        Args:
            computed: count the rows that are there now, not those that are still to come.
        """
        best: KVCache | None = None
        longest = 0
        for cache in self.caches:
            if cache is own or len(cache.prompt) <= longest:
                continue
            length = shareable(cache.prompt, tokens)
            if computed and length > len(cache.tokens):
                # Its sequence is still computing: whole blocks only.
                length = len(cache.tokens) - len(cache.tokens) % BLOCK
            if length > longest:
                best, longest = cache, length
        return best, longest

    def release(self, cache: KVCache) -> None:
        """The run over it is done; the rows stay for the next turn."""
        cache.busy = False
        self._touch(cache)
        if len(cache.tokens) < len(cache.prompt):
            cache.cut(len(cache.tokens))
        if not cache.session:
            self._retire(cache)

    def end(self, session: str) -> None:
        """The conversation is over. Its prompt stays for siblings yet to come, unless another
        conversation holds the same; the rest is freed."""
        cache = self._sessions.pop(session, None)
        if cache is None:
            return
        cache.session = ""
        if not cache.busy:
            self._retire(cache)

    def drop(self, cache: KVCache) -> None:
        if cache in self.caches:
            self.caches.remove(cache)
        if self._sessions.get(cache.session) is cache:
            del self._sessions[cache.session]
        cache.clear()

    def make_room(self, need: int, keep: tuple[KVCache | None, ...] = ()) -> bool:
        """Evict idle caches, ended ones first, then least recently used, until `need` more
        tokens fit. False when busy ones alone leave no such room."""
        excess = self.held + need - self.budget
        for cache in self._idle():
            if excess <= 0:
                break
            if cache in keep:
                continue
            excess -= cache.capacity
            self.evicted += bool(cache.session)
            self.drop(cache)
        return excess <= 0

    def clear(self) -> None:
        """Forget every row: the weights that made them are gone."""
        for cache in self.caches:
            cache.clear()
        self.caches = [c for c in self.caches if c.busy]
        self._sessions = {c.session: c for c in self.caches if c.session}

    def _idle(self) -> Iterator[KVCache]:
        idle = [c for c in self.caches if not c.busy]
        yield from sorted(idle, key=lambda c: (c.session != "", c.used))

    def _retire(self, cache: KVCache) -> None:
        kept = min(len(cache.prompt), len(cache.tokens))
        prompt = cache.prompt[:kept]
        others = (c for c in self.caches if c is not cache)
        if kept < BLOCK or any(c.tokens[:kept] == prompt and c.prompt == prompt for c in others):
            self.drop(cache)
            return
        if cache.kv is not None and cache.capacity > kept + BLOCK:
            cache.kv = cache.kv[:, :, :, :kept].clone()
        cache.tokens, cache.prompt = cache.tokens[:kept], prompt

    def _touch(self, cache: KVCache) -> None:
        self._clock += 1
        cache.used = self._clock


def shareable(prompt: list[int], tokens: list[int]) -> int:
    """Rows that a run over `tokens` may take from a cache of `prompt`: all but the last token of
    the very same prompt, else whole blocks. Anything between would change the last bits."""
    want = len(tokens) - 1
    common = common_prefix(prompt, tokens[:want])
    if common == want == len(prompt):
        return want
    return common - common % BLOCK


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common start."""
    high = min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
