"""Advantages: the numbers of the papers, and the pitfalls of others' estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_kit import close, episode, gradient_of, group, learner

from agentrl.core import Check, Episode, Group, Score, Status
from agentrl.learner import LearnerError, LearnerSettings, credit
from agentrl.learner.gae import gae
from agentrl.learner.settings import Channel


def compare(rewards: Any, **channel: Any) -> np.ndarray:
    values = np.asarray(rewards, np.float64)
    return credit.compare(values, np.zeros(len(values), np.int64), Channel(**channel))


def advantages_of(groups: list[Group], **settings: Any) -> dict[str, list[float]]:
    """Advantage per turn of every judged episode, by episode id."""
    s = LearnerSettings(**settings)
    episodes, keys = credit.judged_episodes(groups)
    table = credit.turn_table(episodes, keys, s.returns)
    values = credit.advantages(table, s.channels, s.whiten)
    return {e.id: values[table.episode == i].tolist() for i, e in enumerate(episodes)}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_success_among_eight_population_and_sample_deviation() -> None:
    rewards = [1.0] + [0.0] * 7
    population = compare(rewards, scale="std", ddof=0, epsilon=0)
    np.testing.assert_allclose(population, [2.6458] + [-0.37796] * 7, atol=1e-4)
    sample = compare(rewards, scale="std", ddof=1, epsilon=0)
    np.testing.assert_allclose(sample, [2.4749] + [-0.35355] * 7, atol=1e-4)


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    rewards = np.array([1.0, 0.0, 0.5, 0.25])
    got = compare(rewards, baseline="leave_one_out")
    others = [(rewards.sum() - r) / 3 for r in rewards]
    np.testing.assert_allclose(got, rewards - others)


def test_l1_attribution_sums_to_the_group_size() -> None:
    got = compare([1.0] + [0.0] * 7, scale="l1")
    assert np.abs(got).sum() == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("clean", "flawed", "wrong", "expected"),
    [
        (2, 1, 5, (1.605, 0.438, -0.729)),
        (4, 1, 3, (0.944, -0.135, -1.214)),
        (3, 2, 3, (None, 0.0, None)),
        (6, 2, 0, (0.577, -1.732, None)),
    ],
)
def test_fapo_flawed_answers_schedule_themselves(
    clean: int, flawed: int, wrong: int, expected: tuple[float | None, ...]
) -> None:
    g = group(rng(), [1.0] * clean + [1.0] * flawed + [0.0] * wrong)
    for e in g.episodes[clean : clean + flawed]:
        e.outcome["flawed"] = True
    got = [v[0] for v in advantages_of([g], algorithm="fapo").values()]
    for i, want in zip((0, clean, -1), expected, strict=True):
        if want is not None:
            assert got[i] == pytest.approx(want, abs=1.5e-3)


def test_noisy_verifier_corrections_are_unbiased() -> None:
    """rho0 = .1, rho1 = .3: E[backward | R] = R; forward means 0 and -(1 - rho0 - rho1)."""
    rho0, rho1 = 0.1, 0.3
    back = {"kind": "unbias", "false_positive": rho0, "false_negative": rho1}
    settings = LearnerSettings(algorithm="noisy_backward", returns=(back,))
    episodes = group(rng(), [0.0, 1.0]).episodes
    zero, one = credit.returns(episodes, np.zeros(2, np.int64), settings.returns)
    assert rho1 * zero + (1 - rho1) * one == pytest.approx(1.0)
    assert (1 - rho0) * zero + rho0 * one == pytest.approx(0.0)
    forward = {"outcome": {"constant": 1 - rho1}}
    got = advantages_of(
        [group(rng(), [0.0, 1.0])], algorithm="noisy_forward", channels=forward
    ).values()
    low, high = (v[0] for v in got)
    assert rho1 * low + (1 - rho1) * high == pytest.approx(0.0)
    assert (1 - rho0) * low + rho0 * high == pytest.approx(-(1 - rho0 - rho1))


def test_noisy_correction_before_group_normalisation_is_no_correction() -> None:
    back = {"kind": "unbias", "false_positive": 0.1, "false_negative": 0.3}
    scaled = {"outcome": {"scale": "std", "epsilon": 0}}
    g = [group(rng(), [1.0, 0.0, 0.0, 1.0, 1.0])]
    a = advantages_of(g, returns=(back,), channels=scaled)
    b = advantages_of(g, channels=scaled)
    for key, values in a.items():
        np.testing.assert_allclose(values, b[key], atol=1e-12)


def test_a_check_of_the_reward_that_passed_is_a_flag() -> None:
    g = group(rng(), [1.0, 1.0, 1.0])
    g.episodes[1].scores["reward"].checks = [Check("flawed", 1.0, passed=True)]
    g.episodes[2].scores["reward"].checks = [Check("flawed", 0.0, passed=False)]
    assert [credit.has_flag(e, "flawed") for e in g.episodes] == [False, True, False]


def test_placebo_rewards_are_fair_coins_of_the_episode() -> None:
    coin = LearnerSettings(returns=({"kind": "coin"},)).returns
    episodes = [e for k in range(64) for e in group(rng(), [1.0] * 4, str(k)).episodes]
    keys = np.zeros(len(episodes), np.int64)
    coins = credit.returns(episodes, keys, coin)
    assert set(coins) == {0.0, 1.0}
    assert abs(coins.mean() - 0.5) < 0.1
    np.testing.assert_array_equal(credit.returns(episodes[::-1], keys, coin), coins[::-1])


def test_one_deviation_can_be_shared_by_the_batch() -> None:
    """Weights before normalisation act when the scale is not the group's own (pairs)."""
    channels = {"outcome": {"scale": "batch_std", "epsilon": 0}}
    groups = [group(rng(), [2.0, 0.0], "a"), group(rng(), [1.0, 0.0], "b")]
    got = [v[0] for v in advantages_of(groups, channels=channels).values()]
    spread = np.std([2.0, 0.0, 1.0, 0.0], ddof=1)
    np.testing.assert_allclose(got, np.array([1.0, -1.0, 0.5, -0.5]) / spread)


