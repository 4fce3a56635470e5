"""Pass rates, pairs of tasks, and TraPO's choice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import Episode, Group, Score, Status, Task
from agentrl.training.curriculum import (
    PassRates,
    TrajectorySelection,
    best,
    pair_tasks,
    set_roles,
    trajectory_scores,
)


def played(task: str, rewards: list[float], status: Status = Status.COMPLETED) -> Group:
    episodes = [
        Episode(Task(id=task, prompt=""), status=status, scores={"reward": Score(r)})
        for r in rewards
    ]
    return Group((task,), episodes)


def test_pass_rates_remember_every_visit_and_no_broken_one() -> None:
    rates = PassRates()
    rates.record([played("a", [1.0, 0.0]), played("b", [1.0], Status.INFRA_ERROR)])
    rates.record([played("a", [1.0, 1.0])])
    assert rates.history("a") == [0.5, 1.0]
    assert rates.latest() == {"a": 1.0}
    assert PassRates(rates.state_dict()).history("a") == [0.5, 1.0]


@given(
    st.dictionaries(st.text(max_size=3), st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])),
    st.integers(0, 5),
    st.integers(0, 99),
)
def test_pairs_are_of_a_hard_and_an_easy_task_that_can_still_surprise(
    rates: dict[str, float], count: int, seed: int
) -> None:
    pairs = pair_tasks(rates, count, seed)
    assert pairs == pair_tasks(rates, count, seed)
    assert len(pairs) <= count
    for hard, easy in pairs:
        assert 0 < rates[hard] <= 0.25
        assert 0.75 <= rates[easy] < 1
    names = [name for pair in pairs for name in pair]
    assert len(set(names)) == len(names)


def test_roles_are_written_on_the_tasks() -> None:
    tasks = {name: Task(id=name, prompt="") for name in "abc"}
    chosen = set_roles(tasks, [("c", "a")])
    assert [(t.id, t.metadata["role"]) for t in chosen] == [("c", "hard"), ("a", "easy")]
    assert not tasks["b"].metadata


def test_curves_like_a_labelled_one_are_chosen() -> None:
    reference = np.array([[0.1, 0.2, 0.3, 0.4]])
    curves = np.array([[0, 0.25, 0.5, 0.75], [0.4, 0.3, 0.2, 0.1], [0.5] * 4])
    scores = trajectory_scores(reference, curves)
    np.testing.assert_allclose(scores, [1.0, -1.0, 0.0], atol=1e-6)
    assert best(scores, 0.1, 0.4) == [0]
    assert best(np.array([-1.0, -0.5]), 0.1, 0.4) == [1]
    assert best(np.zeros(0), 0.1, 0.4) == []


def test_chosen_tasks_become_references_and_unchosen_ones_weigh_nothing() -> None:
    rates = PassRates({"l": [0.1, 0.3], "u": [0.2, 0.4], "v": [0.4, 0.2]})
    selection = TrajectorySelection(warmup=2)
    selection.update(rates, ["l"], ["u", "v"])
    assert selection.chosen == {"u"}
    selection.update(rates, ["l"], ["u", "v"])
    assert selection.chosen == {"u"}
    tasks = [Task(id=n, prompt="", metadata={"unlabelled": n != "l"}) for n in "luv"]
    selection.mark(tasks)
    assert [t.metadata["unselected"] for t in tasks] == [False, False, True]


def test_nothing_is_chosen_before_the_warm_up() -> None:
    rates = PassRates({"l": [0.1, 0.3], "u": [0.2, 0.4]})
    selection = TrajectorySelection(warmup=3)
    selection.update(rates, ["l"], ["u"])
    assert not selection.chosen
