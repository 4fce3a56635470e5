"""The check of Agnostics on two languages; tests/environments/test_languages.py runs them all."""

from __future__ import annotations

import pytest

import agentrl.environments.languages as room
from agentrl.core import Episode, Task
from agentrl.papers import agnostics
from agentrl.papers.agnostics import Shares, better, holds, program
from agentrl.rewards import ProgramOutput, build_reward

GOOD = Shares((0.12, 0.01), (0.5, 0.05), (0.95, 0.9))
STUCK = Shares((0.12, 0.01), (0.15, 0.01), (0.2, 0.02))


@pytest.mark.docker
def test_the_claim_holds_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {name: room.languages()[name] for name in ("lua", "python")}
    # The image of all of them serves; that of these two is smaller.
    monkeypatch.setattr(room, "languages", lambda: two)

    async def trained(pools: object, seed: int) -> tuple[Shares, Shares]:
        return GOOD, STUCK

    real = agnostics.trained
    monkeypatch.setattr(agnostics, "trained", trained)
    found = agnostics.run([0])
    assert found.passed, found.rows
    assert [row[0] for row in found.rows[:2]] == ["lua", "python"]
    assert found.rows[0][2] == "1 0.2 0 0 0"
    assert found.rows[2][0] == "policy, partial 0.2, start: runs, right"
    monkeypatch.setitem(agnostics.SUM, "lua", "print('no sum')")
    assert not agnostics.run([0]).passed
    # The training itself, too short to learn anything: what the policy writes runs in Lua.
    monkeypatch.undo()
    monkeypatch.setattr(room, "languages", lambda: two)
    for name, value in (("UPDATES", 2), ("GROUP", 4), ("EVALUATED", 4)):
        monkeypatch.setattr(agnostics, name, value)
    monkeypatch.setattr(agnostics, "trained", real)
    assert not agnostics.run([0]).passed


def test_the_training_has_to_show_each_part_of_the_claim() -> None:
    assert holds(GOOD)
    assert not holds(STUCK)
    at_once = Shares((0.12, 0.01), (0.5, 0.5), (0.95, 0.9))
    assert not holds(at_once), "right programs did not come after clean ones"
    assert better([(GOOD, STUCK), (GOOD, GOOD)])
    assert not better([(GOOD, GOOD), (GOOD, GOOD)])


def test_every_token_is_a_way_to_write_its_part_and_few_programs_are_right() -> None:
    assert program([0, 0, 0, 0, 0]) == "a,b=io.read('n','n') print(a+b)"
    assert program([2, 7, 2, 8, 2]) == program([0, 0, 0, 0, 0])
    assert program([1, 0, 1, 7, 1]) == "a,c=io.read('n','n') print[a b"


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
