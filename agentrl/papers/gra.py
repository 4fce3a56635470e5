"""Paper 4, gated reward accumulation (G-RA, arXiv 2508.10548): its claim in the small.

A desk with two tools: `note()` does nothing, `submit()` hands the work in. Each well-formed call
pays a step reward, so an episode that notes to the end of its ten turns collects the most, and
only the outcome (-1 when nothing was submitted) says otherwise. One small transformer is
warm-started to do a bit of everything, then trained twice from there by GRPO: with direct
accumulation, the paper's baseline, and with gates. Weights are 1 and steps are summed, as in the
paper's formula. (The format reward rises under both; what it costs does not.)
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentrl.core import Engine, Episode, Group, Sampling, Task, derive_seed
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.papers.registry import Measured
from agentrl.rewards import FormatOk, Gated, Level, Submitted, gra_metrics
from agentrl.rewards.compose import Mode
from agentrl.tools import tool

if TYPE_CHECKING:
    from agentrl.learner import LearnerSettings
    from agentrl.models import Policy

CLAIM = (
    "With direct accumulation of step rewards the submission rate falls while the format reward "
    "rises; with gated accumulation the submission rate rises."
)
TASK = Task("desk", "Do the work at this desk, then submit it.")
NOTE, SUBMIT, BROKEN = "[note()]", "[submit()]", "[note("
HORIZON = 10
IMITATED = 60
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
    import torch

    # A model this small is slower on many threads, and its numbers would depend on how many.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_run(seeds))
    finally:
        torch.set_num_threads(threads)


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        start, direct, gated = await compare(seed)
        passed &= holds(start, direct, gated)
        for mode, end in (("direct", direct), ("gated", gated)):
            rows.append([seed, mode, start.submission, end.submission, start.format, end.format])
    columns = ["seed", "mode", "submits before", "after", "format before", "after"]
    return Measured(passed, columns, rows)


async def compare(seed: int) -> tuple[Found, Found, Found]:
    """The rates of one warm start, and where each way of accumulation leads from there."""
    policy = await warm_start(seed)
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


async def warm_start(seed: int) -> Policy:
    """A transformer of about a tenth of a million weights that imitates the clerk."""
    from agentrl.engines import ScriptedEngine
    from agentrl.learner import Learner
    from agentrl.models import tiny_policy, train_tokenizer

    words = [TASK.prompt, NOTE, SUBMIT, BROKEN, "noted", "submitted"]
    policy = tiny_policy(
        train_tokenizer(words * 4, 320),
        hidden=64,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=32,
        max_positions=1024,
        seed=derive_seed(seed, "weights"),
    )
    engine = ScriptedEngine(clerk, policy.tokenizer)
    shown = await play(engine, policy, "gated", EPISODES, derive_seed(seed, "clerk"), "script")
    learner = Learner(policy, _settings(5e-3, fades_in=IMITATED))
    for _ in range(IMITATED):
        learner.imitate(shown)
    return policy


async def train(policy: Policy, mode: Mode, seed: int, updates: int = UPDATES) -> Found:
    """GRPO under one way of accumulation; the rates it ends with."""
    from agentrl.engines import TransformersEngine
    from agentrl.learner import Learner

    engine = TransformersEngine(policy)
    learner = Learner(policy, _settings(1e-3))
    try:
        for update in range(updates):
            batch = derive_seed(seed, "train", update)
            episodes = await play(engine, policy, mode, EPISODES, batch)
            async with engine.paused():
                learner.step([Group((TASK.id,), episodes)])
                engine.weights_updated(learner.version)
        return await evaluate(engine, policy, mode, seed)
    finally:
        await engine.close()


async def evaluate(engine: Engine, policy: Policy, mode: Mode, seed: int) -> Found:
    episodes = await play(engine, policy, mode, EVALUATED, derive_seed(seed, "evaluate"))
    metrics = gra_metrics(episodes)
    return Found(metrics["completion_rate"], metrics["raw/format_ok"])


async def play(
    engine: Engine, policy: Policy, mode: Mode, count: int, seed: int, source: str = "policy"
) -> list[Episode]:
    """`count` episodes at the desk, judged."""
    runner = Runner(
        engine,
        policy.tokenizer,
        dialect("pythonic"),
        Desk,
        reward(mode),
        Limits(turns=HORIZON, tokens=1000, tokens_per_turn=12),
        Sampling(temperature=1.0),
        source,
    )
    (group,) = await Scheduler(runner, concurrency=count).collect([TASK], count, seed=seed)
    return group.episodes


def _settings(rate: float, fades_in: int | None = None) -> LearnerSettings:
    """GRPO; the learning rate falls to zero over `fades_in` steps, or stays."""
    from agentrl.learner import LearnerSettings

    return LearnerSettings(
        algorithm="grpo",
        group_size=EPISODES,
        learning_rate=rate,
        schedule="constant" if fades_in is None else "linear",
        total_steps=fades_in,
    )
