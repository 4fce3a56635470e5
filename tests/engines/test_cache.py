"""Caches: what may be shared, what is kept, what goes first when room is short."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.engines.cache import BLOCK, CacheStore, KVCache, Shape, common_prefix, shareable

SHAPE = Shape(layers=2, kv_heads=1, head_dim=4, dtype=torch.float32, device=torch.device("cpu"))
ids = st.lists(st.integers(0, 2), max_size=400)


def filled(store: CacheStore, session: str, tokens: list[int]) -> KVCache:
    """A conversation that has computed all but the last of its tokens."""
    cache = store.claim(session, tokens, store.match(session, tokens))
    cache.reserve(len(tokens), SHAPE)
    assert cache.kv is not None
    start = len(cache.tokens)
    cache.kv[:, :, :, start : len(tokens) - 1] = torch.tensor(tokens[start:-1])[:, None].float()
    cache.tokens.extend(tokens[start:-1])
    return cache


@given(a=ids, b=ids, start=ids)
def test_common_prefix_is_the_plain_one(a: list[int], b: list[int], start: list[int]) -> None:
    a, b = start + a, start + b
    plain = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    assert common_prefix(a, b) == (min(len(a), len(b)) if plain is None else plain)


@given(a=ids, b=ids, start=st.lists(st.integers(0, 2), max_size=300))
def test_shared_rows_are_a_common_prefix_that_leaves_one_token(
    a: list[int], b: list[int], start: list[int]
) -> None:
    prompt, tokens = start + a, [*start, *b, 1]
    rows = shareable(prompt, tokens)
    assert rows < len(tokens)
    assert prompt[:rows] == tokens[:rows]
    assert rows % BLOCK == 0 or (rows == len(prompt) == len(tokens) - 1)


def test_a_sibling_takes_the_rows_of_the_same_prompt() -> None:
    store = CacheStore(SHAPE, 10_000)
    prompt = list(range(150))
    filled(store, "a", prompt)
    found = store.match("b", prompt)
    assert (found.ready, found.coming) == (149, 149)
    cache = store.claim("b", prompt, found)
    assert cache.tokens == prompt[:149]
    assert cache.kv is not None
    assert cache.kv[0, 0, 0, :149, 0].tolist() == prompt[:149]


def test_another_prompt_shares_whole_blocks_only() -> None:
    store = CacheStore(SHAPE, 10_000)
    filled(store, "a", list(range(150)))
    assert store.match("b", [*range(140), 7, 7]).ready == 128


def test_rows_sampled_by_one_conversation_are_not_taken_for_a_prompt_of_another() -> None:
    store = CacheStore(SHAPE, 10_000)
    cache = filled(store, "a", list(range(100)))
    store.release(cache)
    longer = list(range(300))
    store.release(filled(store, "a", longer))
    assert store.match("b", longer).ready == 64
    assert store.match("a", [*longer, 5]).kept == 299


def test_a_changed_history_is_cut_back_to_what_still_holds() -> None:
    store = CacheStore(SHAPE, 10_000)
    store.release(filled(store, "a", list(range(200))))
    changed = [*range(120), 9, 9, 9]
    cache = store.claim("a", changed, store.match("a", changed))
    assert cache.tokens == list(range(120))
    # Rows 64 to 119 were computed in a block with others behind them: no longer to be shared.
    assert cache.prompt == list(range(64))


def test_the_whole_history_again_still_computes_its_last_token() -> None:
    store = CacheStore(SHAPE, 10_000)
    store.release(filled(store, "a", list(range(200))))
    assert store.match("a", list(range(150))).kept == 149


def test_ended_conversations_leave_one_copy_of_their_prompt() -> None:
    store = CacheStore(SHAPE, 10_000)
    prompt = list(range(100))
    for name in "abc":
        store.release(filled(store, name, prompt))
        store.release(filled(store, name, [*prompt, *range(300)]))
    for name in "abc":
        store.end(name)
    assert [c.tokens for c in store.caches] == [prompt[:-1]]
    assert store.held < 200


def test_room_is_made_from_ended_then_least_recent_and_never_from_busy_or_kept() -> None:
    store = CacheStore(SHAPE, 512)
    for i, name in enumerate("abcd"):
        cache = filled(store, name, [i] * 128)
        if name != "a":
            store.release(cache)
    store.end("d")
    assert store.held <= 512
    kept = store.match("b", [1] * 128).own
    assert store.make_room(512 - store.held + 120)
    assert {c.session for c in store.caches} == {"a", "b", "c"}
    assert store.evicted == 0
    assert store.make_room(512 - store.held + 120, keep=(kept,))
    assert {c.session for c in store.caches} == {"a", "b"}
    assert store.evicted == 1
    assert not store.make_room(500)
    assert {c.session for c in store.caches} == {"a"}


def test_clearing_forgets_every_row() -> None:
    store = CacheStore(SHAPE, 1000)
    filled(store, "busy", [1] * 100)
    store.release(filled(store, "idle", [2] * 100))
    store.clear()
    assert store.match("x", [1] * 100).coming == 0
    assert store.match("idle", [2] * 100).kept == 0
    assert store.held == 0