def test_majority_vote_labels_the_unlabelled_only() -> None:
    g = group(rng(), [0.0] * 5)
    for e, answer in zip(g.episodes, "aabca", strict=True):
        e.outcome |= {"answer": answer, "unlabelled": True}
    labelled = group(rng(), [1.0, 0.0], "labelled")
    episodes, keys = credit.judged_episodes([g, labelled])
    s = LearnerSettings(algorithm="trapo", aggregation={"constant": 8})
    np.testing.assert_array_equal(credit.returns(episodes, keys, s.returns), [1, 1, 0, 0, 1, 1, 0])


def test_nsr_psr_and_weighted_reinforce_keep_one_sign() -> None:
    g = [group(rng(), [1.0, 0.0, 0.0])]
    assert [v[0] for v in advantages_of(g, algorithm="nsr").values()] == [1.0, -1.0, -1.0]
    right, wrong = Group(("r",), g[0].episodes[:1]), Group(("w",), g[0].episodes[1:])
    nsr, psr = gradient_of(g, algorithm="nsr"), gradient_of(g, algorithm="psr")
    assert close(nsr, gradient_of([wrong], algorithm="nsr"))
    assert close(psr, gradient_of([right], algorithm="psr"))
    tokens = [e.trained_tokens for e in g[0].episodes]
    share = tokens[0] / sum(tokens)
    both = gradient_of(g, algorithm="w_reinforce")
    assert close(both, 0.1 * share * psr + (1 - share) * nsr)


def test_pair_weights_before_normalisation_cancel_and_after_do_not() -> None:
    g = group(rng(), [1.0] + [0.0] * 7)
    base = gradient_of([g], algorithm="pairs", channels={"outcome": {"epsilon": 0}})
    for e in g.episodes:
        e.task.metadata["role"] = "hard"
    after = gradient_of([g], algorithm="pairs", channels={"outcome": {"epsilon": 0}})
    assert not close(base, after, 1e-3)
    before = compare([2.0] + [0.0] * 7, scale="std", ddof=0, epsilon=0)
    np.testing.assert_allclose(before, compare([1.0] + [0.0] * 7, scale="std", ddof=0, epsilon=0))
    easy = compare([1.0] * 7 + [0.0], scale="std", ddof=0, epsilon=0)
    np.testing.assert_allclose(easy, -before[::-1])


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=8),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
def test_affine_rewards_change_nothing_under_mean_and_deviation(
    rewards: list[float], scale: float, shift: float
) -> None:
    a = compare(rewards, scale="std", epsilon=0)
    b = compare(scale * np.array(rewards) + shift, scale="std", epsilon=0)
    np.testing.assert_allclose(a, b, atol=1e-8)


