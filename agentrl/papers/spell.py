"""Paper 17, SPELL: numbers of its three rewards, and self-play that stays at the edge.

The run: askers choose how hard a sum they ask for; answerers get it right the rarer the harder it
is, and learn from those they sometimes get right. Tables stand for the policy; sampler, derived
tasks and rewards are those of a training run.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from agentrl.core import Episode, Group, Score, Status, Task, Turn, derive_seed
from agentrl.environments.roles import RolesEnvironment
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.kit.rollouts import normalised, softmax
from agentrl.papers.registry import Measured
from agentrl.rewards.data.spell import Spell
from agentrl.rewards.group.spell import SpellRoles, SpellRule, asking, majority, voting

CLAIM = (
    "A question is worth most when half of its answers are right. Asked so, questions stay near "
    "one half while they get harder; an asker that does not learn is left behind."
)
VOTES = [1, 1, 1, 0, 1, -1, 1, 1]
LEVELS, STEPS, GROUP, SETS = 24, 36, 8, 2
RATE, GROWTH, WIDTH = 2.0, 0.8, 2.0


def run(seeds: Sequence[int]) -> Measured:
    """The source's numbers, then self-play on every seed."""
    found = [
        Property("asking at 1/2, 1/4, 3/8, 1/8", (1, 0.3247, 0.7548, 0.0796), _asking(), 1e-4),
        Property("asking at 0 and 1", (0, 0), (asking(0.0), asking(1.0))),
        Property("malformed", -1, asking(0.5, formed=False)),
        Property("answered without documents", -0.5, asking(0.5, grounded=False)),
        Property("votes", (1, 1, 1, 0, 1, -1, 1, 1), voting(VOTES)),
        Property("their majority and agreement", (1, 6 / 7), [*map(float, _majority())], 1e-9),
    ]
    for seed in seeds:
        played, placebo = (asyncio.run(play(seed, learns=learns)) for learns in (True, False))
        harder = played.levels[-1] - played.levels[0]
        found += [
            Property(f"seed {seed}: answered at last, near 1/2", 0.5, played.answered[-1], 0.2),
            Property(f"seed {seed}: levels harder, at least 4", 1, float(harder >= 4)),
            Property(
                f"seed {seed}: askers that do not learn are further from 1/2",
                1,
                float(abs(placebo.answered[-1] - 0.5) > abs(played.answered[-1] - 0.5)),
            ),
        ]
    return measured(found)


def _majority() -> tuple[int, float]:
    winner, share = majority(VOTES)
    return winner if winner is not None else -1, share


def _asking() -> list[float]:
    return [asking(p) for p in (0.5, 0.25, 0.375, 0.125)]


class Played:
    """Thirds of a run: mean level of the questions, and share of right answers."""

    def __init__(self, levels: Sequence[float], answered: Sequence[float]) -> None:
        self.levels = [float(np.mean(part)) for part in np.array_split(levels, 3)]
        self.answered = [float(np.mean(part)) for part in np.array_split(answered, 3)]


async def play(seed: int, *, learns: bool) -> Played:
    """Self-play over a few document sets.

    Args:
        learns: the asker; else it asks as it did at first.
    """
    from agentrl.training.config.curriculum import SelfPlayConfig
    from agentrl.training.sampler import TaskSampler
    from agentrl.training.self_play import SelfPlaySampler

    sets = [Task(f"set{n}", "", payload={"documents": [f"page {n}"] * 9}) for n in range(SETS)]
    sampler = SelfPlaySampler(TaskSampler(sets, SETS, seed), seed, SelfPlayConfig())
    rng = random.Random(derive_seed(seed, "play"))
    knob, skill = 0.0, 1.0
    levels: list[float] = []
    answered: list[float] = []
    for step in range(STEPS):
        groups = [await _group(task, _ask(knob, rng), rng) for task in sampler.batch(step)]
        latest = groups
        while tasks := Spell(grounding=False).derive(_judged(latest), rng):
            latest = [await _group(task, _answer(task, skill, rng), rng) for task in tasks]
            groups = [*groups, *latest]
        scores = await SpellRoles().compare_all(groups)
        for n, group in enumerate(groups):
            for episode, score in zip(group.judged, scores[str(n)], strict=True):
                episode.scores["reward"] = score
        levels.append(float(np.mean([_level(e) for g in groups[:SETS] for e in g.judged])))
        mine = [g for g in groups if g.episodes[0].task.metadata["role"] == "answerer"]
        answered.append(float(np.mean([e.reward for g in mine for e in g.judged])))
        # What is learned: answering from groups that are mixed, asking from its reward.
        skill += GROWTH * float(np.mean([np.var([e.reward for e in g.judged]) for g in mine]))
        if learns:
            for group in groups[:SETS]:
                knob = min(max(knob + RATE * _gradient(group, knob), 0.0), float(LEVELS))
        sampler.observe(step, groups)
    return Played(levels, answered)


def _ask(knob: float, rng: random.Random) -> list[str]:
    drawn = rng.choices(range(LEVELS), _levels(knob).tolist(), k=GROUP)
    return [json.dumps({"question": f"level {level}", "answer": str(level)}) for level in drawn]


def _levels(knob: float) -> np.ndarray:
    """What an asker draws levels by: a bell around its knob, the one thing that it learns."""
    return softmax(-((np.arange(LEVELS) - knob) ** 2) / (2 * WIDTH**2))


def _answer(task: Task, skill: float, rng: random.Random) -> list[str]:
    if task.metadata["role"] == "verifier":
        return ["YES" if task.reference["right"] else "NO"] * GROUP
    level = int(task.reference["answer"])
    chance = 1.0 / (1.0 + np.exp(level / 2 - skill))
    said = [level if rng.random() < chance else -1 for _ in range(GROUP)]
    return [f"\\boxed{{{value}}}" for value in said]


def _level(episode: Episode) -> int:
    return int(episode.outcome["answer"])


def _gradient(group: Group, knob: float) -> float:
    """Policy gradient of the group: normalised rewards times the derivative of log-probability."""
    advantages = normalised(np.array([[e.reward for e in group.judged]]))[0]
    levels = np.array([_level(e) for e in group.judged], np.float64)
    expected = float(_levels(knob) @ np.arange(LEVELS))
    return float((advantages * (levels - expected) / WIDTH**2).mean())


async def _group(task: Task, texts: Sequence[str], rng: random.Random) -> Group:
    """One judged episode for each text."""
    return Group((task.id,), [await _episode(task, text, rng) for text in texts])


async def _episode(task: Task, text: str, rng: random.Random) -> Episode:
    environment = RolesEnvironment()
    environment.reset(task)
    turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text)
    name = f"{task.id}-{rng.getrandbits(48):x}"
    episode = Episode(task, id=name, status=Status.COMPLETED, turns=[turn])
    episode.outcome = await environment.finish(episode)
    score: Score = await SpellRule().score(episode)
    episode.scores["reward"] = score
    return episode


def _judged(groups: Sequence[Group]) -> list[Any]:
    return [e for g in groups for e in g.judged]
