"""The guidance papers: their numbers hold, and their checks can fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agentrl.core import Episode, ToolCall
from agentrl.guidance import PRESETS
from agentrl.guidance.providers import written
from agentrl.learner.reference import ReferencePolicy
from agentrl.papers import check
from agentrl.papers.kit.doors import DIALS, TURNS, Door, door
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


def test_a_door_tells_nothing_before_the_end() -> None:
    """What a policy reads at a wrong dial is what it reads at a right one."""

    def play(code: str) -> Episode:
        calls = [ToolCall(dial, {"mark": mark}) for dial, mark in zip(DIALS, code, strict=True)]
        return asyncio.run(converse(Door(), door("oak", "aiq"), calls))

    right, wrong = play("aiq"), play("air")
    assert right.outcome["resolved"]
    assert not wrong.outcome["resolved"]
    assert wrong.outcome["step_scores"] == [1, 1, 0]
    seen = [[t.results[0].text for t in e.turns] for e in (right, wrong)]
    assert seen[0] == seen[1] == ["turned"] * TURNS
