"""The seven choices: each does what its papers say, and the numbers they give come out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from guidance_kit import TASK, Rollouts, episode, group, guidance, level_of, means
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentrl.core import Check, ConfigError, Group, InfraError, Score, Status, Task
from agentrl.guidance import PRESETS, Ask, GuidanceSettings, Sources
from agentrl.guidance.hints import clip
from agentrl.guidance.leaks import flag_leaks, mentions_hint, quoted
from agentrl.guidance.merge import merged
from agentrl.guidance.providers.attempts import feedback
from agentrl.guidance.providers.written import cut
from agentrl.guidance.retire import highest_level, on_duty
from agentrl.guidance.search import Levels
from agentrl.guidance.settings import Ladder, Merge, Placement, Retirement, Search, Tier, Trigger
from agentrl.guidance.splice import entropy_point, first_wrong, repair_point
from agentrl.guidance.trigger import fires
from agentrl.papers.kit.bandit import advantages
from agentrl.rewards.judges.scripted import ScriptedChat

WRITTEN = [{"kind": "static", "texts": ["a", "b", "c"]}]


def assist(subject, groups, rollouts, step=50, seed=0, **others):
    return asyncio.run(subject.assist(groups, step, seed, means(rollouts, **others)))


def test_a_group_with_one_success_is_never_helped() -> None:
    assert fires(group([0, 0, 0]), Trigger(), ())
    assert not fires(group([0, 1, 0]), Trigger(), ())
    subject = guidance("ghpo")
    rollouts = Rollouts(lambda *_: 1.0)
    given = [group([0, 1, 0])]
    assert assist(subject, given, rollouts).groups == given
    assert not rollouts.asked


def test_what_infrastructure_broke_says_nothing() -> None:
    broken = group([0, 0])
    for one in broken.episodes:
        one.status = Status.INFRA_ERROR
    assert not fires(broken, Trigger(kind="always"), ())


def test_a_format_reward_alone_is_no_success() -> None:
    polite = group([0.5, 0.5])
    assert not fires(polite, Trigger(), ())
    assert fires(polite, Trigger(solved_at=0.5), ())
    for one in polite.episodes:
        one.scores["reward"].checks = [Check("accuracy", 0.0, passed=False)]
    assert fires(polite, Trigger(check="accuracy"), ())


def test_a_plateau_is_several_visits_without_success() -> None:
    trigger = Trigger(kind="plateau", visits=3)
    assert not fires(group([0, 0]), trigger, [0, 0])
    assert fires(group([0, 0]), trigger, [0.5, 0, 0, 0])
    assert not fires(group([0, 0]), trigger, [0, 0.5, 0])


@pytest.mark.parametrize(
    ("rule", "levels"),
    [
        (Search(kind="persistent", up_below=0.1, down_above=0.35), [1, 2, 1]),
        (Search(kind="persistent", up_below=0.35), [1, 2, 2]),
        (Search(kind="persistent", up_below=0.0, inclusive=True), [1, 2, 2]),
    ],
)
def test_the_level_of_a_task_from_visit_to_visit(rule: Search, levels: list[int]) -> None:
    kept = Levels()
    assert [kept.update(TASK, rate, rule, cap=3) for rate in (0.0, 0.0, 0.5)] == levels


def test_help_begins_fades_and_ends() -> None:
    exempt = Retirement(exempt_share=0.15)
    assert [on_duty(exempt, step, 100) for step in (1, 15, 16)] == [False, False, True]
    stage = Retirement(until=3)
    assert [on_duty(stage, step, 100) for step in (3, 4)] == [True, False]
    fading = Retirement(fade_to=1, fade_by=10)
    falls = [highest_level(fading, 5, step) for step in range(1, 14)]
    assert (falls[0], falls[-1]) == (5, 1)
    assert falls == sorted(falls, reverse=True)


def test_inside_a_tier_hints_add_up() -> None:
    reference = {tier: [f"{tier}{n}" for n in (1, 2, 3, 4)] for tier in ("knowledge", "planning")}
    task = replace(TASK, reference=reference)
    rungs = guidance("scaf_grpo").rungs
    assert rungs.top == 12

    def shown(level: int) -> str | None:
        hint = asyncio.run(rungs.hint(Ask(task, 0), level))
        return None if hint is None else hint.text

    assert shown(2) == "knowledge1\nknowledge2"
    assert shown(5) == "planning1"
    assert shown(9) is None  # no solution tier is written for this task
    everything = guidance("custom", ladder={"tiers": WRITTEN + WRITTEN[:1], "show": "all"})
    assert asyncio.run(everything.rungs.hint(Ask(task, 0), 2)).text == "a\nb"


@settings(deadline=None)
@given(st.text(max_size=50), st.floats(0.01, 1))
def test_a_solution_prefix_is_cut_by_characters(text: str, fraction: float) -> None:
    assert cut(text, fraction) == text[: round(fraction * len(text))]


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(1, 100))
def test_a_long_hint_is_clipped_to_its_limit(text: str, limit: int) -> None:
    assert len(clip(text, limit)) <= max(limit, 0)
    assert clip(text, len(text)) == text


def test_ghpo_stops_at_the_first_stage_that_succeeds() -> None:
    rollouts = Rollouts(lambda a, n: float(level_of(a) == 2 and n == 0))
    helped = assist(guidance("ghpo"), [group([0] * 4)], rollouts)
    assert rollouts.levels == [1] * 4 + [2] * 4  # with the unhinted one, three groups
    assert {a.guide.note["hint"] for a in rollouts.asked} == {"01", "01234"}
    (learned,) = helped.groups
    assert [e.guidance["level"] for e in learned.episodes] == [2] * 4
    assert helped.metrics["guided_rollouts"] == 8
    nothing = assist(guidance("ghpo"), [group([0] * 4)], Rollouts(lambda *_: 0.0))
    assert [e.guidance["level"] for e in nothing.groups[0].episodes] == [3] * 4


def test_scaf_takes_the_least_level_that_succeeds_and_replaces_one() -> None:
    reference = {name: list("1234") for name in ("knowledge", "planning", "solution")}
    task = replace(TASK, reference=reference)
    rollouts = Rollouts(lambda a, _: float(level_of(a) in (3, 7, 9)))
    failed = group([0.0] * 8, task)
    subject = guidance("scaf_grpo", steps=100)
    assert assist(subject, [failed], rollouts, step=15).groups == [failed]
    assert not rollouts.asked
    (learned,) = assist(subject, [failed], rollouts, step=16).groups
    assert rollouts.levels == list(range(1, 13))
    assert rollouts.calls == 1
    assert [e.guidance.get("level") for e in learned.episodes] == [3] + [None] * 7
    learned.episodes[1:] = [e for e in learned.episodes[1:] if e.guidance == {}]
    got = advantages(learned, channels={"outcome": {"scale": "std", "ddof": 0, "epsilon": 0.0}})
    assert np.allclose(got, [2.6458] + [-0.37796] * 7, atol=1e-4)
    got = advantages(learned, channels={"outcome": {"scale": "std", "ddof": 1, "epsilon": 0.0}})
    assert np.allclose(got, [2.4749] + [-0.35355] * 7, atol=1e-4)


def test_without_any_success_scaf_leaves_the_group_all_zero() -> None:
    task = replace(TASK, reference={"knowledge": ["k"]})
    failed = group([0, 0], task)
    assert assist(guidance("scaf_grpo"), [failed], Rollouts(lambda *_: 0.0)).groups == [failed]


def test_guide_appends_a_hinted_group_only_when_it_is_mixed() -> None:
    failed = group([0, 0, 0])
    mixed = assist(guidance("guide"), [failed], Rollouts(lambda _, n: float(n == 0))).groups
    assert [len(g.episodes) for g in mixed] == [3, 3]
    assert mixed[0] is failed
    assert mixed[1].key != failed.key
    assert assist(guidance("guide"), [failed], Rollouts(lambda *_: 1.0)).groups == [failed]


def test_agent_rlvr_tries_each_failure_again_with_what_it_was_told() -> None:
    subject = guidance("agent_rlvr")
    given = [
        Group((name,), [episode(r, task=Task(name, "", reference={"plan": f"plan {name}"}))])
        for name, r in (("t0", 0.0), ("t1", 1.0), ("t2", 0.0))
    ]
    given[0].episodes[0].outcome["failures"] = {"test_x": "assert 1 == 2 (at a.py:3)"}
    rollouts = Rollouts(lambda a, _: float(a.task.id == "t0"))
    helped = assist(subject, given, rollouts)
    assert [a.task.id for a in rollouts.asked] == ["t0", "t2"]
    told = rollouts.asked[0].guide.note["hint"]
    assert "plan t0" in told
    assert "assert 1 == 2" in told
    pairs = [
        (sum(e.reward > 0 for e in g.episodes), sum(e.reward <= 0 for e in g.episodes))
        for g in helped.groups
    ]
    assert pairs[:2] == [(1, 1), (1, 0)]  # task 0 is a pair, task 1 has no failure
    assert pairs[2] == (0, 1)  # a guided failure is no pair either


def test_sage_light_hints_the_next_visit() -> None:
    subject = guidance(
        "sage_light",
        ladder=WRITTEN,
        search={"kind": "persistent", "up_below": 0.1, "down_above": 0.35},
    )
    seen = []
    for rate in (0.0, 0.0, 0.5, 0.5):
        guides = asyncio.run(subject.before([TASK], 1, 0))
        seen.append(guides[TASK.id].note["hint"] if guides else "")
        assist(subject, [group([rate])], Rollouts(lambda *_: 0.0))
    assert seen == ["", "a", "b", "a"]


def test_a_budget_is_kept_and_the_first_groups_get_it() -> None:
    tasks = [replace(TASK, id=name) for name in "abc"]
    rollouts = Rollouts(lambda *_: 0.0)
    subject = guidance("ghpo", budget=5)
    helped = assist(subject, [group([0, 0], task) for task in tasks], rollouts)
    assert [a.task.id for a in rollouts.asked] == ["a"] * 4
    assert len(helped.rollouts) == 4


def test_a_resumed_run_gives_the_same_help() -> None:
    def fresh():
        return guidance("sage_light", ladder=WRITTEN)

    one, two = fresh(), fresh()
    assist(one, [group([0, 0])], Rollouts(lambda *_: 0.0))
    two.load_state_dict(one.state_dict())
    guides = [asyncio.run(g.before([TASK], 2, 7)) for g in (one, two)]
    assert guides[0] == guides[1] != {}


def test_who_is_solved_for_good_needs_no_help() -> None:
    subject = guidance("ghpo", retirement={"done_at": 0.5})
    rollouts = Rollouts(lambda *_: 1.0)
    assist(subject, [group([0, 1])], rollouts)
    assist(subject, [group([0, 0])], rollouts)
    assert not rollouts.asked


def test_self_hints_come_from_one_answer_and_outlive_one_that_cannot_be_read() -> None:
    answers = iter(['{"concept": "c", "method": "m", "detailed": "d"}', "sorry", "sorry"])
    tutor = ScriptedChat(lambda *_: next(answers))
    rungs = guidance("sage", sources=Sources(policy=tutor)).rungs
    found = [
        asyncio.run(rungs.hint(Ask(TASK, seed), level)).text
        for seed, level in ((1, 1), (1, 3), (2, 2))
    ]
    assert found == ["c", "d", "m"]
    assert tutor.asked == 2
    asked = tutor.conversations[0][0].content
    assert TASK.reference["solution"] in asked
    assert "Never reveal" in asked


def test_a_teacher_that_is_down_gives_no_hint_and_does_no_harm() -> None:
    class Down(ScriptedChat):
        async def chat(self, *given, **named):
            raise InfraError("judge_down", "no answer")

    subject = guidance("sage", sources=Sources(policy=Down(lambda *_: "")))
    failed = group([0, 0])
    rollouts = Rollouts(lambda *_: 1.0)
    helped = assist(subject, [failed], rollouts)
    assert helped.groups == [failed]
    assert not rollouts.asked
    assert helped.metrics["hints_missing"] > 0


def test_feedback_is_what_the_environment_said() -> None:
    failed = episode(0.0, submitted=False, refused={"conftest.py": "not a source file"})
    failed.status = Status.MAX_TURNS
    failed.scores["reward"] = Score(0.0, [Check("style", 0.0, passed=False, evidence="too long")])
    told = feedback(failed)
    for part in ("ran out of turns", "nothing was submitted", "conftest.py", "style: too long"):
        assert part in told
    assert feedback(replace(failed, outcome={}, scores={}, status=Status.COMPLETED)) == ""


def test_members_are_replaced_where_their_source_was() -> None:
    failed = group([0, 0, 0])
    repaired = episode(1.0, 9, guidance={"repairs": "door-1"})
    (after,) = merged(failed, [repaired], Merge(kind="replace_members", count=2), Trigger())
    assert [e.id for e in after.episodes] == ["door-0", "door-9", "door-2"]


def test_quoting_a_hint_is_found_and_quoting_the_task_is_not() -> None:
    hint = "the fault is in the function clamp which compares with the wrong bound"
    task = replace(
        TASK, prompt="Something is wrong with the bound of a value, find out what it is."
    )
    said = [f"I was told {hint}.", "Something is wrong with the bound of a value, find out", "ok"]
    made = [
        episode(1.0, n, task=task, said=[text], guidance={"hint": f"{hint}. {task.prompt}"})
        for n, text in enumerate(said)
    ]
    assert quoted(made[0], 8)
    assert not quoted(made[1], 8)
    spoken = episode(1.0, 5, said=["As the hint says, go left."], guidance={"hint": "go left"})
    assert set(flag_leaks([*made, spoken], 8)) == {"door-0", "door-5"}
    assert made[0].guidance["leak"]


def test_a_policy_that_speaks_of_hints_it_was_not_given_is_found() -> None:
    spoken = episode(0.0, said=["The hint tells me to go left."])
    assert mentions_hint(spoken)
    assert not mentions_hint(episode(0.0, said=["I go left."]))
    about = replace(TASK, prompt="Look at the hint on the wall.")
    assert not mentions_hint(episode(0.0, task=about, said=["The hint says left."]))
    helped = assist(guidance("ghpo"), [Group(("door",), [spoken])], Rollouts(lambda *_: 0.0))
    assert helped.metrics["unguided_mentions_hint"] == 1


def test_leaking_episodes_are_left_out_where_that_is_asked() -> None:
    def talk(attempt, number):
        return 1.0

    class Talkative(Rollouts):
        async def __call__(self, attempts):
            found = await super().__call__(attempts)
            found[0].turns[0].text = "The hint says so."
            return found

    subject = guidance("ghpo", leaks={"drop": True})
    helped = assist(subject, [group([0, 0, 0])], Talkative(talk))
    assert len(helped.groups[0].episodes) == 2
    assert helped.metrics["guided_leaks"] == 1


def test_where_a_failure_is_worth_a_repair() -> None:
    assert first_wrong([0.9, 0.8, 0.2, 0.9]) == 2  # the third step
    assert first_wrong([0.9, 0.9]) is None
    failed = episode(0.0, said="abcd", steps=[0.9, 0.8, 0.2, 0.9])
    assert repair_point(failed, 0.5, 0.5) == 2
    assert repair_point(failed, 0.5, 0.6) is None
    assert repair_point(episode(0.0, said="ab"), 0.5, 0.0) is None


@settings(deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(0, 2**32))
def test_a_branch_is_at_one_of_the_least_certain_tokens(data, top: int, seed: int) -> None:
    from random import Random

    texts = data.draw(
        st.lists(st.sampled_from(["word", " ", "x", "<|end|>", " long"]), min_size=2, max_size=12)
    )
    entropy = np.array(
        data.draw(st.lists(st.floats(0, 5), min_size=len(texts), max_size=len(texts)))
    )
    half = len(texts) // 2
    turns = np.array([0] * half + [1] * (len(texts) - half))
    made = episode(0.0)
    made.segments = [segment_of(turns)]
    point = entropy_point(made, entropy, texts, Random(seed), top=top, specials={"<|end|>"})
    able = [i for i in range(1, len(texts)) if texts[i] in ("word", " long")]
    best = sorted(able, key=lambda i: (-entropy[i], i))[:top]
    if not able:
        assert point is None
        return
    index = point[1] + (half if point[0] == 1 and half else 0)
    assert index in best
    if top == 1:
        assert entropy[index] == max(entropy[i] for i in able)


def segment_of(turns: np.ndarray):
    from agentrl.core import Origin, SegmentBuilder

    build = SegmentBuilder()
    build.append([1, 2], Origin.PROMPT, -1)
    for turn in turns:
        build.append_sampled([5], [-1.0], [0], int(turn))
    return build.build()


@pytest.mark.parametrize("kind", [k for k in PRESETS if k != "custom"])
def test_every_preset_is_whole_and_reads_back(kind: str) -> None:
    settings = GuidanceSettings(kind=kind)
    assert GuidanceSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("given_settings", "said"),
    [
        ({"kind": "sagee"}, "no guidance 'sagee'"),
        ({}, "there is no hint"),
        ({"kind": "sage", "placement": {"kind": "splice"}}, "placement"),
        ({"kind": "sdpo", "search": {"kind": "sequential"}}, "search"),
        ({"kind": "guide", "placement": {"kind": "assistant_prefix"}}, "cannot be taken out"),
        ({"kind": "sage", "ladder": ["teacher"]}, "needs `model`"),
        ({"kind": "sage", "placement": {"template": "no place"}}, "{hint}"),
    ],
)
def test_choices_that_do_not_fit_are_refused(given_settings: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("{", r"\{").replace("}", r"\}")):
        GuidanceSettings(**given_settings)


def test_a_provider_of_ones_own_must_be_one() -> None:
    sources = Sources(named=lambda name, where: object)
    with pytest.raises(ConfigError, match="gives no hints"):
        guidance("sage", sources=sources, ladder=["my:Hints"])


def test_short_forms() -> None:
    assert Ladder.model_validate(["plan", "feedback"]) == Ladder(
        tiers=(Tier(kind="plan"), Tier(kind="feedback"))
    )
    assert GuidanceSettings(kind="after_failure", ladder=["plan"]).ladder.show == "all"
    assert Placement().template == "Hint: {hint}"
