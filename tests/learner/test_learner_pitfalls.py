"""What went wrong elsewhere and cannot here: one test for each, named after what it catches."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_kit import (
    VOCAB,
    close,
    episode,
    gradient_of,
    group,
    learner,
    make_on_policy,
    tiny_model,
)

from agentrl.core import Group, Origin, SegmentBuilder
from agentrl.learner.rows import Row, make_rows
from agentrl.learner.settings import Aggregation
from agentrl.learner.weights import aggregation_weights


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_rows(r: np.random.Generator, episodes: int) -> list[Row]:
    rows = []
    for e in range(episodes):
        for _ in range(int(r.integers(1, 3))):
            n = int(r.integers(1, 9))
            zeros = np.zeros(n, np.int64)
            turn = np.sort(r.integers(0, 3, n))
            rows.append(Row(e, np.zeros(n, np.int64), zeros, zeros, np.zeros(n), turn, zeros))
    return rows


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_mean_of_means_depends_on_the_split(seed: int, episodes: int) -> None:
    """Weights of every mean sum to one over all rows, and to equal shares of episodes (turns)."""
    rows = random_rows(rng(seed), episodes)
    for kind in ("token", "sequence", "turn"):
        weights = aggregation_weights(rows, Aggregation(kind=kind))
        assert sum(w.sum() for w in weights) == pytest.approx(1.0)
        of = np.zeros(episodes)
        np.add.at(of, [r.episode for r in rows], [w.sum() for w in weights])
        if kind != "token":
            np.testing.assert_allclose(of, 1.0 / episodes)
    constant = aggregation_weights(rows, Aggregation(kind="constant", constant=7))
    tokens = sum(len(r.target) for r in rows)
    assert sum(w.sum() for w in constant) == pytest.approx(tokens / (7 * episodes))


def test_turn_mean_weighs_turns_of_an_episode_alike() -> None:
    turn = np.array([0, 0, 0, 1])
    zeros = np.zeros(4, np.int64)
    row = Row(0, zeros, zeros, zeros, np.zeros(4), turn, zeros)
    (weight,) = aggregation_weights([row], Aggregation(kind="turn"))
    np.testing.assert_allclose(weight, [1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_token_count_includes_observations() -> None:
    """Ten more observed tokens change no denominator."""
    few = [group(rng(1), [1.0, 0.0], shapes=[((3, 0), (4, 0))], prompt=[1, 2])]
    out = learner(algorithm="dapo").step(few)
    many = [group(rng(1), [1.0, 0.0], shapes=[((3, 10), (4, 0))], prompt=[1, 2])]
    more = learner(algorithm="dapo").step(many)
    assert out["tokens_trained"] == more["tokens_trained"] == 14
    rows = make_rows(many[0].episodes)
    weights = aggregation_weights(rows, Aggregation(kind="token"))
    np.testing.assert_allclose(np.concatenate(weights), 1 / 14)


def test_overlong_filter_zeroes_one_mask_but_not_the_tool_mask() -> None:
    """A filtered episode has no entry in any array that the loss reads."""
    g = group(rng(), [1.0, 0.0, 0.5], shapes=[((3, 5), (2, 0))])
    from agentrl.core import Status

    g.episodes[1].status = Status.MAX_TURNS
    seen: list[int] = []
    subject = learner(algorithm="dapo")
    batches = subject.looks.micro_batches

    def spy(rows: Any) -> Any:
        seen.extend(r.episode for r in rows)
        return batches(rows)

    subject.looks.micro_batches = spy  # type: ignore[method-assign]
    subject.step([g])
    assert set(seen) <= {0, 2}


def test_logprob_memory_at_long_context_times_vocabulary(monkeypatch: Any) -> None:
    """The head never sees an observation or a prompt token."""
    sizes: list[int] = []
    from agentrl.learner import trunk

    real = trunk.token_logprobs

    def spy(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(hidden))
        return real(hidden, *args, **kwargs)

    monkeypatch.setattr(trunk, "token_logprobs", spy)
    g = group(rng(), [1.0, 0.0], prompt=[1] * 300, shapes=[((3, 200), (4, 0))])
    learner().step([g])
    assert sum(sizes) == 14


def test_left_padding_without_positions_shifts_rope() -> None:
    """Rows behind other rows get the log-probabilities that they have alone."""
    subject = learner(share_prefixes=False)
    rows = make_rows([e for k in range(3) for e in group(rng(k), [0.0] * 2, prompt=[k]).episodes])
    (batch,) = subject.looks.micro_batches(rows)
    together = subject.trunk.logprobs(batch)[0].detach()
    alone = []
    for row in batch.rows:
        (own,) = subject.looks.micro_batches([row])
        alone.append(subject.trunk.logprobs(own)[0].detach())
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_trainer_disagrees_with_itself_at_another_micro_batch_size() -> None:
    """On policy the ratio is exactly one: it is taken to the very same numbers."""
    model = tiny_model(dtype=torch.float32)
    groups = make_on_policy([group(rng(), [1.0, 0.0, 0.5])], copy.deepcopy(model))
    for budget in (1, 4096):
        out = learner(copy.deepcopy(model), token_budget=budget).step(groups)
        assert out["ratio_mean"] == out["ratio_max"] == 1.0
        assert out["clip_low"] == out["clip_high"] == 0.0
        assert out["mismatch_max"] < 1e-4


def test_sequence_level_ratio_explodes_with_length() -> None:
    """The default sequence ratio is the geometric mean: 1.1 stays 1.1 over 400 tokens."""
    e = [episode(rng(i), float(i), prompt=[1, 2], turns=((400, 0),), name=str(i)) for i in (0, 1)]
    groups = make_on_policy([Group(("g",), e)], tiny_model())
    for x in e:
        x.segments[0].logprobs = x.segments[0].logprobs - np.log(1.1)
    out = learner(algorithm="gspo", ratio={"old": "behaviour"}).step(groups)
    assert out["ratio_max"] == pytest.approx(1.1, rel=1e-5)


def test_end_token_appended_by_the_trainer() -> None:
    """No target that was not sampled, and none twice, over two segments of one episode."""
    e = episode(rng(), 1.0, turns=((3, 2), (4, 0)))
    first = e.segments[0]
    again = SegmentBuilder()
    again.append([7, 8], Origin.PROMPT, -1)
    again.append(first.tokens[first.turn == 0].tolist(), Origin.PROMPT, -1)
    again.append_sampled([9, 10], [-1.0, -2.0], [0, 0], 2)
    e.segments.append(again.build())
    targets = np.concatenate([r.target for r in make_rows([e])])
    sampled = np.concatenate([s.tokens[s.action_mask] for s in e.segments])
    np.testing.assert_array_equal(targets, sampled)


def test_zero_variance_is_judged_on_the_full_group() -> None:
    """A group split over micro-batches and mini-batches keeps its baseline."""
    g = [group(rng(), [1.0, 1.0, 0.0, 0.0])]
    assert close(gradient_of(g), gradient_of(g, token_budget=1))
    assert learner(token_budget=1).step(g)["zero_variance_groups"] == 0.0


def test_no_row_is_ever_copied_to_fill_a_batch() -> None:
    subject = learner(token_budget=17)
    rows = make_rows([e for k in range(5) for e in group(rng(k), [0.0] * 3).episodes])
    packed = [r for b in subject.looks.micro_batches(rows) for r in b.rows]
    assert sorted(map(id, packed)) == sorted(map(id, rows))


FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Mistral": {"sliding_window": None},
    "SmolLM3": {"no_rope_layers": [1, 0], "pad_token_id": 0},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_holds_for_other_families(family: str) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        **FAMILIES[family],
    )
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    check_against_transformers(model)


def check_against_transformers(model: Any) -> None:
    plain = copy.deepcopy(model)
    subject = learner(model, min_shared=2)
    rows = make_rows([e for k in range(2) for e in group(rng(k), [0.0] * 3).episodes])
    for batch in subject.looks.micro_batches(rows):
        got = subject.trunk.logprobs(batch)[0].detach()
        want = []
        for row in batch.rows:
            logits = plain(input_ids=torch.as_tensor(row.tokens)[None]).logits[0]
            logps = logits[torch.as_tensor(row.where)].log_softmax(-1)
            want.append(logps.gather(1, torch.as_tensor(row.target)[:, None])[:, 0].detach())
        torch.testing.assert_close(got, torch.cat(want), rtol=1e-4, atol=1e-4)


def test_recurrent_layers_are_trained_row_by_row(caplog: Any) -> None:
    """State would leak from row to row: the learner says so and takes the slow path."""
    torch.manual_seed(0)
    config = transformers.Qwen3NextConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention"],
        num_experts=0,
        mlp_only_layers=[0, 1],
        max_position_embeddings=512,
    )
    model = transformers.Qwen3NextForCausalLM(config).eval()
    with caplog.at_level(logging.WARNING):
        check_against_transformers(model)
    assert "linear_attention carry state" in caplog.text