def test_gigpo_compares_turns_that_start_from_one_state() -> None:
    """Two episodes pass through state s; what followed differs, so their turns there do."""
    shape = ((2, 1), (2, 1), (2, 0))
    g = group(rng(), [1.0, 0.0], shapes=[shape])
    g.episodes[0].outcome["states"] = ["start", "s", "x"]
    g.episodes[1].outcome["states"] = ["start", "y", "s"]
    anchor = {"outcome": {"weight": 0.0}, "anchor": {"discount": 0.5, "epsilon": 0}}
    got = advantages_of([g], algorithm="gigpo", channels=anchor)
    root = 1 / np.sqrt(2)
    np.testing.assert_allclose(got["task-0"], [root, root, 0.0])
    np.testing.assert_allclose(got["task-1"], [-root, 0.0, -root])


def test_process_rewards_are_compared_turn_by_turn() -> None:
    g = group(rng(), [0.0, 0.0], shapes=[((2, 1), (2, 0))])
    g.episodes[0].scores["reward"].steps = [1.0, 0.0]
    g.episodes[1].scores["reward"].steps = [0.0, 1.0]
    channels = {"steps": {"scale": "none"}}
    got = advantages_of([g], algorithm="process", channels=channels)
    assert got == {"task-0": [0.0, -0.5], "task-1": [0.0, 0.5]}


def test_items_are_compared_item_by_item() -> None:
    g = group(rng(), [0.0, 0.0, 0.0])
    for e, (a, b) in zip(g.episodes, [(1, 10), (0, 10), (0, 40)], strict=True):
        e.scores["reward"].checks = [Check("a", a), Check("b", b)]
    channels = {"outcome": {"source": "items", "scale": "std", "epsilon": 0}}
    got = advantages_of([g], channels=channels)
    a = compare([1, 0, 0], scale="std", epsilon=0)
    b = compare([10, 10, 40], scale="std", epsilon=0)
    np.testing.assert_allclose([v[0] for v in got.values()], (a + b) / 2)


def test_reinforce_plus_plus_whitens_over_trained_tokens() -> None:
    groups = [group(rng(), [1.0, 0.0], "a"), group(rng(), [0.5, 0.0], "b")]
    episodes, keys = credit.judged_episodes(groups)
    s = LearnerSettings(algorithm="reinforce++")
    table = credit.turn_table(episodes, keys)
    values = np.repeat(credit.advantages(table, s.channels, s.whiten), table.tokens)
    assert values.mean() == pytest.approx(0.0, abs=1e-12)
    assert values.std(ddof=1) == pytest.approx(1.0, rel=1e-6)


# Pitfalls, named after what they catch.


def test_rows_instead_of_episodes_in_the_baseline() -> None:
    """An episode of two segments counts once."""
    g = group(rng(), [1.0, 0.0, 0.0])
    g.episodes[1].segments *= 2
    got = [v[0] for v in advantages_of([g], algorithm="dr_grpo").values()]
    np.testing.assert_allclose(got, [2 / 3, -1 / 3, -1 / 3])


def test_infrastructure_failure_trained_as_reward_zero() -> None:
    good = group(rng(), [1.0, 0.5])
    broken = group(rng(), [1.0, 0.5, 0.0, 0.0])
    broken.episodes[2].status = Status.INFRA_ERROR
    broken.episodes[3].scores["reward"].abstained = True
    for name, values in advantages_of([good]).items():
        assert advantages_of([broken])[name] == values
    assert close(gradient_of([good]), gradient_of([broken]))
    out = learner().step([broken])
    assert (out["episodes"], out["episodes_left_out"]) == (2.0, 2.0)


def test_fully_rejected_sibling_shifts_the_baseline() -> None:
    """An episode without any score enters nothing."""
    g = group(rng(), [1.0, 0.0, 0.0])
    del g.episodes[2].scores["reward"]
    assert advantages_of([g], algorithm="dr_grpo") == {"task-0": [0.5] * 2, "task-1": [-0.5] * 2}


def test_zero_variance_by_exact_float_compare_misses_rounding() -> None:
    values = [0.1 + 0.2, 0.3, 0.3, 0.1 * 3]
    assert len(set(values)) > 1
    for baseline in ("mean", "leave_one_out"):
        for scale in ("none", "std", "l1"):
            got = compare(values, baseline=baseline, scale=scale, epsilon=0)
            assert got.tolist() == [0.0] * 4


def test_leave_one_out_deviation_residue_amplifies_a_lone_loser() -> None:
    """float32 rewards of one value but for rounding get zero, not thousands."""
    values = [*np.float32([0.7] * 7).tolist(), 0.7]
    assert compare(values, baseline="leave_one_out", scale="std", epsilon=0).tolist() == [0.0] * 8
    lone = compare([1.0] * 7 + [0.0], baseline="leave_one_out", scale="std")
    assert np.abs(lone).max() < 5


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo", "rloo", "gspo", "cispo", "dapo"])
def test_group_of_one_and_flat_groups_give_exactly_zero(algorithm: str) -> None:
    alone = group(rng(), [1.0], "alone")
    flat = group(rng(), [0.3, 0.3, 0.3], "flat")
    subject = learner(algorithm=algorithm)
    before = [p.clone() for p in subject.policy.model.parameters()]
    out = subject.step([alone, flat])
    assert out["optimizer_steps"] == 0.0
    assert subject.version == 0
    assert out["zero_variance_groups"] == 1.0
    assert all(
        (a == b).all() for a, b in zip(before, subject.policy.model.parameters(), strict=True)
    )


