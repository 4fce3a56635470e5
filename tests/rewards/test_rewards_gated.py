"""G-RA by its numbers, and what must hold whatever the numbers are."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import Episode, Reward, Score, Task, Turn
from agentrl.rewards import Gated, Level, Submitted, Weighted, judge


@dataclass
class Fixed:
    """A critic that always says the same."""

    name: str
    value: float = 0.0
    steps: list[float] = field(default_factory=list)
    abstained: bool = False

    async def score(self, episode: Episode) -> Score:
        return Score(self.value, steps=list(self.steps), abstained=self.abstained)


def episode(turns: int, **outcome: object) -> Episode:
    e = Episode(Task("t", "p"), outcome=outcome)
    e.turns = [Turn(tokens=[], logprobs=[], text="") for _ in range(turns)]  # type: ignore[arg-type]
    return e


def verdict(reward: Reward, e: Episode) -> Score:
    return asyncio.run(judge(reward, e))


def gra(format_steps: list[float], tool_steps: list[float], mode: str = "gated") -> Gated:
    return Gated(
        [
            Level(Submitted(), priority=1, above=-0.5),
            Level(Fixed("format_ok", steps=format_steps), scope="sum"),
            Level(Fixed("tool_ok", steps=tool_steps), scope="sum"),
        ],
        mode=mode,  # type: ignore[arg-type]
    )


LOOPER = ([1.0] * 8, [1.0] * 6 + [0.0] * 2), {"submitted": False}
WORKER = ([1.0] * 3, [1.0, 1.0, 0.0]), {"submitted": True, "modified": True, "resolved": False}
EMPTY = ([1.0] * 3, [1.0, 1.0, 0.0]), {"submitted": True, "modified": False, "resolved": False}


@pytest.mark.parametrize(
    ("who", "mode", "expected"),
    [
        (LOOPER, "direct", 13.0),
        (WORKER, "direct", 5.5),
        (LOOPER, "gated", -1.0),
        (WORKER, "gated", 5.5),
        (EMPTY, "gated", -0.5),
        (EMPTY, "direct", 4.5),
    ],
)
def test_the_papers_unit_numbers(who, mode, expected):
    (format_steps, tool_steps), outcome = who
    score = verdict(gra(format_steps, tool_steps, mode), episode(len(format_steps), **outcome))
    assert score.value == pytest.approx(expected)
    assert sum(score.steps) == pytest.approx(expected)


def test_the_outcome_lands_on_the_last_turn_and_shaping_on_its_own():
    (format_steps, tool_steps), outcome = WORKER
    assert verdict(gra(format_steps, tool_steps), episode(3, **outcome)).steps == [2.0, 2.0, 1.5]


def test_a_threshold_exactly_met_keeps_the_gate_closed():
    score = verdict(gra([1.0], [1.0]), episode(1, submitted=True, modified=False))
    assert [c.passed for c in score.checks] == [True, False, False]
    assert score.value == -0.5


def test_mean_scope_pays_a_long_episode_no_more_than_a_short_one():
    def of(turns: int) -> float:
        level = Level(Fixed("format_ok", steps=[1.0] * turns), weight=0.1)
        return verdict(Gated([level]), episode(turns)).value

    assert of(2) == pytest.approx(of(20)) == pytest.approx(0.1)


def test_an_episode_without_turns_still_gets_its_outcome():
    score = verdict(gra([], []), episode(0, submitted=False))
    assert (score.value, score.steps) == (-1.0, [])


def chain(top: float, middle: float, low: float, mode: str = "gated") -> Gated:
    return Gated(
        [
            Level(Fixed("low", low), priority=0),
            Level(Fixed("top", top), priority=2),
            Level(Fixed("middle", middle), priority=1),
        ],
        mode=mode,  # type: ignore[arg-type]
    )


numbers = st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(top=st.floats(0.001, 10), middle=st.floats(-10, 0), low=numbers)
def test_closing_the_middle_level_closes_what_is_below_and_never_the_top(top, middle, low):
    score = verdict(chain(top, middle, low), episode(1))
    assert score.value == pytest.approx(top + middle)
    assert {c.name: c.passed for c in score.checks} == {
        "gate/top": True,
        "gate/middle": True,
        "gate/low": False,
    }


@given(top=st.floats(-10, 0), a=st.tuples(numbers, numbers), b=st.tuples(numbers, numbers))
def test_what_is_gated_out_never_changes_the_value(top, a, b):
    first = verdict(chain(top, *a), episode(2))
    second = verdict(chain(top, *b), episode(2))
    assert first.value == second.value == top
    assert first.steps == second.steps


levels = st.lists(
    st.builds(
        lambda priority, raw, slack, weight, steps: (priority, raw, raw - slack, weight, steps),
        st.integers(0, 3),
        numbers,
        st.floats(0.01, 5),
        numbers,
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def gated_of(spec: list, mode: str) -> Gated:
    return Gated(
        [
            Level(
                Fixed(f"c{i}", raw, steps=[raw, raw] if steps else []),
                priority,
                above,
                weight,
            )
            for i, (priority, raw, above, weight, steps) in enumerate(spec)
        ],
        mode=mode,  # type: ignore[arg-type]
    )


@given(levels)
def test_gated_equals_direct_and_weighted_when_every_gate_is_open(spec):
    gated = verdict(gated_of(spec, "gated"), episode(2))
    direct = verdict(gated_of(spec, "direct"), episode(2))
    weighted = verdict(Weighted(gated_of(spec, "direct").levels), episode(2))
    assert gated.value == direct.value
    assert gated.steps == direct.steps
    assert gated.value == pytest.approx(weighted.value)


@given(levels, st.sampled_from(["gated", "direct"]), st.integers(1, 5))
def test_steps_always_sum_to_the_value(spec, mode, turns):
    reward = gated_of([(*level[:4], False) for level in spec], mode)
    score = verdict(reward, episode(turns))
    assert math.isclose(sum(score.steps), score.value, abs_tol=1e-9)


@pytest.mark.parametrize(("silent", "abstains"), [("top", True), ("middle", True), ("low", False)])
def test_an_abstention_counts_only_where_its_gate_is_open(silent, abstains):
    reward = chain(1.0, -1.0, 5.0)
    for level in reward.levels:
        level.reward.abstained = level.name == silent  # type: ignore[attr-defined]
    score = verdict(reward, episode(1))
    assert score.abstained is abstains
    if not abstains:
        assert score.value == 0.0
