"""The check of Agnostics on two languages; tests/environments/test_languages.py runs them all."""

from __future__ import annotations

import pytest

import agentrl.environments.languages as room
from agentrl.core import Episode, Task
from agentrl.papers import agnostics
from agentrl.rewards import ProgramOutput, build_reward


@pytest.mark.docker
def test_the_claim_holds_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {name: room.languages()[name] for name in ("lua", "python")}
    # The image of all of them serves; that of these two is smaller.
    monkeypatch.setattr(room, "languages", lambda: two)
    found = agnostics.run([0])
    assert found.passed, found.rows
    assert [row[0] for row in found.rows] == ["lua", "python"]
    monkeypatch.setitem(agnostics.SUM, "lua", "print('no sum')")
    assert not agnostics.run([0]).passed


@pytest.mark.parametrize(
    ("status", "value"),
    [("success", 1.0), ("wrong_output", 0.2), ("error", 0.0), ("timeout", 0.0),
     ("compile_error", 0.0), ("no_code", 0.0)],
)  # fmt: skip
async def test_partial_credit_is_for_what_runs_cleanly(status: str, value: float) -> None:
    episode = Episode(Task("t", "p"))
    assert (await ProgramOutput().score(episode)).abstained
    episode.outcome = {"status": status, "passed": 1, "total": 4}
    score = await build_reward({"kind": "program_output"}).score(episode)
    assert score.value == value
    half = await ProgramOutput(partial=0.5).score(episode)
    assert half.value == (0.5 if status == "wrong_output" else value)
