"""Rewards of search agents: the papers' numbers, and properties that keep them honest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import Episode, Task
from agentrl.rewards import (
    SEARCH_TAGS,
    ClaimReward,
    ContextReward,
    TagGrammar,
    build_reward,
    claim_metrics,
)
from agentrl.rewards.search import NO_INFO, context


def claim(
    label: str, cited: str, gold: str = "abc", true: str = "SUPPORT", form: bool = True
) -> Episode:
    reference = {"label": true, "evidence": list(gold)}
    outcome = {"label": label, "cited": list(cited), "format": form}
    return Episode(Task("c", "?", reference=reference), outcome=outcome)


@pytest.mark.parametrize(
    ("episode", "full", "label_only"),
    [
        (claim("SUPPORT", "abd"), 2.5, 3),
        (claim("SUPPORT", "abc"), 4, 3),
        (claim("SUPPORT", "a"), 4 / 3, 3),
        (claim("REFUTE", "abc"), 2, 1),
        (claim("SUPPORT", "abc", form=False), 3, 2),
        (claim(NO_INFO, "", gold="", true=NO_INFO), 3, 3),
        (claim(NO_INFO, "ab", gold="", true=NO_INFO), 3, 3),
    ],
)
async def test_claims_are_worth_what_the_paper_says(episode, full, label_only):
    assert (await ClaimReward().score(episode)).value == pytest.approx(full)
    assert (await ClaimReward(label_only=True).score(episode)).value == label_only


def test_the_metrics_of_claims():
    episodes = [
        claim("SUPPORT", "abc"), claim("SUPPORT", "abcd"), claim("SUPPORT", "a"),
        claim("REFUTE", "abc"), claim(NO_INFO, "", gold="", true=NO_INFO), Episode(Task("x", "")),
    ]  # fmt: skip
    found = claim_metrics(episodes)
    assert found["label_accuracy"] == 0.8
    assert found["verified_accuracy"] == pytest.approx(0.6)
    assert found["joint_accuracy"] == pytest.approx(0.4)
    assert found["evidence"] == pytest.approx((1 + 0.75 + 1 / 3 + 1 + 0) / 5)
    assert claim_metrics([])["joint_accuracy"] == 0


def context_episode(cited: list[str], right: bool, form: bool = True) -> Episode:
    task = Task("q", "?", reference={"answers": ["yes"], "evidence": ["0", "5"]})
    outcome = {"answer": "Yes." if right else "no", "cited": cited, "format": form}
    return Episode(task, outcome=outcome)


@pytest.mark.parametrize(
    ("cited", "right", "form", "value"),
    [
        ("057", True, True, 1.9091),
        ("057", False, True, 0.0909),
        ("0", True, True, 1.5556),
        ("05", True, True, 2.0),
        ("", True, True, 1.0),
        ("05", False, True, 0.1),
        ("05", True, False, 0.0),
    ],
)
async def test_context_is_worth_what_the_paper_says(cited, right, form, value):
    score = await ContextReward().score(context_episode(list(cited), right, form))
    assert score.value == pytest.approx(value, abs=5e-5)


def test_ids_named_twice_cost_precision():
    assert context(["0", "0", "5"], ["0", "5"]) == (pytest.approx(2 / 3), 1.0)


async def test_recall_only_pays_for_listing_everything_and_f_does_not():
    listed, exact = (context_episode(ids, True) for ids in (list("0123456789"), list("05")))
    recall = ContextReward(recall_only=True)
    assert (await recall.score(listed)).value == (await recall.score(exact)).value == 2
    assert (await ContextReward().score(listed)).value < (await ContextReward().score(exact)).value


@pytest.mark.parametrize("reward", [ClaimReward(), ContextReward()])
async def test_without_a_reference_they_abstain(reward):
    assert (await reward.score(Episode(Task("t", "")))).abstained


def test_run_files_name_them():
    reward = build_reward({"kind": "context", "beta": 1.0})
    assert isinstance(reward, ContextReward)
    assert isinstance(build_reward({"kind": "claim", "label_only": True}), ClaimReward)


GOOD = (
    "<plan>p</plan><search>s</search><information>i</information><think>t</think><answer>a</answer>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD, None),
        ("<think>t</think>\n<answer>a</answer>\n", None),
        (GOOD.replace("<search>s</search>", ""), "<information> does not follow <search>"),
        (GOOD.replace("<think>t</think>", ""), "<information> is not followed by <think>"),
        (f"{GOOD} more", "does not end with <answer>"),
        (GOOD + GOOD, "2 <answer> blocks"),
        ("<think>t</think>", "0 <answer> blocks"),
        ("<answer><think>t</think></answer>", "<think> inside <answer>"),
        ("<answer>a", "<answer> is not closed"),
        ("</think><answer>a</answer>", "</think> closes nothing"),
    ],
)
def test_the_grammar_of_tags(text, said):
    problems = SEARCH_TAGS.problems(text)
    assert (said in problems) if said else problems == []


@given(st.lists(st.sampled_from(["<a>", "</a>", "<b>", "</b>", "x", "<c>"]), max_size=8))
def test_without_rules_only_nesting_counts(parts):
    inside = ""
    sound = True
    for part in parts:
        if part in ("<a>", "<b>"):
            sound, inside = sound and not inside, part[1]
        elif part in ("</a>", "</b>"):
            sound, inside = sound and inside == part[2], ""
    problems = TagGrammar(("a", "b")).problems("".join(parts))
    assert (problems == []) is (sound and not inside)