def test_minimum_group_size_counts_judged_episodes_only() -> None:
    g = group(rng(), [1.0, 0.0, 0.5])
    g.episodes[2].status = Status.INFRA_ERROR
    channels = {"outcome": {"min_group": 3}}
    assert all(v == [0.0, 0.0] for v in advantages_of([g], channels=channels).values())


def test_only_the_last_steps_reward_is_kept() -> None:
    values = credit.reward_to_go(np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 0, 0, 1]), 0.5)
    np.testing.assert_allclose(values, [3.0, 4.0, 4.0, 8.0])


def test_step_rewards_that_do_not_fit_the_turns_name_the_episode() -> None:
    g = group(rng(), [1.0, 0.0])
    g.episodes[1].scores["reward"] = Score(0.0, steps=[1.0, 2.0, 3.0])
    with pytest.raises(LearnerError, match="task-1"):
        advantages_of([g])


def test_gae_by_hand() -> None:
    """gamma = lam = 1 without values: the suffix sum; lam = 0: one-step errors."""
    reward = np.array([-0.005, -0.005, 9.995])
    np.testing.assert_allclose(gae(reward, np.zeros(3), 0.0, 1, 1), [9.985, 9.99, 9.995])
    value = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(
        gae(np.array([0.0, 0.0, 3.0]), value, 0.0, 0.5, 0.0), [0.0, 0.0, -1.0]
    )
    assert gae(np.zeros(1), np.array([1.0]), 6.0, 0.5, 0.9)[0] == pytest.approx(2.0)


def ppo_columns(e: Episode, **critic: Any) -> dict[str, np.ndarray]:
    subject = learner(algorithm="ppo", whiten=False, critic={"lam": 1.0, **critic})
    episodes, keys = credit.judged_episodes([Group(("g",), [e])])
    rows = subject._rows(episodes)
    table = credit.turn_table(episodes, keys)
    subject.looks.before_update(rows, table)
    for row in rows:
        row.value = np.arange(len(row.target), dtype=np.float64)
        row.final = 50.0
    subject._credit(rows, episodes, table)
    return {
        n: np.concatenate([getattr(r, n) for r in rows])
        for n in ("advantage", "returns", "value_mask")
    }


def test_terminal_reward_lands_on_a_masked_token() -> None:
    """An episode that ends on an observation keeps its reward: all returns are 1."""
    for trailing in (0, 5):
        e = episode(rng(), 1.0, turns=((2, 3), (2, trailing)))
        got = ppo_columns(e)
        np.testing.assert_allclose(got["returns"], np.ones(4))
        np.testing.assert_allclose(got["advantage"], 1.0 - np.arange(4))


def test_time_limit_treated_as_terminal() -> None:
    turns = ((2, 3), (2, 4))
    cut = episode(rng(), 1.0, turns=turns, status=Status.MAX_TURNS)
    np.testing.assert_allclose(ppo_columns(cut)["returns"], np.full(4, 51.0))
    np.testing.assert_allclose(ppo_columns(cut, bootstrap=False)["returns"], np.ones(4))
    whole = episode(rng(), 1.0, turns=turns, status=Status.COMPLETED)
    np.testing.assert_allclose(ppo_columns(whole)["returns"], np.ones(4))


def test_turn_level_gae_has_one_state_per_turn() -> None:
    e = episode(rng(), 1.0, turns=((2, 3), (3, 1)), steps=[0.25, 0.0])
    got = ppo_columns(e, level="turn", gamma=0.5)
    np.testing.assert_allclose(got["value_mask"], [1, 0, 1, 0, 0])
    np.testing.assert_allclose(got["returns"], [0.75, 0.75, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(got["advantage"], [0.75, 0.75, -1.0, -1.0, -1.0])


def test_step_rewards_land_on_the_last_token_of_their_turn() -> None:
    e = episode(rng(), 0.0, turns=((2, 3), (2, 0)), steps=[1.0, 2.0])
    np.testing.assert_allclose(ppo_columns(e)["returns"], [3.0, 3.0, 2.0, 2.0])
