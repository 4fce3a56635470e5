"""Paper 72, ONI: an intrinsic reward from labels that come later, paid less at every visit."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import torch

from agentrl.papers.kit.toys import Fixed, episode, listed, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.intrinsic import Intrinsic, ranking_loss

CLAIM = (
    "Visits pay .4, .05, .0148, .00625; nothing before the label comes, all again in the next "
    "episode; the queue asks once for each message, newest first; without the count a repeated "
    "message is farmed."
)


def _reward(beta: float = 3.0) -> Intrinsic:
    judge = ScriptedChat(lambda text, seed: {"helpful": "key" in text})
    return Intrinsic(Fixed(0.0), judge, scale=0.4, extrinsic=0.0, beta=beta, batch=2)


async def _visits(reward: Intrinsic, count: int = 4) -> list[float]:
    return (await reward.score(episode(["x"] * count, answers=["a key"] * count))).steps


async def _asynchronous() -> tuple[list[float], list[float], list[float]]:
    reward = _reward()
    before = await _visits(reward)
    await asyncio.sleep(0.01)
    return before, await _visits(reward), await _visits(reward)


async def _newest_first() -> list[str]:
    reward = _reward()
    for key in ("old", "newer", "old", "newest"):
        reward.observe(key)
    await reward.annotate()
    return list(reward.labels)


async def _generalises(seed: int) -> float:
    """How a classifier, trained on labels of some messages, rates unseen ones: helpful - not."""
    reward = Intrinsic(
        Fixed(0.0),
        ScriptedChat(lambda t, s: {"helpful": "key" in t}),
        form="classifier",
        batch=64,
        steps=100,
    )
    for i in range(20):
        reward.observe(f"you find a key in room {i + 100 * seed}")
        reward.observe(f"you see a wall in room {i + 100 * seed}")
    await reward.annotate()
    return reward.q("you find a key in room x") - reward.q("you see a wall in room x")


def run(seeds: Sequence[int]) -> Measured:
    before, first, second = wait(_asynchronous())
    pays = [0.4, 0.05, 0.4 / 27, 0.00625]
    cases = listed("before the label", [0.0] * 4, before)
    cases += listed("after it", pays, first) + listed("next episode", pays, second)
    cases.append(("newest two first", 1.0, float(wait(_newest_first()) == ["newest", "newer"])))
    tie = ranking_loss(torch.zeros(1), torch.zeros(1), torch.tensor([0.5]))
    cases.append(("a tie at equal scores", math.log(2), tie.item()))
    farmed = _reward(beta=0.0)
    farmed.labels["a key"] = 1.0
    cases.append(("10 visits without the count", 4.0, sum(wait(_visits(farmed, 10)))))
    for seed in seeds:
        cases.append((f"seed {seed}: unseen messages", 1.0, wait(_generalises(seed))))
    return table(cases)
