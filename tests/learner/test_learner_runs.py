"""Steps, checkpoints, ranks, staleness, and what bad input does."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from learner_kit import (
    Gradient,
    close,
    episode,
    gradient_of,
    group,
    learner,
    make_on_policy,
    tiny_model,
)

from agentrl.core import Group, Origin, SegmentBuilder
from agentrl.learner import LearnerError, LearnerSettings
from agentrl.learner.optim import schedule_factor
from agentrl.learner.ranks import share
from agentrl.learner.rows import make_rows
from agentrl.models.forest import Forest, Span


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_groups(seed: int = 0) -> list[Group]:
    r = rng(seed)
    return [group(r, [1.0, 0.0, 0.5], "a"), group(r, [0.0, 1.0], "b"), group(r, [0.2, 0.9], "c")]


# Rows: what is trained.


def test_every_sampled_token_is_trained_once_with_its_own_logprob() -> None:
    e = episode(rng(), 1.0, turns=((3, 2), (4, 1)), hint=2)
    (segment,) = e.segments
    (row,) = make_rows([e])
    mask = segment.action_mask
    np.testing.assert_array_equal(row.target, segment.tokens[mask])
    np.testing.assert_allclose(row.behave, segment.logprobs[mask])
    np.testing.assert_array_equal(row.where, np.flatnonzero(mask) - 1)
    np.testing.assert_array_equal(row.tokens, segment.tokens[: np.flatnonzero(mask)[-1]])


def test_generation_prompt_tokens_are_not_trained() -> None:
    """Only what the policy sampled is a target; prompt, observation and hint never are."""
    e = episode(rng(), 1.0, turns=((3, 2), (4, 1)), hint=2)
    (row,) = make_rows([e])
    assert len(row.target) == e.trained_tokens == 7


def test_hints_can_be_taken_out_of_the_context() -> None:
    hinted = episode(rng(), 1.0, turns=((3, 2),), hint=4)
    (row,) = make_rows([hinted], strip_hints=True)
    (kept,) = make_rows([hinted])
    assert len(row) == len(kept) - 4
    assert row.hinted
    assert not kept.hinted
    np.testing.assert_array_equal(row.target, kept.target)
    np.testing.assert_array_equal(row.where, kept.where - 4)


def test_hint_free_training_is_never_taken_for_on_policy() -> None:
    subject = learner(ratio={"hints": "strip"})
    rows = subject._rows([episode(rng(), 1.0, hint=3)])
    assert subject._old_policy(rows, 1) == "behaviour"
    rows = subject._rows([episode(rng(), 1.0)])
    assert subject._old_policy(rows, 1) == "current"


def test_merged_multi_turn_row_is_not_cut_to_a_turn() -> None:
    e = episode(rng(), 1.0, turns=((30, 10),) * 12)
    out = learner(token_budget=32).imitate([e])
    assert out["tokens_trained"] == 360


# On policy, stale, several steps.


def test_stale_weights_use_the_recorded_logprobs() -> None:
    subject = learner()
    rows = subject._rows([episode(rng(), 1.0, version=0)])
    assert subject._old_policy(rows, 1) == "current"
    assert subject._old_policy(rows, 2) == "behaviour"
    subject.version = 1
    assert subject._old_policy(rows, 1) == "behaviour"


def test_partial_rollouts_mix_policy_versions() -> None:
    """One token of another version is enough to make the batch off-policy."""
    subject = learner()
    e = episode(rng(), 1.0)
    e.segments[0].weights[-1] = -7
    e.segments[0].weights[e.segments[0].action_mask] = [0] * 6 + [1]
    assert subject._old_policy(subject._rows([e]), 1) == "behaviour"


def test_stale_tokens_are_truncated_at_the_cap() -> None:
    """With reinforce-like coefficients a ratio of 4 counts as 2."""
    groups = some_groups()
    far = copy.deepcopy(make_on_policy(groups, tiny_model()))
    for e in (e for g in far for e in g.episodes):
        e.segments[0].logprobs = e.segments[0].logprobs - math.log(4.0)
    c = {"kind": "identity"}
    ratio = {"old": "behaviour"}
    base = gradient_of(groups, coefficient=c, ratio=ratio)
    capped = gradient_of(far, coefficient=c, ratio=ratio)
    free = gradient_of(far, coefficient=c, ratio=ratio | {"correction": "none"})
    assert close(capped, 2 * base)
    assert close(free, 4 * base)


def test_a_mean_over_all_turns_hides_late_ones() -> None:
    """Clips and entropy are told by turn too: 0, 1, 2 to 3, 4 to 7; not for episodes of one."""
    shares = {"turn_0": 0.2, "turn_1": 0.2, "turns_2_3": 0.4, "turns_4_7": 0.2}
    many = group(rng(), [1.0, 0.0], shapes=[((3, 1),) * 5])
    out = learner(ratio={"old": "behaviour"}).step([many])
    for name in ("clip_low", "clip_high", "entropy"):
        parts = {label: out[f"{name}/{label}"] for label in shares}
        assert sum(shares[n] * v for n, v in parts.items()) == pytest.approx(out[name])
        assert len(set(parts.values())) > 1
    alone = learner().step([group(rng(), [1.0, 0.0], shapes=[((3, 0),)])])
    assert not [name for name in alone if "turn" in name]


def test_recomputed_old_policy_is_the_current_one_at_the_first_step() -> None:
    a = gradient_of(some_groups(), ratio={"old": "recompute"})
    b = gradient_of(some_groups(), ratio={"old": "current"})
    assert close(a, b)


def test_mini_batches_split_by_groups_not_rows() -> None:
    """More turns or members never make more optimiser steps."""
    subject = learner(mini_batches=3, epochs=2)
    out = subject.step(some_groups())
    assert out["optimizer_steps"] == 6
    assert subject.version == 6
    tokens = sum(e.trained_tokens for g in some_groups() for e in g.episodes)
    assert out["tokens_trained"] + out["tokens_skipped"] == 2 * tokens


def test_learning_raises_the_reward_of_what_was_rewarded() -> None:
    """A bandit on real weights: the rewarded first token becomes likely."""
    subject = learner(learning_rate=1e-2)
    model = subject.policy.model
    prompt = [5, 6, 7]
    r = rng()

    def probability() -> float:
        with torch.no_grad():
            whole = Forest([Span(0, 3, 3)])
            logits = model(input_ids=torch.tensor([prompt]), packing=whole).logits
            return float(logits[0, -1].softmax(-1)[11])

    before = probability()
    for _ in range(30):
        episodes = []
        for i in range(8):
            token = 11 if i % 4 == 0 else int(r.integers(0, 61))
            build = SegmentBuilder()
            build.append(prompt, Origin.PROMPT, -1)
            build.append_sampled([token], [-4.0], [subject.version], 0)
            e = episode(r, float(token == 11), name=str(i))
            e.segments, e.turns = [build.build()], e.turns[:1]
            episodes.append(e)
        subject.step([Group(("bandit",), episodes)])
    assert probability() > 10 * before


# Exact continuation.


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"algorithm": "ppo", "critic": {"kind": "model"}},
        {
            "divergences": {"kl": {"coefficient": 0.1}},
            "reference": {"kind": "ema"},
        },
        {"algorithm": "pipo", "hindsight": {"least": 2}},
        {"schedule": "cosine", "total_steps": 6, "warmup_steps": 2},
    ],
    ids=["grpo", "ppo", "ema", "pipo", "cosine"],
)
def test_resume_at_step_k_equals_uninterrupted(extra: dict[str, Any], tmp_path: Path) -> None:
    def outcome(subject: Any, steps: range) -> dict[str, float]:
        for i in steps:
            out = subject.step(some_groups(i))
        return out  # type: ignore[no-any-return]

    straight = learner(**extra)
    want = outcome(straight, range(5))
    first = learner(**extra)
    outcome(first, range(3))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = learner(tiny_model(seed=9), **extra)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    got = outcome(second, range(3, 5))
    for name, value in want.items():
        if name != "seconds":
            assert got[name] == value, name
    for a, b in zip(straight._parameters(), second._parameters(), strict=True):
        assert torch.equal(a[1], b[1])


def test_names_that_match_no_parameter_are_refused() -> None:
    state = learner().state_dict()
    state["weights"]["model.layers.9.oops"] = torch.zeros(1)
    with pytest.raises(LearnerError, match="oops"):
        learner().load_state_dict(state)


def test_schedules() -> None:
    def factors(**s: Any) -> list[float]:
        settings = LearnerSettings(warmup_steps=2, **s)
        return [schedule_factor(i, settings) for i in range(7)]

    np.testing.assert_allclose(factors(), [0.5, 1, 1, 1, 1, 1, 1])
    linear = factors(schedule="linear", total_steps=6)
    np.testing.assert_allclose(linear, [0.5, 1, 1, 0.75, 0.5, 0.25, 0])
    cosine = factors(schedule="cosine", total_steps=6)
    assert cosine[2] == 1.0
    assert cosine[4] == pytest.approx(0.5)
    assert cosine[6] == pytest.approx(0.0)


# Ranks.


def lonely_groups() -> list[Group]:
    """One row has a gradient: a rank goes without."""
    g = group(rng(), [1.0, 0.0])
    g.episodes[1].segments = []
    return [g]


def _rank(rank: int, size: int, port: int, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size
    )
    found: dict[str, Any] = {}
    for algorithm, extra in EXTRA.items():
        subject = learner(algorithm=algorithm, max_grad_norm=0, **extra)
        probe = Gradient(subject)
        metrics = subject.step(some_groups())
        found[algorithm] = probe.vector(), metrics
    few = learner()
    probe = Gradient(few)
    few.step(lonely_groups())
    found["lonely"] = probe.vector()
    with torch.no_grad():
        if rank == 1:
            subject.policy.model.base_model.norm.weight.fill_(float("nan"))
    try:
        subject.step(some_groups())
    except LearnerError as error:
        found["error"] = str(error)
    torch.save(found, f"{out}.{rank}")
    torch.distributed.destroy_process_group()


EXTRA: dict[str, dict[str, Any]] = {
    "grpo": {},
    "reinforce++": {"token_budget": 25},
    "real": {"ratio": {"old": "behaviour"}},
    "ppo": {"critic": {"kind": "model"}},
}


def _free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_two_ranks_make_the_gradient_of_one(tmp_path: Path) -> None:
    """Also: unequal micro-batch counts do not hang, whitening is over all ranks, and what one
    rank finds wrong stops both."""
    out = str(tmp_path / "rank")
    mp.spawn(_rank, args=(2, _free_port(), out), nprocs=2, join=True)
    ranks = [torch.load(f"{out}.{rank}", weights_only=False) for rank in range(2)]
    few = learner()
    probe = Gradient(few)
    few.step(lonely_groups())
    assert all(close(found["lonely"], probe.vector()) for found in ranks)
    for algorithm, extra in EXTRA.items():
        subject = learner(algorithm=algorithm, max_grad_norm=0, **extra)
        probe = Gradient(subject)
        alone = subject.step(some_groups())
        for found in ranks:
            gradient, metrics = found[algorithm]
            assert close(gradient, probe.vector())
            for name in ("loss", "grad_norm", "entropy", "tokens_trained", "ratio_max"):
                assert metrics[name] == pytest.approx(alone[name], rel=1e-9, abs=1e-12), name
            assert "not finite" in found["error"]


def test_ranks_share_every_row_once(monkeypatch: Any) -> None:
    rows = make_rows([e for g in some_groups() for e in g.episodes])
    parts = []
    for rank in range(3):
        monkeypatch.setattr("agentrl.learner.ranks.world", lambda rank=rank: (rank, 3))
        parts.append(share(rows))
    assert sorted(id(r) for part in parts for r in part) == sorted(id(r) for r in rows)
    assert all(parts)
