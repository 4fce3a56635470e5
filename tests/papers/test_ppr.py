"""The claim of paper 36, trained for real; and that it can fail. CI does one of three seeds."""

from __future__ import annotations

import pytest

from agentrl.papers import CheckResult, check
from agentrl.papers.ppr import Found, holds

pytestmark = pytest.mark.timeout(1200)  # wall time, where many share the cores
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.claim) for seed in (1, 2))]


@pytest.fixture(scope="module", params=SEEDS)
def checked(request: pytest.FixtureRequest) -> CheckResult:
    return check("ppr", seeds=(request.param,))


def test_the_raw_sum_pads_and_renorm_answers(checked):
    assert checked.passed, checked.table()
    assert len(checked.rows) == 2


def test_the_check_fails_where_the_effect_is_not_there(checked):
    rows = {row[1]: row[2:] for row in checked.rows}
    start = Found(rows["sum"][0], rows["sum"][2])
    summed = Found(rows["sum"][1], rows["sum"][3])
    renormed = Found(rows["renorm"][1], rows["renorm"][3])
    assert holds(start, summed, renormed)
    assert not holds(start, start, start)
    assert not holds(start, renormed, renormed)
    assert not holds(start, summed, summed)
