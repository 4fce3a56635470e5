"""Paper 4, gated reward accumulation (G-RA, arXiv 2508.10548): its claim in the small.

A desk with two tools: `note()` does nothing, `submit()` hands the work in. Each well-formed call
pays a step reward, so an episode that notes to the end of its ten turns collects the most, and
only the outcome (-1 when nothing was submitted) says otherwise. One small transformer is
warm-started to do a bit of everything, then trained twice from there by GRPO: with direct
accumulation, the paper's baseline, and with gates. Weights are 1 and steps are summed, as in the
paper's formula. (The format reward rises under both; what it costs does not.)
"""

from __future__ import annotations

import copy
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentrl.core import Episode, Task
from agentrl.environments import Environment
from agentrl.papers.kit.world import Rows, World, on_every_seed
from agentrl.papers.registry import Measured
from agentrl.rewards import FormatOk, Gated, Level, Submitted, gra_metrics
from agentrl.rewards.compose import Mode
from agentrl.tools import tool

if TYPE_CHECKING:
    from agentrl.models import Policy

CLAIM = (
    "With direct accumulation of step rewards the submission rate falls while the format reward "
    "rises; with gated accumulation the submission rate rises."
)
NOTE, SUBMIT, BROKEN = "[note()]", "[submit()]", "[note("
UPDATES = 16
EPISODES = 48
EVALUATED = 100
MOVED = 0.15


class Desk(Environment):
    """Notes are free; the episode ends when the work is submitted."""

    submitted: bool = False

    def reset(self, task: Task) -> str:
        return task.prompt

    @tool
    async def note(self) -> str:
        """Write a note."""
        return "noted"

    @tool
    async def submit(self) -> str:
        """Hand the work in."""
        self.submitted = self.done = True
        return "submitted"

    async def finish(self, episode: Episode) -> dict[str, Any]:
        return {"submitted": self.submitted, "modified": True, "resolved": False}


WORLD = World(
    Task("desk", "Do the work at this desk, then submit it."),
    lambda luck: Desk(),
    [NOTE, SUBMIT, BROKEN, "noted", "submitted"],
    turns=10,
)


def reward(mode: Mode) -> Gated:
    """The outcome ladder above the format critic; both count in full."""
    return Gated(
        [Level(Submitted(), priority=1, above=-0.5), Level(FormatOk(), scope="sum")],
        mode=mode,
    )


def clerk(seed: int) -> Generator[str, str, None]:
    """Mostly notes, makes a mistake now and then, and submits about every second work."""
    rng = random.Random(seed)
    yield ""
    while True:
        yield rng.choices([NOTE, BROKEN, SUBMIT], [0.78, 0.15, 0.07])[0]


@dataclass(slots=True)
class Found:
    """Rates over the evaluation episodes: share submitted, mean format reward of a turn."""

    submission: float
    format: float


def run(seeds: Sequence[int]) -> Measured:
    """Train both ways on every seed; passes when the effect is there on each of them."""
    columns = ["seed", "mode", "submits before", "after", "format before", "after"]
    return on_every_seed(seeds, columns, _run)


async def _run(seed: int) -> tuple[bool, Rows]:
    start, direct, gated = await compare(seed)
    return holds(start, direct, gated), [
        [seed, mode, start.submission, end.submission, start.format, end.format]
        for mode, end in (("direct", direct), ("gated", gated))
    ]


async def compare(seed: int) -> tuple[Found, Found, Found]:
    """The rates of one warm start, and where each way of accumulation leads from there."""
    policy = await WORLD.imitate(clerk, reward("gated"), seed, episodes=EPISODES, stream="clerk")
    start = await train(copy.deepcopy(policy), "direct", seed, updates=0)
    direct = await train(copy.deepcopy(policy), "direct", seed)
    gated = await train(policy, "gated", seed)
    return start, direct, gated


def holds(start: Found, direct: Found, gated: Found) -> bool:
    """The effect, with moves of at least `MOVED` in the submission rate."""
    return (
        direct.submission <= start.submission - MOVED
        and direct.format > start.format
        and gated.submission >= start.submission + MOVED
    )


async def train(policy: Policy, mode: Mode, seed: int, updates: int = UPDATES) -> Found:
    """GRPO under one way of accumulation; the rates it ends with."""
    episodes = await WORLD.train(
        policy,
        reward(mode),
        WORLD.settings(1e-3, group_size=EPISODES),
        seed,
        updates=updates,
        group_size=EPISODES,
        evaluated=EVALUATED,
    )
    metrics = gra_metrics(episodes)
    return Found(metrics["completion_rate"], metrics["raw/format_ok"])
