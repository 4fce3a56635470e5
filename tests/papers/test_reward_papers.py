"""The unit numbers of the papers on rewards, by the checks that users run."""

from __future__ import annotations

import pytest

from agentrl.papers import check
from agentrl.papers.kit.toys import listed, table

PAPERS = [
    "acre",
    "capo",
    "cooper",
    "cross_domain",
    "darl",
    "dense_rewards",
    "edit_r1",
    "expressivity",
    "grpo_vps",
    "lare",
    "laser",
    "likelihood",
    "lipschitz",
    "medvlsynther",
    "oni",
    "opv",
    "reward_spec",
    "rise",
    "rlfr",
    "rlpr",
    "rlvrr",
    "rm_nlhf",
    "sar",
    "starc",
    "step_audio",
    "trm",
    "urlvr",
    "verifier_pitfalls",
    "verify_bench",
    "verpo",
    "writing_zero",
]


@pytest.mark.parametrize("key", PAPERS)
def test_the_numbers_of_a_paper(key):
    result = check(key, seeds=(0,))
    assert result.passed, result.table()
    assert len(result.rows) >= 4


def test_a_check_of_numbers_can_fail():
    assert table([("a", 0.5, 0.5)]).passed
    assert not table([("a", 0.5, 0.5), ("b", 0.5, 0.51)]).passed
    assert not table([]).passed
    assert not table(listed("l", [1, 2], [1])).passed
    assert not table([("nan", 0.0, float("nan"))]).passed
