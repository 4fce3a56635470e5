"""Paper 18, DeepTravel: failed tasks come back, and the hard tail is solved within the budget.

A small land of towns. One call asks for the trains (answered from recorded calls, never live), the
next message names the one to take; the verifier looks at the plan first and at the
turns only when the plan holds. For one town in five the right train is one that the warm-started
policy takes about once in fifty: its group of eight mostly fails as a whole and teaches nothing.
The same number of episodes is spent with failure replay and without. The constants (every step,
half of the batch, back until half of the group succeeds) are ours: the paper gives none.
"""

from __future__ import annotations

import contextlib
import copy
import random
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import Engine, Group, Sampling, Task, derive_seed
from agentrl.environments.simulated import CallCache, SimulatedEnvironment
from agentrl.environments.simulated.cache import Recorded
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.process.hierarchy import Hierarchical
from agentrl.store import RunStore
from agentrl.training.config.replay import ReplayConfig
from agentrl.training.sampler import TaskSampler
from agentrl.training.supply import Supply

if TYPE_CHECKING:
    from agentrl.models import Policy

CLAIM = (
    "With replay of failed tasks the hard fifth of the tasks is solved within the budget; without "
    "it, at the same number of episodes, it is not. Verifier calls stop at the plan that fails."
)
TOWNS = [
    "Arden",
    "Brill",
    "Corva",
    "Delph",
    "Eskel",
    "Farn",
    "Gorse",
    "Hallow",
    "Irden",
    "Jarrow",
    "Kelm",
    "Lorn",
    "Marle",
    "Norrow",
    "Oster",
    "Pell",
    "Quill",
    "Rusk",
    "Soren",
    "Tarn",
]
HARD = 4
TRAINS = ("T1", "T2", "T3", "T4")
LIKING = (0.6, 0.3, 0.05, 0.05)
STEPS, PER_STEP, GROUP = 24, 4, 8
REPLAY = ReplayConfig(every=1, share=0.5, evict=0.5, max_tries=50)
SOLVED, GAIN = 0.5, 0.3
RATE = 3e-3
_FENCED = re.compile(r"<data-\w+ (\w+)>\n(.*?)\n</data-", re.DOTALL)
TOOL: dict[str, Any] = {
    "name": "trains",
    "description": "What goes today.",
    "parameters": {"type": "object", "properties": {}},
}


def make_tasks(seed: int) -> list[Task]:
    """The right train is T1 or T2 for most towns, T3 or T4 for the hard ones (the first)."""
    rng = random.Random(derive_seed(seed, "land"))
    towns = rng.sample(TOWNS, len(TOWNS))
    return [
        Task(
            town,
            f"to {town}",
            payload={"tools": [TOOL]},
            reference={"rubric": rng.choice(TRAINS[2:] if n < HARD else TRAINS[:2])},
            metadata={"hard": n < HARD},
        )
        for n, town in enumerate(towns)
    ]


def recorded() -> CallCache:
    """What the trains' office answered once: its file is all that is left of it."""
    return CallCache(calls=[Recorded("trains", {}, " ".join(TRAINS))])


def traveller(seed: int) -> Generator[str, str, None]:
    """Looks up the trains, then takes one, mostly the first."""
    yield ""
    yield "[trains()]"
    yield random.Random(seed).choices(TRAINS, LIKING)[0]


def verifier() -> Hierarchical:
    """The paper's two stages with rules in the place of its language model: is it the right train,
    and was it in what the office said?"""

    def answer(text: str, seed: int) -> dict[str, Any]:
        given = dict(_FENCED.findall(text))
        if "rubric" in given:
            return {"passes": given["result"] == given["rubric"]}
        return {"passes": given["result"] in given["turn"]}

    return Hierarchical(ScriptedChat(answer))


def run(seeds: Sequence[int]) -> Measured:
    """Trains with and without replay on every seed, from one warm start each."""
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        start, plain, replay = await compare(seed)
        passed &= holds(start, plain, replay)
        for name, end in (("without", plain), ("with", replay)):
            rows.append([seed, name, start.hard, end.hard, end.easy, end.calls, end.episodes])
    columns = ["seed", "replay", "hard before", "hard after", "easy after", "calls", "episodes"]
    return Measured(passed, columns, rows)


@dataclass(slots=True)
class Found:
    """Attributes:
    hard, easy: mean success on those tasks after training.
    calls: questions to the verifier per episode, in training.
    episodes: spent in training.
    """

    hard: float
    easy: float
    calls: float
    episodes: int


