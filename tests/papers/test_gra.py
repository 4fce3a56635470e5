"""The claim of paper 4, trained for real; and that it can fail. CI does one of three seeds."""

from __future__ import annotations

import pytest

from agentrl.papers import CheckResult, check
from agentrl.papers.gra import Found, holds

pytestmark = pytest.mark.timeout(900)  # wall time, where many share the cores
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.claim) for seed in (1, 2))]


@pytest.fixture(scope="module", params=SEEDS)
def checked(request: pytest.FixtureRequest) -> CheckResult:
    return check("gra", seeds=(request.param,))


def found(result: CheckResult) -> tuple[Found, Found, Found]:
    """(start, direct, gated)."""
    rows = {row[1]: row[2:] for row in result.rows}
    return (
        Found(rows["direct"][0], rows["direct"][2]),
        Found(rows["direct"][1], rows["direct"][3]),
        Found(rows["gated"][1], rows["gated"][3]),
    )


def test_gates_turn_a_falling_submission_rate_into_a_rising_one(checked):
    assert checked.passed, checked.table()
    start, direct, gated = found(checked)
    assert direct.submission < start.submission < gated.submission
    assert direct.format > start.format


def test_the_check_fails_where_the_effect_is_not_there(checked):
    start, direct, gated = found(checked)
    assert not holds(start, start, start)
    assert not holds(start, direct, direct)
    assert not holds(start, gated, gated)
    assert not holds(start, gated, direct)
