"""Group rewards, transforms, automata, checklists, and what the loop makes of them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import ConfigError, Group, InfraError, Score, ToolCall
from agentrl.papers.kit.toys import Fixed, episode
from agentrl.rewards import build_plan, judge
from agentrl.rewards.automata.ltlf import Ltlf, negate, parse_ltl
from agentrl.rewards.automata.machine import RewardMachine, Transition
from agentrl.rewards.diagnostics.monitors import repetition
from agentrl.rewards.group.base import judge_groups
from agentrl.rewards.group.checklist import ChecklistGroup
from agentrl.rewards.group.difficulty import difficulty_weights
from agentrl.rewards.group.vote import MajorityVote
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.checklist import (
    Checklist,
    ChecklistItem,
    ChecklistReward,
    lint_turn,
    may_continue,
    step_advantages,
    turn_credit,
)
from agentrl.rewards.process.proximity import (
    ClickProximity,
    GridProximity,
    box_closeness,
    grid_closeness,
)
from agentrl.rewards.process.tiers import Tiered, tier
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.constraints import Constraints
from agentrl.rewards.transforms.filters import SkewFilter, StdFilter
from agentrl.rewards.transforms.scale import Centre, Clip, Fade, Subtract, ZScore

TRANSFORMS = [
    Clip(),
    ZScore(),
    ZScore("group"),
    Centre(),
    Centre(True),
    SkewFilter(),
    StdFilter(begin=1, filter_from=1),
    Constraints({"bad": 0.1}),
]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.integers(0, len(TRANSFORMS) - 1))
def test_no_transform_lets_a_bad_number_out(values, which):
    groups = [
        Group((g,), [episode(["x"], seed=i, reward=v) for i, v in enumerate(values[g::2])])
        for g in (0, 1)
    ]
    transform_rewards([TRANSFORMS[which]], [g for g in groups if g.episodes])
    for e in (e for g in groups for e in g.episodes):
        score = e.scores["reward"]
        assert score.abstained or np.isfinite(score.value)


@given(st.floats(-1e6, 1e6), st.integers(1, 9))
def test_zero_variance_gives_zero(value, count):
    for transform in (ZScore(), ZScore("group"), Centre(), Centre(True)):
        members = [episode(["x"], seed=i, reward=value) for i in range(count)]
        transform_rewards([transform], [Group(("t",), members)])
        assert [e.reward for e in members] == pytest.approx([0.0] * count, abs=1e-9)


def test_transforms_apply_in_their_order_and_what_was_before_is_kept(rewards_kit):
    def rewards(*transforms) -> list[float]:
        members = [rewards_kit.episode(["x"], seed=i, reward=r) for i, r in enumerate((0.0, 10.0))]
        transform_rewards(transforms, [rewards_kit.group(members)])
        assert members[1].scores["reward/before_transforms"].value == 10
        return [e.reward for e in members]

    assert rewards(Clip(0, 1), Centre()) == [-0.5, 0.5]
    assert rewards(Centre(), Clip(0, 1)) == [0, 1]


def test_a_missing_base_abstains_and_is_not_zero(rewards_kit):
    with_base, without = (rewards_kit.episode(["x"], seed=i, reward=0.5) for i in (0, 1))
    with_base.scores["base"] = Score(0.2)
    transform_rewards([Subtract("base")], [rewards_kit.group([with_base, without])])
    assert with_base.reward == pytest.approx(0.3)
    assert without.scores["reward"].abstained
    assert "left out by subtract" in without.scores["reward"].evidence


def test_what_transforms_remember_goes_into_the_checkpoint(rewards_kit):
    plan = build_plan(
        {
            "kind": "tests_pass",
            "transforms": [
                {"kind": "std_filter", "begin": 1},
                {"kind": "fade", "of": "tests_pass", "steps": 4},
                {"kind": "constraints", "limits": {"cut_off": 0.1}},
            ],
        }
    )
    members = [rewards_kit.episode(["x"], seed=i, reward=float(i)) for i in range(4)]
    asyncio.run(plan.finish([rewards_kit.group(members)]))
    again = build_plan({"kind": "tests_pass", "transforms": []})
    again.transforms = [StdFilter(begin=1), Fade("tests_pass", 4), Constraints({"cut_off": 0.1})]
    again.load_state_dict(plan.state_dict())
    assert again.state_dict() == plan.state_dict()
    assert plan.state_dict()["fade"] == {"step": 1}


def test_fading_ends_in_the_outcome_alone(rewards_kit):
    fade = Fade("part", steps=2)
    seen = []
    for _ in range(3):
        e = rewards_kit.episode(["x"], reward=1.5)
        e.scores["part"] = Score(0.5)
        transform_rewards([fade], [rewards_kit.group([e])])
        seen.append(e.reward)
    assert seen == [1.5, 1.25, 1.0]


def test_votes_leave_out_what_was_not_judged(rewards_kit):
    answers = ["a", "a", "b", "b", "b"]
    members = [rewards_kit.episode([x], seed=i, reward=0.0) for i, x in enumerate(answers)]
    for e in members[2:4]:
        e.scores["reward"] = Score(abstained=True)
    asyncio.run(judge_groups(MajorityVote(), [rewards_kit.group(members)]))
    assert [e.reward for e in members if e.judged] == [1.0, 1.0, 0.0]


def test_a_group_whose_judge_is_down_abstains_and_the_others_do_not(rewards_kit):
    class Down(MajorityVote):
        async def compare(self, group, episodes):
            if group.key == ("down",):
                raise InfraError("judge_down", "gone")
            return await MajorityVote.compare(self, group, episodes)

    groups = [
        rewards_kit.group([rewards_kit.episode(["a"], task=t, seed=i, reward=0.0) for i in (0, 1)])
        for t in ("down", "up")
    ]
    metrics = asyncio.run(judge_groups(Down(), groups))
    assert metrics == {"group/majority_vote/broken": 0.5}
    assert [e.judged for g in groups for e in g.episodes] == [False, False, True, True]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.integers(1, 5))
def test_copies_of_a_test_weigh_what_one_did_while_others_are_far(rates, copies):
    far = [r for r in rates if abs(r - 0.5) > 0.45]
    once = difficulty_weights(np.array([0.5, *far]), sigma=0.02)
    many = difficulty_weights(np.array([0.5] * copies + far), sigma=0.02)
    assert once[0] == pytest.approx(many[:copies].sum(), rel=1e-3)


ITEMS = [
    ChecklistItem(id="c0", question="searched?", weight=0.3),
    ChecklistItem(id="c1", question="booked?", weight=0.7, needs=["c0"]),
]


def test_flips_and_backfill_by_their_numbers():
    late = turn_credit(ITEMS, np.array([[1, 0], [1, 0], [1, 1]], bool))
    assert late.flips.tolist() == [[True, False], [False, False], [False, True]]
    assert late.backfill[:, 1].tolist() == [False, True, True]
    assert (late.flips * [0.3, 0.7]).sum() == pytest.approx(1.0)
    early = turn_credit(ITEMS, np.array([[1, 1], [1, 1], [1, 1]], bool))
    assert (early.flips * [0.3, 0.7]).sum() == pytest.approx(0.3)


def test_step_advantages_by_their_numbers():
    item = [ChecklistItem(id="c", question="?", weight=1.0)]
    matrices = [np.array([[v]], bool) for v in (1, 1, 0, 0)]
    found = step_advantages(item, [turn_credit(item, m) for m in matrices])
    assert [a.tolist() for a in found] == [[0.5], [0.5], [-0.5], [-0.5]]


def test_a_bad_checklist_says_what_is_wrong():
    bad = [
        ChecklistItem(id="a", question="?", weight=0.5, needs=["b"]),
        ChecklistItem(id="b", question="?", weight=0.4, needs=["a"]),
        ChecklistItem(id="c", question="?", weight=0.2, needs=["z"]),
        ChecklistItem(id="c", question="?", weight=0.2),
    ]
    said = " ".join(lint_turn(bad, 0))
    for word in ("'c' stands twice", "'z', which is not there", "sum to 1.3", "a, b need"):
        assert word in said
    with pytest.raises(ValueError, match="circle"):
        Checklist(turns=[bad])
    assert not may_continue(
        [ChecklistItem(id="a", question="?", weight=1, strict=True)], np.zeros((2, 1))
    )


def _dialogue(kit, seed: int, booked: bool):
    e = kit.episode(
        ["I search", "I book" if booked else "I wait", "bye"],
        answers=["found", "done", ""],
        reference={
            "checklist": [
                [i.model_dump() for i in ITEMS],
                [{"id": "b", "question": "polite?", "weight": 1.0}],
            ]
        },
        outcome={"user_turns": [0, 0, 1]},
        seed=seed,
    )
    return e


def _checks(text: str, seed: int):
    step = text.split("newest step of the agent:")[1].split("The item:")[0]
    question = text.split("The item:")[1]
    shown = text if "searched" in question else step
    words = {"searched?": "search", "booked?": "book", "polite?": "bye"}
    return {"satisfied": next(w for q, w in words.items() if q in question) in shown}


def test_a_checklist_from_the_judge_to_advantages_by_step(rewards_kit):
    model = ScriptedChat(_checks)
    reward = ChecklistReward(model)
    members = [_dialogue(rewards_kit, i, booked=i < 3) for i in range(6)]
    for e in members:
        asyncio.run(judge(reward, e))
    assert [e.reward for e in members] == pytest.approx([1.0] * 3 + [0.65] * 3)
    assert members[0].scores["reward"].steps == pytest.approx([0.15, 0.35, 0.5])
    assert model.asked == 6 * (2 * 2 + 1), "every item of every step of its turn, once"
    group = rewards_kit.group(members)
    asyncio.run(judge_groups(ChecklistGroup("step"), [group]))
    booked, waited = members[0].scores["reward"].steps, members[-1].scores["reward"].steps
    assert booked == pytest.approx([0.0, 0.5, 0.0])
    assert waited == pytest.approx([0.0, -0.5, 0.0])
    assert sum(e.scores["reward"].steps[1] for e in members) == pytest.approx(0.0)
    few = rewards_kit.group(members[:4])
    asyncio.run(judge_groups(ChecklistGroup("turn"), [few]))
    assert members[0].scores["reward"].steps == [0, 0, 0], "fewer than five reached the turn"


def test_an_unreadable_item_silences_the_checklist(rewards_kit):
    score = asyncio.run(
        judge(ChecklistReward(ScriptedChat(lambda t, s: "?")), _dialogue(rewards_kit, 0, True))
    )
    assert score.abstained
    assert "5 of 5 ballots" in score.evidence


def test_tiers_by_their_numbers(rewards_kit):
    box = (30, 40, 70, 60)  # centre (50, 50), sigma (20, 10)
    clicks = {(50, 50): 1.0, (60, 50): 1.0, (70, 50): 2 / 3, (70, 60): 1 / 3, (100, 50): 0.0}
    assert {at: tier(box_closeness(*at, box)) for at in clicks} == pytest.approx(clicks)
    grid = [[1] * 6 for _ in range(6)]
    wrong = [row[:] for row in grid]
    wrong[0][0] = 2
    assert grid_closeness(grid, grid) == 1
    assert 0 < grid_closeness(wrong, grid) < 1

    def value(outcome: float, closeness: float) -> float:
        e = rewards_kit.episode(["x"])
        e.turns[0].rewards["closeness"] = closeness
        return asyncio.run(judge(Tiered(rewards_kit.Fixed(outcome)), e)).value

    assert value(1, 0) == 1 > value(0, 1) == 0.5
    assert value(0, 0.55) == value(0, 0.7), "jitter inside a tier changes nothing"


@pytest.mark.parametrize(
    ("click", "field", "reached"),
    [
        ((50, 50), 1.0, 1.0),
        ((60, 50), 0.8825, 1.0),
        ((70, 50), 0.6065, 2 / 3),
        ((70, 60), 0.3679, 1 / 3),
        ((100, 50), 0.0439, 0.0),
    ],
)
def test_a_click_in_the_field_of_its_box(rewards_kit, click, field, reached):
    """Paper 21's numbers: a box of sigma (20, 10) around (50, 50)."""
    e = rewards_kit.episode(["x"], reference={"boxes": [[30, 40, 70, 60]]})
    e.outcome["rounds"] = [{"round": 1, "turn": 0, "point": list(click)}]
    near = ClickProximity()
    assert asyncio.run(near.score(e)).value == pytest.approx(field, abs=5e-5)
    reward = Tiered(rewards_kit.Fixed(0.0), near)
    assert asyncio.run(judge(reward, e)).value == pytest.approx(0.5 * reached)
    plain = Tiered(rewards_kit.Fixed(0.0), near, tiers=[])
    assert asyncio.run(judge(plain, e)).value == pytest.approx(0.5 * field, abs=5e-5)


