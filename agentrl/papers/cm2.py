"""Paper 23, CM2: checklists credited by step, judged with noise, over simulated tools.

A user has three wishes, each granted by two calls in order and a message that says so; the next
wish is only uttered when this one was granted (the strict gate). A judge looks at every item after
every message and is wrong in 15% of its verdicts. One small transformer, warm-started to act at
random, is trained from there on the trajectory's reward and on step advantages (`ChecklistGroup`),
neither divided by a deviation, as in the paper, with groups of two sizes. What is measured is the
truth: wishes granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from agentrl.core import Episode, Group, Task, ToolCall, Turn, derive_seed
from agentrl.environments.simulated import SimulatedEnvironment
from agentrl.environments.simulated.environment import services_of
from agentrl.environments.simulated.services import Service
from agentrl.papers.kit.actor import Actor
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards.group.checklist import ChecklistGroup
from agentrl.rewards.process.checklist import Checklist, ChecklistItem, checklist_score
from agentrl.tools import ToolError, tool

CLAIM = (
    "With a noisy judge, credit by step learns fastest early and ends worse than credit by "
    "trajectory; a larger group shrinks the gap; an unmet strict item ends the dialogue."
)
Level = Literal["trajectory", "step"]
WISHES, NOISE, MOST = 3, 0.15, 12
SMALL, LARGE, UPDATES, RATE = 12, 36, 48, 3e-3
CALLS = ("find", "book", "chat")
WORDS = (*CALLS, "done", "user", "ok", "error")
ITEMS = [
    ChecklistItem(id="found", question="Was it found?", weight=0.2, focus="tool_calls"),
    ChecklistItem(
        id="booked",
        question="Was it booked?",
        weight=0.5,
        needs=["found"],
        strict=True,
        focus="tool_calls",
    ),
    ChecklistItem(id="told", question="Was the user told so?", weight=0.3, needs=["booked"]),
]
CHECKLIST = Checklist(turns=[ITEMS] * WISHES)


class Desk(Service):
    """Books what was found."""

    found = False

    @tool
    async def find(self) -> str:
        """Find what the user wants."""
        self.found = True
        return "ok"

    @tool
    async def book(self) -> str:
        """Book what was found."""
        if not self.found:
            raise ToolError("find it first")
        self.found = False
        return "ok"

    @tool
    async def chat(self) -> str:
        """Pass the time."""
        return "ok"


def dialogue() -> Task:
    """The user's wishes, with what each requires."""
    require = [{"name": name} for name in ("find", "book")]
    wishes = [{"say": f"I want thing {w}.", "require": require} for w in range(WISHES)]
    checklist = CHECKLIST.model_dump()["turns"]
    payload = {"services": {"desk": {}}, "user": wishes}
    return Task("dialogue", "", payload=payload, reference={"checklist": checklist})


class Dialogue:
    """An episode of the simulated environment, acted in by words; a word that names no tool is a
    message to the user."""

    def __init__(self, noise: np.random.Generator) -> None:
        self.task, self._noise = dialogue(), noise
        self._environment = SimulatedEnvironment(make_services=services_of({"desk": Desk}))
        self._turns: list[Turn] = []

    async def start(self) -> list[str]:
        await self._environment.reset(self.task)
        return ["user"]

    async def act(self, word: str) -> list[str] | None:
        calls = [ToolCall(word)] if word in CALLS else []
        turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), word, calls)
        self._turns.append(turn)
        seen = await self._environment.step(turn)
        if seen.done:
            return None
        return ["user"] if not calls else ["ok" if turn.results[0].ok else "error"]

    async def finish(self, episode: Episode) -> None:
        """The outcome, and the noisy judge's verdict on every item after every message."""
        for turn, played in zip(episode.turns, self._turns, strict=True):
            turn.calls, turn.results = played.calls, played.results
        episode.outcome = await self._environment.finish(episode)
        held = {
            (t, s, c): bool(true) != bool(self._noise.random() < NOISE)
            for s, (t, row) in enumerate(truth(episode))
            for c, true in enumerate(row)
        }
        score = checklist_score(episode, CHECKLIST, held)
        episode.scores |= {"checklist": score, "reward": score}


