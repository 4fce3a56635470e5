"""What bad input does: it is named, nothing moves, and nothing is cut."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learner_kit import close, episode, gradient_of, group, learner, tiny_model

from agentrl.core import Group, SegmentBuilder, Status
from agentrl.learner import LearnerError, LearnerSettings
from agentrl.learner.rows import make_rows


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_groups(seed: int = 0) -> list[Group]:
    r = rng(seed)
    return [group(r, [1.0, 0.0, 0.5], "a"), group(r, [0.0, 1.0], "b"), group(r, [0.2, 0.9], "c")]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_logprobs_name_the_episode_and_stop_before_the_step(value: float) -> None:
    groups = some_groups()
    groups[1].episodes[1].segments[0].logprobs[-2] = value
    subject = learner()
    before = copy.deepcopy(subject.policy.model.state_dict())
    with pytest.raises(LearnerError, match=r"b-1.*engine") as error:
        subject.step(groups)
    assert "weights version 0" in str(error.value)
    assert subject.version == 0
    for name, p in subject.policy.model.state_dict().items():
        assert torch.equal(p, before[name])


def test_logprobs_of_unjudged_episodes_are_not_looked_at() -> None:
    groups = some_groups()
    groups[1].episodes[1].segments[0].logprobs[-2] = float("nan")
    groups[1].episodes[1].status = Status.INFRA_ERROR
    assert learner().step(groups)["optimizer_steps"] == 1.0


def test_a_policy_that_overflows_stops_before_the_step() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.base_model.norm.weight.fill_(float("nan"))
    subject = learner(model)
    with pytest.raises(LearnerError, match="not finite"):
        subject.step(some_groups())
    assert subject.version == 0
    assert all(p.grad is None for p in model.parameters())


def test_a_reward_that_is_not_finite_names_the_episode() -> None:
    groups = some_groups()
    groups[0].episodes[2].scores["reward"].value = float("nan")
    with pytest.raises(LearnerError, match="a-2"):
        learner().step(groups)


def test_a_segment_that_starts_with_a_sampled_token_is_refused() -> None:
    e = episode(rng(), 1.0, name="headless")
    build = SegmentBuilder()
    build.append_sampled([1, 2], [-1.0, -1.0], [0, 0], 0)
    e.segments = [build.build()]
    with pytest.raises(LearnerError, match="headless"):
        make_rows([e])


def test_empty_batches_do_nothing() -> None:
    subject = learner()
    for groups in ([], [Group(("g",), [])], [group(rng(), [])]):
        out = subject.step(groups)
        assert out["optimizer_steps"] == 0.0 if "optimizer_steps" in out else True
        assert subject.version == 0
    assert subject.imitate([])["optimizer_steps"] == 0.0
    silent = episode(rng(), 1.0, turns=((0, 3),))
    assert subject.step([Group(("g",), [silent, silent])])["episodes"] == 2.0
    assert subject.version == 0


def test_truncation_is_the_status_not_a_missing_end_token() -> None:
    """DAPO's filter looks at how the episode ended; a filtered episode keeps its place in the
    baseline and leaves the denominators."""
    g = group(rng(), [1.0, 0.0, 0.0])
    g.episodes[2].status = Status.MAX_TOKENS
    out = learner(algorithm="dapo").step([g])
    assert out["tokens_trained"] == sum(e.trained_tokens for e in g.episodes[:2])
    assert out["episodes"] == 3.0


def test_zero_advantage_rows_are_skipped_and_still_counted() -> None:
    groups = [group(rng(), [1.0, 0.0], "a"), group(rng(1), [0.5, 0.5], "flat")]
    out = learner(algorithm="dapo").step(groups)
    flat = sum(e.trained_tokens for e in groups[1].episodes)
    live = sum(e.trained_tokens for e in groups[0].episodes)
    assert (out["tokens_skipped"], out["tokens_trained"]) == (flat, live)
    alone = gradient_of(groups[:1], algorithm="dapo")
    both = gradient_of(groups, algorithm="dapo")
    assert close(both, alone * live / (live + flat))


def test_policy_object_of_models_is_accepted() -> None:
    from agentrl.learner import Learner

    out = Learner(SimpleNamespace(model=tiny_model()), LearnerSettings()).step(some_groups())
    assert out["optimizer_steps"] == 1.0


def test_autocast_stays_near_float32() -> None:
    model = tiny_model(dtype=torch.float32)
    a = gradient_of(some_groups(), copy.deepcopy(model))
    b = gradient_of(some_groups(), copy.deepcopy(model), autocast="bfloat16")
    assert not torch.equal(a, b)
    assert close(a, b, 0.1)
