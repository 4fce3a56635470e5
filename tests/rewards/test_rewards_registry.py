"""Every entry of the registry can be built from a run file, and the page's table is current."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from agentrl.core import ConfigError, Reward
from agentrl.papers.kit.toys import CharacterModel
from agentrl.rewards import Resources, build_plan, build_reward, judge
from agentrl.rewards.group import BatchReward, GroupReward
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.registry import EPISODE_SCOPES, KINDS, kinds
from agentrl.rewards.table import markdown
from agentrl.rewards.transforms import RewardTransform
from agentrl.rewards.verifiers import Verified

ROOT = Path(__file__).parents[2]
BASE = "{kind: tests_pass}"
SETTINGS = {
    "or_else": "first: {kind: math}, second: {kind: judge, judge: j}",
    "guard": "verifier: {kind: judge, judge: j}",
    "all_of": "verifiers: [{kind: f1}, {kind: exact_match}]",
    "mean": "verifiers: [{kind: f1}, {kind: exact_match}], weights: [1, 2]",
    "soft_verifier": "judge: j",
    "judge": "judge: j, votes: 3",
    "first_error": "judge: j",
    "rubric": "judge: j, items: [{id: a, question: clear, kind: essential}]",
    "preference_mix": f"judge: j, outcome: {BASE}",
    "hierarchical": "judge: j",
    "tiered": f"outcome: {BASE}",
    "dense": f"outcome: {BASE}, dense: [{{kind: tool_ok}}], weights: [0.1]",
    "shuffle_consistency": "model: j",
    "last_token": "token: 5",
    "cooper": "source: {rule: {kind: math}, rewriter: j}",
    "checklist": "judge: j",
    "process": f"judge: j, outcome: {BASE}, mode: renorm",
    "capo": f"judge: j, outcome: {BASE}, rule: union",
    "process_verified": "judge: j",
    "faithful": "judge: j",
    "intrinsic": f"judge: j, outcome: {BASE}",
    "flow": "size: 8",
    "decomposition": f"outcome: {BASE}, factors: {{writer: j}}",
    "reward_machine": "start: a, transitions: [{state: a, when: ok, to: b, reward: 1}]",
    "ltlf": 'formula: "F ok"',
    "bootstrap": "judge: j",
    "tournament": "judge: j",
    "subtract": "of: tests_pass",
    "fade": "of: tests_pass, steps: 10",
    "constraints": "limits: {bad_call: 0.1}",
}


def resources(seen: list[str] | None = None) -> Resources:
    def chat(value: object, where: str) -> ScriptedChat:
        if seen is not None:
            seen.append(where)
        return ScriptedChat(lambda text, seed: "1", name=str(value))

    return Resources(
        chat, CharacterModel(lambda context, character: 0.5), Resources.none().sandboxes
    )


def entry(name: str) -> dict:
    return yaml.safe_load(f"{{kind: {name}, {SETTINGS.get(name, '')}}}")


@pytest.mark.parametrize("name", kinds(*EPISODE_SCOPES))
def test_a_reward_from_its_entry(name, rewards_kit):
    reward = build_reward(entry(name), resources())
    assert isinstance(reward, Reward)
    assert isinstance(reward, Verified) is (name in kinds("answer"))
    asyncio.run(_judged_without_an_answer(reward, rewards_kit.episode([])))


async def _judged_without_an_answer(reward: Reward, e) -> None:
    """An episode in which the policy said nothing breaks no reward."""
    await judge(reward, e)
    assert "reward" in e.scores


@pytest.mark.parametrize("name", kinds("group"))
def test_a_group_reward_from_its_entry(name):
    plan = build_plan({"kind": "tests_pass", "group": [entry(name)]}, resources())
    assert isinstance(plan.group[0], GroupReward | BatchReward)


@pytest.mark.parametrize("name", kinds("transform"))
def test_a_transform_from_its_entry(name):
    plan = build_plan({"kind": "tests_pass", "transforms": [entry(name)]}, resources())
    assert isinstance(plan.transforms[0], RewardTransform)


def test_judges_learn_where_they_are_named():
    seen: list[str] = []
    second = {"kind": "judge", "judge": {"x": 1}}
    checked = {"kind": "or_else", "first": {"kind": "math"}, "second": second}
    build_reward({"kind": "weighted", "parts": [checked]}, resources(seen))
    assert seen == ["reward.parts[0].second.judge"]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("{kind: guard, verifier: {kind: maths}}", "reward.verifier.kind", "did you mean 'math'"),
        ("{kind: guard}", "reward", "needs verifier"),
        ("{kind: all_of, verifiers: {kind: f1}}", "reward.verifiers", "expected a list"),
        ("{kind: capo, judge: j}", "reward", "needs outcome"),
        ("{kind: ltlf, formula: 'F('}", "reward", "no LTLf formula"),
        ("{kind: tests_pass, transforms: [{kind: clipp}]}", "reward.transforms[0].kind", "'clip'"),
        ("{kind: tests_pass, group: {kind: length}}", "reward.group", "expected a list"),
        ("{kind: tests_pass, transforms: [{kind: clip}, {kind: clip}]}", "reward", "second reward"),
        ("{kind: math, wrng: 1}", "reward.wrng", "unknown setting"),
        ("{kind: tiered, outcome: {kind: tests_pass}, alpha: 2}", "alpha", "outrank"),
        ("{kind: majority_vote}", "reward.kind", "unknown reward kind"),
    ],
)
def test_a_mistake_says_where_and_what(text, where, says):
    with pytest.raises(ConfigError) as caught:
        build_plan(yaml.safe_load(text), resources())
    assert caught.value.where == where
    assert says in str(caught.value)


def test_what_a_run_does_not_have_is_said():
    without = Resources(resources().chat)
    with pytest.raises(ConfigError, match="log-probabilities"):
        build_reward({"kind": "self_aligned"}, without)
    with pytest.raises(ConfigError, match="sandboxes"):
        build_reward({"kind": "unit_tests"}, without)


def test_names_are_unique():
    names = [kind.name for kind in KINDS if kind.name]
    assert len(names) == len(set(names))


def test_the_table_of_the_page_is_current():
    page = (ROOT / "docs" / "rewards.md").read_text("utf-8")
    assert markdown() in page, "put the output of `python -m agentrl.rewards` into docs/rewards.md"
