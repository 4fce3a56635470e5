"""DeepTravel's check: its world tells nothing, and the check fails where the method is broken.

On all seeds it takes minutes: `make papers`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from agentrl.core import Check, Score
from agentrl.papers import check, deeptravel
from agentrl.papers.deeptravel import STARTS, STAYS, Run, Verdicts, filters, holds
from agentrl.papers.kit import trips as world
from agentrl.papers.kit.world import on_one_thread
from agentrl.rewards.process.hierarchy import Hierarchical
from agentrl.training import supply


@pytest.mark.claim
@pytest.mark.timeout(900)  # wall time, where many share the cores
def test_the_check_fails_where_failed_trips_are_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supply, "replayed", lambda *_: 0)
    result = check("deeptravel", seeds=(0,))
    assert not result.passed
    row = dict(zip(result.columns[:6], result.rows[0][:6], strict=True))
    assert row["tail before"] <= STARTS
    assert result.rows[0][3] <= STAYS, result.table()
    assert result.rows[0][5] > result.rows[0][4], "what is easy is learned all the same"


def test_the_effect_is_not_there_when_nothing_or_everything_moves() -> None:
    stays = Run(tail=(0.02, 0.02), easy=(0.7, 0.9), rollouts=100)
    risen = replace(stays, tail=(0.02, 0.6))
    assert holds(risen, stays)
    assert not holds(stays, stays)
    assert not holds(risen, risen)
    assert not holds(replace(risen, tail=(0.3, 0.6)), stays)
    assert not holds(replace(risen, rollouts=101), stays)


def verdicts(folder: Path) -> Verdicts:
    calls = folder / "calls.jsonl"
    if not calls.exists():
        world.record(calls)
    found = on_one_thread(world.travelled(deeptravel.untaught(), calls, 400))
    return Counter(map(deeptravel.said_of, found))


def test_a_verifier_that_asks_too_much_or_believes_too_much_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filters(verdicts(tmp_path))

    def goes_on(self: Hierarchical, name: str, *given: object) -> bool:
        score = given[-1]
        assert isinstance(score, Score)
        score.checks.append(Check(name, 1.0, True))
        return True

    with monkeypatch.context() as patch:
        patch.setattr(Hierarchical, "_passes", goes_on)
        assert not filters(verdicts(tmp_path))
    real = world.verdict
    monkeypatch.setattr(
        world, "verdict", lambda text, seed: {"passes": True} if " turn>" in text else real(text)
    )
    assert not filters(verdicts(tmp_path))


def test_what_holds_differs_by_seed_and_no_answer_tells_it() -> None:
    """The recorded answers are the same for every seed, and no two towns share an id."""
    first, second = (list(world.trips(seed)) for seed in (0, 1))
    assert [t.prompt for t in first] == [t.prompt for t in second]
    assert [t.reference for t in first] != [t.reference for t in second]
    tail, easy = world.by_tail(first)
    assert (len(tail), len(easy)) == (world.TAIL, world.EASY * world.DAYS)
    towns = range(world.TAIL + world.EASY)
    ids = [n for town in towns for kind in world.KINDS for n in world.offers(kind, town)]
    assert len(ids) == len(set(ids))
