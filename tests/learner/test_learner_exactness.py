"""One gradient, however the rows are ordered, cut, packed, shared or distributed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_kit import VOCAB, close, episode, gradient_of, group, learner, tiny_model

from agentrl.core import Group
from agentrl.learner import LearnerSettings
from agentrl.learner.pack import pack, schedule
from agentrl.learner.rows import Row, make_rows
from agentrl.learner.trunk import Trunk
from agentrl.models.logprobs import CHUNK, naive_token_logprobs, token_logprobs

ALGORITHMS = ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++", "gigpo"]


def some_groups(seed: int = 0) -> list[Group]:
    rng = np.random.default_rng(seed)
    return [
        group(rng, [1.0, 0.0, 0.5, 0.0], "a"),
        group(rng, [0.0, 1.0], "b"),
        group(rng, [0.0, 0.0, 0.2], "c", shapes=[((5, 1), (2, 2), (3, 0)), ((1, 3), (6, 1))]),
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "change",
    [
        {"token_budget": 1},
        {"token_budget": 40},
        {"share_prefixes": False},
        {"share_prefixes": False, "token_budget": 30},
        {"logit_budget": 1},
    ],
    ids=["one_row_each", "small_batches", "no_sharing", "no_sharing_small", "logits_twice"],
)
def test_splitting_and_packing_change_nothing(algorithm: str, change: dict[str, Any]) -> None:
    base = gradient_of(some_groups(), algorithm=algorithm, ratio={"old": "behaviour"})
    other = gradient_of(some_groups(), algorithm=algorithm, ratio={"old": "behaviour"}, **change)
    assert base.norm() > 0
    assert close(base, other)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_order_of_groups_and_members_changes_nothing(algorithm: str) -> None:
    groups = some_groups()
    turned = [Group(g.key, g.episodes[::-1]) for g in groups[::-1]]
    a = gradient_of(groups, algorithm=algorithm, ratio={"old": "behaviour"})
    b = gradient_of(turned, algorithm=algorithm, ratio={"old": "behaviour"})
    assert close(a, b)


def random_tree(rng: np.random.Generator, rows: int, min_shared: int) -> list[Row]:
    """Rows that branch off each other at random depths, some equal, some prefixes of others."""
    sequences = [rng.integers(0, VOCAB, rng.integers(2, 24))]
    for _ in range(rows - 1):
        base = sequences[rng.integers(len(sequences))]
        cut = rng.integers(0, len(base) + 1)
        sequences.append(np.concatenate([base[:cut], rng.integers(0, VOCAB, rng.integers(1, 12))]))
    out = []
    for i, tokens in enumerate(sequences):
        where = np.sort(rng.choice(len(tokens), rng.integers(1, len(tokens) + 1), replace=False))
        n = len(where)
        target = rng.integers(0, VOCAB, n)
        zeros = np.zeros(n, np.int64)
        out.append(Row(i, tokens, where, target, np.zeros(n), zeros, zeros))
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
def test_packed_forest_equals_one_row_at_a_time(seed: int, count: int, min_shared: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_tree(rng, count, min_shared)
    trunk = Trunk(tiny_model(seed % 3), LearnerSettings())
    mix = {id(r): torch.as_tensor(rng.normal(size=len(r.where))) for r in rows}

    def run(batches: list[list[Row]], shared: int | None) -> tuple[dict[int, Any], torch.Tensor]:
        trunk.model.zero_grad()
        logps = {}
        for part in batches:
            batch = pack(part, min_shared=shared)
            logp, entropy = trunk.logprobs(batch)
            scale = torch.cat([mix[id(r)] for r in batch.rows])
            (scale * (logp + 0.3 * entropy)).sum().backward()
            for row, values in zip(
                batch.rows, logp.split([len(r.where) for r in batch.rows]), strict=True
            ):
                logps[id(row)] = values.detach()
        return logps, torch.cat([p.grad.reshape(-1) for p in trunk.model.parameters()])

    slow, slow_gradient = run([[r] for r in rows], None)
    fast, fast_gradient = run(schedule(rows, 10_000, min_shared=min_shared), min_shared)
    for key, values in slow.items():
        assert close(values, fast[key], 1e-10)
    assert close(slow_gradient, fast_gradient, 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 5))
def test_both_fast_attentions_equal_their_slow_twin(seed: int, count: int, min_shared: int) -> None:
    rng = np.random.default_rng(seed)
    rows = schedule(random_tree(rng, count, min_shared), 10_000, min_shared=min_shared)[0]
    batch = pack(rows, min_shared=min_shared)
    torch.manual_seed(seed)
    size = len(batch.tokens)
    q = torch.randn(4, size, 16, dtype=torch.float64, requires_grad=True)
    k = torch.randn(2, size, 16, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, size, 16, dtype=torch.float64, requires_grad=True)
    slow = batch.forest.attend_slowly(0, q, k, v, 0.3)
    fast = batch.forest.attend(0, q, k, v, 0.3)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    back = torch.randn_like(slow)
    for a, b in zip(
        torch.autograd.grad(fast, (q, k, v), back),
        torch.autograd.grad(slow, (q, k, v), back),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    with torch.no_grad():  # FlexAttention has no backward pass on a CPU
        masked = batch.forest.attend_masked(*(x.detach() for x in (q, k, v)), 0.3, compiled=False)
    torch.testing.assert_close(masked, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("budget", [1, 1 << 30])
@pytest.mark.parametrize("bias", [False, True])
def test_head_equals_its_naive_twin(budget: int, bias: bool, monkeypatch: Any) -> None:
    monkeypatch.setitem(CHUNK, "cpu", 5 * VOCAB)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, VOCAB, bias=bias).double()
    hidden = torch.randn(17, 16, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, VOCAB, (17,))
    grads = []
    for function in (
        lambda: token_logprobs(hidden, head, target, logit_budget=budget),
        lambda: naive_token_logprobs(hidden, head, target),
    ):
        logp, entropy = function()
        mix = torch.linspace(-1, 1, 17, dtype=torch.float64)
        loss = (mix * logp).sum() + (mix**2 * entropy).sum()
        grads.append([logp, entropy, *torch.autograd.grad(loss, [hidden, *head.parameters()])])
    for fast, slow in zip(*grads, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-12)


def test_observation_and_trailing_tokens_get_no_gradient() -> None:
    """Ids that only occur as observations after the last trained token move nothing."""
    rng = np.random.default_rng(3)
    short = episode(rng, 1.0, turns=((3, 0),), name="x")
    rng = np.random.default_rng(3)
    long = episode(rng, 1.0, turns=((3, 7),), name="x")
    other = episode(rng, 0.0, turns=((2, 0),), name="y")
    a = gradient_of([Group(("g",), [short, other])])
    b = gradient_of([Group(("g",), [long, other])])
    assert a.norm() > 0
    assert torch.equal(a, b)


def test_a_row_longer_than_the_budget_is_never_cut() -> None:
    rng = np.random.default_rng(0)
    rows = make_rows(group(rng, [0.0, 1.0], shapes=[((50, 3), (20, 0)), ((3, 0),)]).episodes)
    batches = schedule(rows, 10)
    assert sorted(len(b) for b in batches) == [1, 1]
    assert sum(len(r.target) for b in batches for r in b) == 50 + 20 + 3


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "dr_grpo", "cispo", "reinforce++"])
def test_first_on_policy_step_is_plain_reinforce(algorithm: str) -> None:
    """Ratio one: the gradient is that of -sum(weight * A * logp), whatever the clip."""
    groups = some_groups()
    subject = learner(algorithm=algorithm, ratio={"old": "current", "correction": "none"})
    from agentrl.learner import credit
    from agentrl.learner.weights import aggregation_weights

    episodes, keys = credit.judged_episodes(groups)
    table = credit.turn_table(episodes, keys)
    rows = make_rows(episodes)
    s = subject.settings
    credit.spread(credit.advantages(table, s.channels, s.whiten), table, rows)
    weights = aggregation_weights(rows, s.aggregation)
    model = tiny_model()
    for row, weight in zip(rows, weights, strict=True):
        ids = torch.as_tensor(row.tokens)[None]
        logits = model(input_ids=ids).logits[0][torch.as_tensor(row.where)]
        logp = logits.log_softmax(-1).gather(1, torch.as_tensor(row.target)[:, None])[:, 0]
        (-(torch.as_tensor(weight * row.advantage) * logp).sum()).backward()
    plain = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    ours = gradient_of(groups, algorithm=algorithm, ratio={"old": "current", "correction": "none"})
    assert close(plain, ours)