def test_clicks_are_held_against_boxes_in_their_order(rewards_kit):
    boxes = [[0, 0, 10, 10], [100, 0, 110, 10]]
    e = rewards_kit.episode(["a", "b", "c"], reference={"boxes": boxes})
    points = [[5, 5], None, [5, 5]]
    e.outcome["rounds"] = [{"round": n, "turn": n, "point": p} for n, p in enumerate(points)]
    score = asyncio.run(ClickProximity().score(e))
    assert score.steps == pytest.approx([1.0, 0.0, 0.0])
    assert score.value == pytest.approx(0.5)
    e.outcome["rounds"] = []
    assert asyncio.run(ClickProximity().score(e)).value == 0
    e.task.reference = {}
    assert asyncio.run(judge(Tiered(rewards_kit.Fixed(1.0), ClickProximity()), e)).abstained


def test_grids_by_blocks_in_thirds(rewards_kit):
    wanted = [[1] * 6 for _ in range(3)]
    for wrong, value in ((0, 1.0), (1, 5 / 6), (3, 5 / 6), (4, 4 / 6), (7, 0.5), (9, 0.5)):
        given = [row[:] for row in wanted]
        for cell in range(wrong):
            given[cell // 3][cell % 3] = 0
        e = rewards_kit.episode([], reference={"grid": wanted}, outcome={"grid": given})
        assert asyncio.run(GridProximity().score(e)).value == pytest.approx(value)


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
def test_every_success_outranks_every_failure(good, bad, edges):
    steps = len(edges)
    tiers = [k / steps for k in range(steps + 1)]

    def value(outcome: float, near: float) -> float:
        parts = Fixed(outcome), Fixed(near, name="near")
        reward = Tiered(*parts, alpha=0.99, edges=sorted(edges), tiers=tiers)
        return asyncio.run(judge(reward, episode(["x"]))).value

    assert value(1, good) > value(0, bad)


def test_tiers_that_could_rank_a_failure_first_are_refused(rewards_kit):
    with pytest.raises(ConfigError, match="outrank"):
        Tiered(rewards_kit.Fixed(), alpha=1.5)


def test_automata_read_the_events_of_an_episode(rewards_kit):
    e = rewards_kit.episode(["edit", "test", "submit"], answers=["ok"] * 3)
    for turn, name in zip(e.turns, ("edit", "test", "submit"), strict=True):
        turn.calls = [ToolCall(name)]
    held = asyncio.run(judge(Ltlf("G(call:edit -> F call:test) & F call:submit"), e))
    assert (held.value, held.steps) == (1.0, [0.0, 0.0, 1.0])
    never = asyncio.run(judge(Ltlf("G !call:edit", violated=-1.0), e))
    assert (never.value, never.steps) == (-1.0, [-1.0, 0.0, 0.0]), "decided at the first turn"
    edited = Transition(state="a", when="call:edit !error", to="b", reward=0.5)
    submitted = Transition(state="b", when="call:submit", to="c", reward=1.0)
    machine = RewardMachine("a", [edited, submitted], ["c"])
    score = asyncio.run(judge(machine, e))
    assert score.steps == [0.5, 0.0, 1.0]
    assert score.evidence == "a > b > b > c"


@pytest.mark.parametrize("text", ["F(", "a U", "", "X", "a & & b"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ConfigError, match="LTLf"):
        parse_ltl(text)


@given(st.sampled_from(["F a", "a U b", "G(a -> X b)", "X X a", "!(a & b)"]))
def test_two_negations_are_none(text):
    f = parse_ltl(text)
    assert negate(negate(f)) == f


def test_repetition():
    assert repetition("a b c d e f") == 0
    assert repetition("a b " * 20) > 0.9