def holds(start: Found, plain: Found, replay: Found) -> bool:
    """The hard tail was not solved before, is with replay, and is not without."""
    return (
        start.hard < 0.1
        and replay.hard >= SOLVED
        and plain.hard <= replay.hard - GAIN
        and plain.hard < SOLVED
        and plain.episodes == replay.episodes
    )


async def compare(seed: int) -> tuple[Found, Found, Found]:
    """One warm start, and what each way makes of it."""
    tasks = make_tasks(seed)
    policy = await imitated(tasks, seed)
    start = await train(copy.deepcopy(policy), tasks, None, seed, steps=0)
    plain = await train(copy.deepcopy(policy), tasks, None, seed)
    return start, plain, await train(policy, tasks, REPLAY, seed)


async def imitated(tasks: Sequence[Task], seed: int, steps: int = 60) -> Policy:
    """A small policy that travels as the script does."""
    from agentrl.engines import ScriptedEngine
    from agentrl.learner import Learner, LearnerSettings
    from agentrl.models import tiny_policy, train_tokenizer

    words = [f"to {town} [trains()] {' '.join(TRAINS)}" for town in TOWNS] * 4
    policy = tiny_policy(
        train_tokenizer(words, 380),
        hidden=64,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=32,
        max_positions=512,
        seed=derive_seed(seed, "weights"),
    )
    scheduler = Scheduler(runner(ScriptedEngine(traveller, policy.tokenizer), policy))
    shown = await scheduler.collect(tasks, 8, seed=derive_seed(seed, "script"))
    episodes = [e for group in shown for e in group.episodes]
    learner = Learner(
        policy, LearnerSettings(schedule="linear", total_steps=steps, learning_rate=5e-3)
    )
    shuffled = random.Random(derive_seed(seed, "imitation"))
    for _ in range(steps):
        learner.imitate(shuffled.sample(episodes, 32))
    return policy


def runner(engine: Engine, policy: Policy) -> Runner:
    cache = recorded()
    return Runner(
        engine,
        policy.tokenizer,
        dialect("pythonic"),
        lambda: SimulatedEnvironment(cache=cache),
        verifier(),
        Limits(turns=3, tokens=400, tokens_per_turn=16),
        Sampling(temperature=1.0),
    )


async def train(
    policy: Policy,
    tasks: Sequence[Task],
    replay: ReplayConfig | None,
    seed: int,
    steps: int = STEPS,
) -> Found:
    """GRPO over the tasks; what the policy can do afterwards."""
    from agentrl.engines import TransformersEngine
    from agentrl.learner import Learner, LearnerSettings

    engine = TransformersEngine(policy)
    learner = Learner(policy, LearnerSettings(group_size=GROUP, learning_rate=RATE))
    run = runner(engine, policy)
    scheduler = Scheduler(run, concurrency=PER_STEP * GROUP)
    supply = Supply(TaskSampler(tasks, PER_STEP, seed), tasks, replay, seed)
    episodes = calls = 0
    try:
        with _store() as store, supply.opened(store, -1):
            for step in range(steps):
                drawn = derive_seed(seed, "train", step)
                groups = await scheduler.collect(supply.batch(step), GROUP, seed=drawn)
                async with engine.paused():
                    learner.step(groups)
                    engine.weights_updated(learner.version)
                supply.observe(step, groups)
                episodes += sum(len(g.episodes) for g in groups)
                calls += sum(len(e.scores["reward"].checks) for g in groups for e in g.judged)
        last = await scheduler.collect(tasks, GROUP, seed=derive_seed(seed, "evaluate"))
    finally:
        await engine.close()
    return Found(
        hard=_rate([g for g in last if g.episodes[0].task.metadata["hard"]]),
        easy=_rate([g for g in last if not g.episodes[0].task.metadata["hard"]]),
        calls=calls / max(episodes, 1),
        episodes=episodes,
    )


def _rate(groups: Sequence[Group]) -> float:
    judged = [e for g in groups for e in g.judged]
    return sum(e.reward for e in judged) / len(judged)


@contextlib.contextmanager
def _store() -> Iterator[RunStore]:
    with (
        tempfile.TemporaryDirectory(prefix="agentrl-deeptravel-") as folder,
        RunStore.create(Path(folder, "run"), {}) as store,
    ):
        yield store
