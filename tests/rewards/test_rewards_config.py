"""The `reward:` section: what it builds, and what a mistake in it says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml

from agentrl.core import ConfigError, Episode, Score
from agentrl.rewards import Gated, Submitted, TestsPass, Weighted, build_reward


@dataclass
class Short:
    """A user's own reward."""

    limit: int
    name: str = "short"

    async def score(self, episode: Episode) -> Score:
        return Score(float(len(episode.turns) <= self.limit))


def build(text: str):
    return build_reward(yaml.safe_load(text))


def test_the_run_files_form():
    reward = build(
        """
        kind: gated
        outcome: {kind: tests_pass}
        above: 0.0
        steps: [{kind: format_ok, weight: 0.1}, {kind: tool_ok, weight: 0.1, scope: sum}]
        """
    )
    assert isinstance(reward, Gated)
    assert reward.mode == "gated"
    got = [(v.name, v.priority, v.above, v.weight, v.scope) for v in reward.levels]
    assert got == [
        ("tests_pass", 1, 0.0, 1.0, "mean"),
        ("format_ok", 0, 0.0, 0.1, "mean"),
        ("tool_ok", 0, 0.0, 0.1, "sum"),
    ]


def test_levels_nest_and_take_settings():
    reward = build(
        """
        kind: gated
        mode: direct
        levels:
          - {kind: submitted, priority: 2, above: -0.5, never: -2}
          - {kind: weighted, name: mix, priority: 1, parts: [{kind: format_ok}, {kind: tool_ok}]}
        """
    )
    assert isinstance(reward, Gated)
    assert reward.mode == "direct"
    assert reward.levels[0].reward == Submitted(never=-2.0)
    assert isinstance(reward.levels[1].reward, Weighted)


def test_a_reward_of_ones_own_by_import_path():
    assert build_reward({"kind": f"{__name__}:Short", "limit": "3"}) == Short(3)


def test_outcome_alone():
    assert build("{kind: tests_pass, failed: -1}") == TestsPass(failed=-1.0)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("{kind: gatd}", "reward.kind", "did you mean 'gated'?"),
        ("{weight: 1}", "reward", "needs a 'kind'"),
        ("gated", "reward", "expected a mapping, found str"),
        ("{kind: gated}", "reward", "needs an 'outcome'"),
        ("{kind: gated, outcome: {kind: tests_pas}}", "reward.outcome.kind", "'tests_pass'"),
        ("{kind: gated, outcom: {}}", "reward.outcom", "did you mean 'outcome'?"),
        (
            "{kind: gated, outcome: {kind: submitted}, steps: [{kind: tool_ok, wieght: 1}]}",
            "reward.steps[0].wieght",
            "unknown setting 'wieght'",
        ),
        (
            "{kind: gated, outcome: {kind: submitted}, steps: [{kind: tool_ok, weight: big}]}",
            "reward.steps[0].weight",
            "valid number",
        ),
        (
            "{kind: gated, outcome: {kind: submitted}, steps: [{kind: tool_ok, scope: max}]}",
            "reward.steps[0].scope",
            "'sum' or 'mean'",
        ),
        ("{kind: gated, outcome: {kind: submitted}, mode: open}", "reward.mode", "'direct'"),
        (
            "{kind: gated, outcome: {kind: submitted}, above: .nan}",
            "reward.outcome.above",
            "finite",
        ),
        ("{kind: gated, levels: [], above: 1}", "reward.above", "cannot stand beside"),
        ("{kind: weighted, parts: {kind: tool_ok}}", "reward.parts", "expected a list"),
        ("{kind: weighted, parts: [{kind: tool_ok}, {kind: tool_ok}]}", "reward", "second reward"),
        ("{kind: tool_ok, name: reward}", "reward", "kept for the whole"),
        ("{kind: 'no.such:Thing'}", "reward.kind", "cannot import"),
        (f"{{kind: '{__name__}:Short'}}", "reward", "needs limit"),
        ("{kind: 'builtins:list'}", "reward.kind", "is not a reward"),
    ],
)
def test_a_mistake_says_where_and_what_to_write(text, where, says):
    with pytest.raises(ConfigError) as caught:
        build(text)
    assert caught.value.where == where
    assert says in str(caught.value)
