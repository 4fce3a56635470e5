"""Credit of parts of turns, and of checks by their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from learner_kit import VOCAB, group, learner

from agentrl.core import Check, Group, Score, Span
from agentrl.learner import LearnerError, LearnerSettings, credit
from agentrl.learner.extensions.spans import token_values

SPANS = {"outcome": {"source": "spans", "scale": "std", "epsilon": 0}}


class TwoLetters:
    """Every id adds two characters."""

    def texts(self, ids: Sequence[int]) -> list[str]:
        return ["xx" for _ in ids]

    def encode_plain(self, text: str) -> list[int]:
        return [ord(c) % VOCAB for c in text]


def pair() -> Group:
    """Two episodes of turns of 3 and 4 tokens; one has a wrong second half of its first turn."""
    made = group(np.random.default_rng(0), [2.0, 0.0], shapes=[((3, 2), (4, 0))])
    wrong = [Span(0, 0, 2, 2.0), Span(0, 2, 6, 1.0), Span(1, 0, 8, 2.0)]
    made.episodes[0].scores["reward"] = Score(2.0, spans=wrong)
    return made


def advantages(made: Group, spelling: TwoLetters | None = TwoLetters(), **settings: object):  # noqa: B008
    from agentrl.learner import Learner

    subject = Learner(learner().policy, LearnerSettings(**settings), spelling)  # type: ignore[arg-type]
    episodes, keys = credit.judged_episodes([made])
    rows = subject._rows(episodes)
    for row in rows:
        row.penalty = np.zeros(len(row.target))
    subject._credit(rows, episodes, credit.turn_table(episodes, keys, ()))
    return [r.advantage for r in rows]


def test_tokens_take_the_value_of_the_span_that_holds_their_first_character():
    spans = [Span(0, 0, 3, 1.0), Span(0, 5, 9, -1.0)]
    assert token_values(["ab", "cd", "", "e", "fgh", "i"], spans, outside=7.0) == [
        1.0, 1.0, 7.0, 7.0, -1.0, -1.0,
    ]  # fmt: skip


def test_token_rewards_are_normalised_over_the_tokens_of_the_group():
    """CAPO: R_t = 2 outcome - [t in a wrong step]; A_t = (R_t - mean) / std over all tokens."""
    rewards = np.array([2, 1, 1, 2, 2, 2, 2] + [0] * 7, float)
    wanted = (rewards - rewards.mean()) / rewards.std(ddof=1)
    found = np.concatenate(advantages(pair(), channels=SPANS))
    np.testing.assert_allclose(found, wanted)


def test_channels_add_up_and_whitening_comes_last():
    alone = np.concatenate(advantages(pair(), channels=SPANS))
    both = {**SPANS, "whole": {"source": "outcome", "weight": 0.5}}
    mixed = np.concatenate(advantages(pair(), channels=both))
    np.testing.assert_allclose(mixed, alone + np.repeat([0.5, -0.5], 7))
    white = np.concatenate(advantages(pair(), channels=both, whiten=True))
    np.testing.assert_allclose(white, (mixed - mixed.mean()) / mixed.std(ddof=1), atol=1e-6)


def test_without_spans_the_steps_speak_and_without_steps_the_value():
    made = pair()
    made.episodes[0].scores["reward"] = Score(9.0, steps=[1.0, 3.0])
    plain = {"outcome": {"source": "spans", "by": (), "baseline": "none", "scale": "none"}}
    first, second = advantages(made, None, channels=plain)
    assert first.tolist() == [1.0] * 3 + [3.0] * 4
    assert second.tolist() == [0.0] * 7


def test_spans_need_a_tokenizer():
    with pytest.raises(LearnerError, match="no tokenizer"):
        advantages(pair(), None, channels=SPANS)


def test_a_group_whose_outcomes_are_equal_teaches_by_its_spans():
    made = pair()
    made.episodes[1].scores["reward"] = Score(2.0)
    flat = group(np.random.default_rng(1), [1.0, 1.0], key="flat")
    settings = LearnerSettings(channels=SPANS)  # type: ignore[arg-type]
    assert credit.has_signal([made, flat], settings) == [True, False]
    assert credit.has_signal([made], LearnerSettings()) == [False]


def test_checks_count_by_their_weights_also_when_a_deviation_is_divided_out():
    """Points of 0.8 and 0.2: a heavy item's advantage is four times that of a light one."""
    made = group(np.random.default_rng(0), [0.0] * 4)
    for i, e in enumerate(made.episodes):
        heavy, light = 0.8 * (i < 2), 0.2 * (i % 2 == 0)
        e.scores["reward"] = Score(
            0.0, [Check("heavy", heavy, weight=0.8), Check("light", light, weight=0.2)]
        )
    for scale in ("none", "std"):
        channels = {"outcome": {"source": "items", "scale": scale, "epsilon": 0}}
        by_episode = [a[0] for a in advantages(made, channels=channels)]
        unit = 0.5 if scale == "none" else 0.5 / np.std([0, 0, 1, 1], ddof=1)
        np.testing.assert_allclose(by_episode, [unit, 0.6 * unit, -0.6 * unit, -unit])


def test_a_pitfall_pushes_away():
    """Its points are negative where the answer falls into it."""
    made = group(np.random.default_rng(0), [0.0, 0.0])
    for points, e in zip((-1.0, 0.0), made.episodes, strict=True):
        e.scores["reward"] = Score(0.0, [Check("rude", points, kind="pitfall")])
    bad, good = advantages(made, channels={"outcome": {"source": "items", "scale": "none"}})
    assert bad[0] < 0 < good[0]
