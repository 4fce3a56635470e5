"""Engine and learner share weights: what one samples the other scores alike, before and after."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

from agentrl.core import Episode, Group, Origin, Sampling, Score, SegmentBuilder, Status, Task, Turn
from agentrl.engines import TransformersEngine
from agentrl.learner import Learner, LearnerSettings
from agentrl.models import Policy, tiny_policy, train_tokenizer

PROMPT = list(range(10, 40))


@pytest.fixture
def policy() -> Policy:
    policy = tiny_policy(
        train_tokenizer(["the test failed at line 12", "view(path)"] * 20, 400),
        hidden=48,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=16,
        max_positions=256,
        seed=5,
    )
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)
    return policy


async def play(engine: TransformersEngine, count: int, version: int) -> Group:
    """A group of two-turn episodes on one prompt, sampled by the engine with its caches."""
    return Group(
        ("task",), list(await asyncio.gather(*(_one(engine, i, version) for i in range(count))))
    )


async def _one(engine: TransformersEngine, i: int, version: int) -> Episode:
    build = SegmentBuilder()
    build.append(PROMPT, Origin.PROMPT, -1)
    name = f"v{version}-{i}"
    for turn in range(2):
        said = await engine.generate(build.tokens, Sampling(1.0, 6), session=name, seed=i + turn)
        versions = said.weights.tolist()
        build.append_sampled(said.tokens.tolist(), said.logprobs.tolist(), versions, turn)
        build.append([7, 8, 9], Origin.OBSERVATION, turn)
    await engine.end_session(name)
    turns = [Turn(np.zeros(0), np.zeros(0), "") for _ in range(2)]
    score = {"reward": Score(float(i % 2))}
    return Episode(
        Task(id="task", prompt=""),
        id=name,
        status=Status.COMPLETED,
        turns=turns,
        segments=[build.build()],
        scores=score,
    )


async def test_a_prefix_cache_that_survives_the_update(policy: Policy) -> None:
    """Three updates: each time the engine's log-probabilities are the trainer's own, and for the
    same prompt they are others than before."""
    engine = TransformersEngine(policy)
    learner = Learner(policy, LearnerSettings(learning_rate=3e-3))
    first: list[float] = []
    try:
        for version in range(3):
            group = await play(engine, 6, version)
            out = learner.step([group])
            assert out["mismatch_max"] < 1e-3
            assert out["ratio_max"] == 1.0
            assert out["staleness_max"] == 0.0
            assert out["optimizer_steps"] == 1.0
            engine.weights_updated(learner.version)
            said = await engine.generate(PROMPT, Sampling(0.0, 1), session=f"look{version}")
            first.append(float(said.logprobs[0]))
    finally:
        await engine.close()
    assert len({round(x, 4) for x in first}) == 3


async def test_a_stale_engine_is_measured(policy: Policy) -> None:
    """Episodes of the weights before an update: staleness and mismatch say so."""
    engine = TransformersEngine(policy)
    learner = Learner(policy, LearnerSettings(learning_rate=3e-3))
    try:
        group = await play(engine, 6, 0)
    finally:
        await engine.close()
    learner.step([group])
    out = learner.step([group])
    assert out["staleness"] == 1.0
    assert out["mismatch_max"] > 1e-3
    assert out["ratio_max"] != 1.0
