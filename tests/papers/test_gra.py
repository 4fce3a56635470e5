"""The claim of paper 4, trained for real; and that its check can fail. `make papers` trains it on
all seeds."""

from __future__ import annotations

import pytest

from agentrl.papers import CheckResult, check
from agentrl.papers.gra import Found, holds

pytestmark = pytest.mark.timeout(900)  # wall time, where many share the cores


@pytest.fixture(scope="module")
def checked() -> CheckResult:
    return check("gra", seeds=(0,))


def found(result: CheckResult) -> list[tuple[Found, Found, Found]]:
    """(start, direct, gated) by seed."""
    rows = {(row[0], row[1]): row[2:] for row in result.rows}
    return [
        (
            Found(rows[seed, "direct"][0], rows[seed, "direct"][2]),
            Found(rows[seed, "direct"][1], rows[seed, "direct"][3]),
            Found(rows[seed, "gated"][1], rows[seed, "gated"][3]),
        )
        for seed in (0,)
    ]


def test_gates_turn_a_falling_submission_rate_into_a_rising_one(checked):
    assert checked.passed, checked.table()
    for start, direct, gated in found(checked):
        assert direct.submission < start.submission < gated.submission
        assert direct.format > start.format


def test_the_check_fails_where_the_effect_is_not_there(checked):
    for start, direct, gated in found(checked):
        assert not holds(start, start, start)
        assert not holds(start, direct, direct)
        assert not holds(start, gated, gated)
        assert not holds(start, gated, direct)
