"""Judging keeps every verdict, and neither a bug nor a dead judge becomes a number."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from agentrl.core import (
    Episode,
    InfraError,
    Score,
    Status,
    Task,
    ToolCall,
    ToolResult,
    Turn,
)
from agentrl.rewards import (
    FormatOk,
    Gated,
    Level,
    Submitted,
    TestsPass,
    ToolOk,
    build_reward,
    gra_metrics,
    judge,
)


def turn(*calls: tuple[str | None, bool]) -> Turn:
    """One turn; each call is (parse error or None, ran without error)."""
    t = Turn(tokens=[], logprobs=[], text="")  # type: ignore[arg-type]
    t.calls = [ToolCall("x", error=error) for error, _ in calls]
    t.results = [ToolResult("", ok=ok) for _, ok in calls]
    return t


GOOD, FAILED, MALFORMED, SILENT = (
    turn((None, True)),
    turn((None, False)),
    turn(("no JSON", False)),
    turn(),
)


def episode(*turns: Turn, **outcome: object) -> Episode:
    return Episode(Task("t-1", "p"), turns=list(turns), outcome=outcome)


def scored(reward, e: Episode) -> Score:
    return asyncio.run(judge(reward, e))


def test_format_and_tool_critics_tell_the_four_kinds_of_turn_apart():
    e = episode(GOOD, FAILED, MALFORMED, SILENT, turn((None, True), ("cut", False)))
    assert scored(FormatOk(), e).steps == [1, 1, -1, -1, -1]
    assert scored(ToolOk(), e).steps == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        ({"submitted": False, "modified": True, "resolved": True}, -1.0),
        ({"submitted": True, "modified": False, "resolved": False}, -0.5),
        ({"submitted": True, "modified": True, "resolved": False}, 0.5),
        ({"submitted": True, "modified": True, "resolved": True}, 1.0),
    ],
)
def test_the_outcome_ladder(outcome, value):
    assert scored(Submitted(), episode(**outcome)).value == value


def test_tests_pass_keeps_the_counts_as_checks():
    e = episode(resolved=False, f2p_passed=1, f2p_total=2, p2p_passed=9, p2p_total=9)
    score = scored(TestsPass(), e)
    assert (score.value, score.abstained) == (0.0, False)
    assert [(c.name, c.value, c.passed) for c in score.checks] == [
        ("f2p", 0.5, False),
        ("p2p", 1.0, True),
    ]


def test_no_verdict_is_an_abstention_and_not_a_zero():
    for reward in (TestsPass(), Submitted()):
        e = episode()
        assert scored(reward, e).abstained
        assert not e.judged


def test_every_critic_is_kept_by_name_beside_the_whole():
    reward = build_reward(
        {"kind": "gated", "outcome": {"kind": "submitted"}, "above": -0.5,
         "steps": [{"kind": "format_ok", "weight": 0.1}, {"kind": "tool_ok", "weight": 0.1}]}
    )  # fmt: skip
    e = episode(GOOD, MALFORMED, submitted=False)
    scored(reward, e)
    assert set(e.scores) == {"submitted", "format_ok", "tool_ok", "reward"}
    assert e.reward == -1.0
    assert e.scores["format_ok"].value == 0.0
    assert e.judged


@dataclass
class Dead:
    name: str = "judge"

    async def score(self, episode: Episode) -> Score:
        raise InfraError("judge_down", "no answer from the judge")


def test_a_dead_judge_propagates_and_leaves_no_scores_behind():
    e = episode(GOOD, resolved=True)
    with pytest.raises(InfraError) as caught:
        scored(Gated([Level(TestsPass(), 1), Level(Dead())]), e)
    assert caught.value.cause == "judge_down"
    assert e.scores == {}


@dataclass
class Broken:
    answer: object
    name: str = "mine"

    def score(self, episode: Episode) -> Score:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (KeyError("diff"), "KeyError: 'diff'"),
        (0.5, "returned float, not a Score"),
        (Score(1.0, steps=[1.0, 1.0]), "2 steps for 1 turns"),
    ],
)
def test_a_bug_in_a_users_reward_is_infrastructure_and_says_where(answer, says):
    with pytest.raises(InfraError, match="mine") as caught:
        scored(Broken(answer), episode(GOOD))
    assert caught.value.cause == "reward_raised"
    assert says in str(caught.value)
    assert "t-1" in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_abstains(bad):
    e = episode(GOOD)
    assert scored(Broken(Score(bad)), e).abstained
    assert not e.judged


def test_an_infrastructure_failure_is_never_judged():
    e = episode(GOOD, submitted=False)
    e.status = Status.INFRA_ERROR
    assert scored(Submitted(), e).abstained
    assert not e.judged


def gra(mode: str) -> Gated:
    return Gated(
        [
            Level(Submitted(), priority=1, above=-0.5),
            Level(FormatOk(), scope="sum"),
            Level(ToolOk(), scope="sum"),
        ],
        mode=mode,  # type: ignore[arg-type]
    )


def mixed() -> list[Episode]:
    lost = episode(GOOD, submitted=True, modified=True, resolved=True)
    lost.status = Status.INFRA_ERROR
    return [
        episode(*[GOOD] * 8, submitted=False, modified=True, resolved=False),
        episode(*[GOOD] * 3, submitted=True, modified=True, resolved=False),
        episode(*[GOOD] * 2, submitted=True, modified=True, resolved=True),
        episode(*[MALFORMED] * 2, submitted=True, modified=False, resolved=False),
        lost,
    ]


@pytest.mark.parametrize(("mode", "alarm"), [("direct", 1.0), ("gated", 0.0)])
def test_rates_means_gates_and_the_alarm(mode, alarm):
    episodes = mixed()[:3]
    for e in episodes:
        scored(gra(mode), e)
    assert gra_metrics(episodes)["reward_outcome_alarm"] == alarm

    episodes = mixed()
    for e in episodes:
        scored(gra(mode), e)
    found = gra_metrics(episodes)
    assert found["completion_rate"] == 0.75
    assert found["modification_rate"] == 0.5
    assert found["resolution_rate"] == 0.25
    assert found["raw/format_ok"] == 0.5
    assert found["raw/submitted"] == 0.0
    assert found["gate_open/submitted"] == 1.0
    assert found["gate_open/format_ok"] == 0.5


def test_metrics_of_nothing_or_of_a_constant_are_no_nan():
    assert gra_metrics([]) == {}
    same = [episode(GOOD, submitted=True, modified=True, resolved=True) for _ in range(3)]
    for e in same:
        scored(gra("gated"), e)
    found = gra_metrics(same)
    assert found["reward_outcome_alarm"] == 0.0
    assert "reward_outcome_correlation" not in found