def truth(episode: Episode) -> list[tuple[int, list[bool]]]:
    """For every message the wish that it is about, and whether each item holds after it."""
    rows: list[tuple[int, list[bool]]] = []
    for wish, turn in zip(episode.outcome["user_turns"], episode.turns, strict=True):
        before = rows[-1][1] if rows and rows[-1][0] == wish else [False] * len(ITEMS)
        done = {c.name for c, r in zip(turn.calls, turn.results, strict=True) if r.ok}
        found, booked = before[0] or "find" in done, before[1] or "book" in done
        rows.append((wish, [found, booked, booked and not turn.calls]))
    return rows


def run(seeds: Sequence[int]) -> Measured:
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in seeds:
        start = await warm_start(seed)
        for size in (SMALL, LARGE):
            for level in ("trajectory", "step"):
                early, end = await train(start, level, seed, size)
                found.setdefault((level, size), []).append((early, end))
                rows.append([seed, size, level, early, end])
    mean = {key: np.mean(pairs, axis=0) for key, pairs in found.items()}
    for (level, size), (early, end) in mean.items():
        rows.append(["mean", size, level, float(early), float(end)])
    passed = holds(mean) and await stops_at_an_unmet_item()
    return Measured(passed, ["seed", "group", "credit by", "granted early", "at the end"], rows)


def holds(mean: dict[tuple[str, int], np.ndarray]) -> bool:
    """Early and at the end over all seeds, small groups; and the gap at the end by group."""
    early, end = (mean["step", SMALL] - mean["trajectory", SMALL]).tolist()
    later = (mean["step", LARGE] - mean["trajectory", LARGE])[1]
    return early > 0.02 and end < -0.05 and later > end


def at_random(rng: np.random.Generator) -> str:
    """The clerk that is imitated first: a bit of everything."""
    return str(rng.choice([*CALLS, "done"]))


async def warm_start(seed: int) -> Actor:
    actor = Actor(WORDS, seed)
    noise = np.random.default_rng(derive_seed(seed, "warm"))
    await actor.imitate([Dialogue(noise) for _ in range(48)], at_random, seed, most=MOST)
    return actor


async def stops_at_an_unmet_item() -> bool:
    """Booking without finding leaves the strict item open: no second wish is heard."""
    game = Dialogue(np.random.default_rng(0))
    await game.start()
    heard = [await game.act(word) for word in ("book", "find", "done")]
    return heard == [["error"], ["ok"], None]


CHANNELS = {
    "trajectory": {"outcome": {"scale": "none"}},
    "step": {
        "outcome": {
            "source": "steps", "discount": 0.0, "by": (), "baseline": "none", "scale": "none"
        }
    },
}  # fmt: skip


async def train(actor: Actor, level: Level, seed: int, size: int) -> tuple[float, float]:
    """Wishes granted, as a share: over the first third of the updates, and the last sixth."""
    actor = actor.fork(learning_rate=RATE, channels=CHANNELS[level])
    granted = []
    for update in range(UPDATES):
        drawn = derive_seed(seed, "cm2", update)
        noise = np.random.default_rng(derive_seed(drawn, "judge"))
        games = [Dialogue(noise) for _ in range(size)]
        episodes = await actor.play(games, drawn, most=MOST)
        granted.append(np.mean([e.outcome["user_turns_passed"] for e in episodes]) / WISHES)
        if level == "step":
            await credit_by_step(episodes)
        actor.learn(episodes)
    return float(np.mean(granted[: UPDATES // 3])), float(np.mean(granted[-UPDATES // 6 :]))


async def credit_by_step(episodes: Sequence[Episode]) -> None:
    """The paper's step advantages take the place of the rewards."""
    group = Group(("dialogue",), list(episodes))
    scores = await ChecklistGroup("step").compare(group, episodes)
    for episode, score in zip(episodes, scores, strict=True):
        episode.scores["reward"] = score
