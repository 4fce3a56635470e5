"""Paper 23, CM2: checklists credited by step learn sooner than by trajectory, over simulated tools.

A user has three wishes, each granted by two calls in order; the next wish is only uttered when
this one was granted (the strict gate). All calls are answered from the dialogue's record. The
policy is a softmax over the tools for each place in the dialogue; from the same start it is trained
by the trajectory's reward and by step advantages, neither divided by a deviation, as in the paper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from agentrl.core import Episode, Task, ToolCall, Turn, derive_seed
from agentrl.environments.simulated import SimulatedEnvironment
from agentrl.papers.kit.rollouts import softmax
from agentrl.papers.registry import Measured
from agentrl.rewards.process.checklist import ChecklistItem, step_advantages, turn_credit

CLAIM = (
    "Early in training, advantages by step lead to more granted wishes than advantages by "
    "trajectory; an unmet strict item ends the dialogue."
)
WISHES, GROUP, UPDATES, RATE = 3, 12, 12, 2.0
TOOLS = ("find", "book", "chat", "wait")
ITEMS = [
    ChecklistItem(id="found", question="Was it found?", weight=0.3, focus="tool_calls"),
    ChecklistItem(
        id="booked",
        question="Was it booked?",
        weight=0.7,
        needs=["found"],
        strict=True,
        focus="tool_calls",
    ),
]
STEPS = 2


def dialogue() -> Task:
    """Tools, their recorded answers, and the user's wishes with what each requires."""
    wishes = [
        {
            "say": f"I want thing {w}.",
            "require": [{"name": name, "arguments": {"thing": w}} for name in ("find", "book")],
        }
        for w in range(WISHES)
    ]
    parameters = {"type": "object", "properties": {"thing": {"type": "integer"}}}
    recorded = [
        {"name": name, "arguments": {"thing": w}, "result": {"ok": True}}
        for name in TOOLS
        for w in range(WISHES)
    ]
    tools = [{"name": name, "parameters": parameters} for name in TOOLS]
    return Task("dialogue", "", payload={"tools": tools, "recorded": recorded, "user": wishes})


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = await _stops_at_an_unmet_item()
    for seed in seeds:
        found = {}
        for level in ("trajectory", "step"):
            before, after = await train(level, seed)
            found[level] = after
            rows.append([seed, level, before, after])
        passed &= found["step"] > found["trajectory"] + 0.1
    return Measured(passed, ["seed", "advantages by", "wishes granted before", "after"], rows)


async def _stops_at_an_unmet_item() -> bool:
    """Booking without finding leaves the strict item open: no second wish is heard."""
    episode = await play(np.asarray([[1, 1]] * WISHES))
    return episode.outcome["user_turns_passed"] == 0 and max(episode.outcome["user_turns"]) == 0


async def train(level: str, seed: int) -> tuple[float, float]:
    """(wishes granted before, after `UPDATES` updates), as a share, over the last three groups."""
    rng = np.random.default_rng(derive_seed(seed, "cm2"))
    logits = np.zeros((WISHES, STEPS, len(TOOLS)))
    granted = []
    for _ in range(UPDATES):
        p = softmax(logits)
        drawn = (rng.random((GROUP, WISHES, STEPS, 1)) > p.cumsum(-1)).sum(-1)
        drawn = drawn.clip(max=len(TOOLS) - 1)
        episodes = [await play(choice) for choice in drawn]
        granted.append(float(np.mean([_granted(e) for e in episodes])))
        advantages = by_step(episodes) if level == "step" else by_trajectory(episodes)
        for choice, gains in zip(drawn, advantages, strict=True):
            for (w, s), gain in gains.items():
                step = np.eye(len(TOOLS))[choice[w, s]] - p[w, s]
                logits[w, s] += RATE * gain * step / GROUP
    return float(np.mean(granted[:2])), float(np.mean(granted[-3:]))


async def play(choice: np.ndarray) -> Episode:
    """An episode of int[wishes, steps] tools: the calls of each wish, then a word to the user."""
    environment, task = SimulatedEnvironment(), dialogue()
    episode = Episode(task)
    await environment.reset(task)
    none = np.zeros(0, np.float32)
    for wish, tools in enumerate(choice):
        for tool in tools:
            call = ToolCall(TOOLS[int(tool)], {"thing": wish})
            turn = Turn(none.astype(np.int32), none, "", [call])
            episode.turns.append(turn)
            await environment.step(turn)
        turn = Turn(none.astype(np.int32), none, "done")
        episode.turns.append(turn)
        if (await environment.step(turn)).done:
            break
    episode.outcome = await environment.finish(episode)
    return episode


def _satisfied(episode: Episode) -> dict[int, np.ndarray]:
    """bool[steps, items] for every wish that was heard: called by name, in any step so far."""
    found = {}
    pairs = zip(episode.outcome["user_turns"], episode.turns, strict=True)
    for wish, turns in groupby(pairs, key=lambda pair: pair[0]):
        called = [[c.name for c in t.calls] for _, t in turns if t.calls]
        found[wish] = np.asarray([["find" in names, "book" in names] for names in called])
    return found


def _granted(episode: Episode) -> float:
    return int(episode.outcome["user_turns_passed"]) / WISHES


Gains = dict[tuple[int, int], float]


def by_trajectory(episodes: Sequence[Episode]) -> list[Gains]:
    """R - mean R for every step, R the weights of flips over the number of wishes."""
    returns, places = [], []
    for episode in episodes:
        credit = {w: turn_credit(ITEMS, held) for w, held in _satisfied(episode).items()}
        weights = np.asarray([item.weight for item in ITEMS])
        returns.append(sum(float((c.flips * weights).sum()) for c in credit.values()) / WISHES)
        places.append([(w, s) for w in credit for s in range(STEPS)])
    mean = sum(returns) / len(returns)
    return [dict.fromkeys(at, r - mean) for at, r in zip(places, returns, strict=True)]


def by_step(episodes: Sequence[Episode]) -> list[Gains]:
    """The paper's step advantages, over the episodes that heard the wish."""
    gains: list[Gains] = [{} for _ in episodes]
    held = [_satisfied(episode) for episode in episodes]
    for wish in range(WISHES):
        reached = [i for i, found in enumerate(held) if wish in found]
        if not reached:
            continue
        credits = [turn_credit(ITEMS, held[i][wish]) for i in reached]
        for i, steps in zip(reached, step_advantages(ITEMS, credits), strict=True):
            gains[i] |= {(wish, s): float(a) for s, a in enumerate(steps)}
    return gains
