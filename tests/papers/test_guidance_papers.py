"""The guidance papers: their numbers hold, and their checks can fail.

Those that train a policy (sage, guide, agent_rlvr, scaf_grpo) take minutes on all seeds:
`make papers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import pytest

from agentrl.core import Episode, ToolCall
from agentrl.guidance import PRESETS, GuidanceSettings
from agentrl.guidance.providers import written
from agentrl.learner.reference import ReferencePolicy
from agentrl.papers import agent_rlvr, check, guide, sage, scaf_grpo
from agentrl.papers.kit.doors import DIALS, DOORS, MARKS, TURNS, Door, door, marks
from agentrl.papers.kit.hinted import STAYS, Run, holds
from agentrl.papers.kit.rollouts import converse

Break = Callable[[pytest.MonkeyPatch], None]


def preset(name: str, **changes: object) -> Break:
    """The preset of that name without what makes it the paper's."""
    return lambda patch: patch.setitem(PRESETS, name, PRESETS[name] | changes)


SPLICE = {"kind": "splice", "point": "first_error", "keep": "context"}
BROKEN: dict[str, Break] = {
    "ghpo": lambda patch: patch.setattr(written, "cut", lambda text, _: text[:5]),
    "scope": preset("scope", placement=SPLICE),
    "cure": preset("cure", search={"kind": "branch", "branches": 2}),
    "sdpo": lambda patch: patch.setattr(ReferencePolicy, "follow", lambda self: None),
}


@pytest.mark.parametrize("key", BROKEN)
def test_the_numbers_of_the_source_hold(key: str) -> None:
    result = check(key, seeds=(0,))
    assert result.passed, result.table()


@pytest.mark.parametrize("key", BROKEN)
def test_the_check_fails_where_the_method_is_broken(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN[key](monkeypatch)
    assert not check(key, seeds=(0,)).passed


@pytest.mark.claim
def test_a_trained_check_fails_where_guided_episodes_are_not_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preset("guide", merge={"kind": "none"})(monkeypatch)
    result = check("guide", seeds=(0,))
    assert not result.passed
    assert all(row[result.columns.index("after")] <= STAYS for row in result.rows), result.table()


def test_the_effect_is_not_there_when_nothing_or_everything_moves() -> None:
    start = Run(before=0.001, after=0.0, rollouts=1, guided=0, updates=1)
    risen = replace(start, after=0.9)
    assert holds(start, risen)
    assert not holds(start, start)
    assert not holds(risen, risen)
    assert not holds(replace(start, before=0.5), risen)


@pytest.mark.parametrize("module", [agent_rlvr, guide, sage, scaf_grpo])
def test_the_trained_checks_use_the_presets_as_they_are(module: ModuleType) -> None:
    found = module.settings()
    plain = GuidanceSettings(kind=found.kind)
    for choice in ("trigger", "placement", "search", "merge", "train", "retirement", "leaks"):
        assert getattr(found, choice) == getattr(plain, choice)


def test_scaf_tells_one_two_three_and_at_last_all_moves() -> None:
    tiers = scaf_grpo.reference([0, 6, 12, 18])
    shown = [
        sum(bool(line) for text in tiers[tier][: level + 1] for line in text.split("\n"))
        for tier in ("knowledge", "planning", "solution")
        for level in range(4)
    ]
    assert shown == [1] * 4 + [2] * 4 + [3, 3, 3, 4]


def test_a_door_tells_nothing_before_the_end() -> None:
    """What a policy reads at a wrong dial is what it reads at a right one."""
    code = [0, 6, 12, 18]

    def play(marks: Sequence[int]) -> Episode:
        calls = [ToolCall(dial, {"mark": mark}) for dial, mark in zip(DIALS, marks, strict=True)]
        return asyncio.run(converse(Door(), door(0, code), calls))

    right, wrong = play(code), play([0, 6, 12, 19])
    assert right.outcome["resolved"]
    assert not wrong.outcome["resolved"]
    assert wrong.outcome["step_scores"] == [1, 1, 1, 0]
    seen = [[t.results[0].text for t in e.turns] for e in (right, wrong)]
    assert seen[0] == seen[1] == ["turned"] * TURNS


def test_no_two_dials_share_a_mark() -> None:
    every = [mark for n in range(DOORS) for dial in range(len(DIALS)) for mark in marks(n, dial)]
    assert len(every) == len(set(every)) == DOORS * len(DIALS) * MARKS
