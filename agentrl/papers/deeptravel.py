"""Paper 18, DeepTravel: failed tasks come back, and the hard tail is solved within the budget.

A small land of towns. One call asks for the trains (answered from recorded calls, never live), the
next message names the one to take; the verifier looks at the plan first and at the
turns only when the plan holds. To one town in five the warm-started policy takes the right train
about once in twenty times: its group of eight mostly fails as a whole and teaches nothing.
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
    from agentrl.engines.scripted import Script
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
RIGHT, RARELY, HABIT = 0.55, 0.05, 0.8
STEPS, PER_STEP, GROUP = 40, 4, 8
REPLAY = ReplayConfig(every=1, share=0.5, evict=0.5, max_tries=50)
SOLVED, GAIN = 0.5, 0.3
RATE = 1e-3
_FENCED = re.compile(r"<data-\w+ (\w+)>\n(.*?)\n</data-", re.DOTALL)
TOOL: dict[str, Any] = {
    "name": "trains",
    "description": "What goes today.",
    "parameters": {"type": "object", "properties": {}},
}


def make_tasks(seed: int) -> list[Task]:
    """A right train for each town; for the hard ones, another that the traveller takes by habit."""
    rng = random.Random(derive_seed(seed, "land"))
    tasks = []
    for n, town in enumerate(rng.sample(TOWNS, len(TOWNS))):
        right, habit = rng.sample(TRAINS, 2)
        metadata = {"hard": n < HARD, "habit": habit}
        reference = {"rubric": right}
        tasks.append(Task(town, f"to {town}", "", {"tools": [TOOL]}, reference, metadata))
    return tasks


def recorded() -> CallCache:
    """What the trains' office answered once: its file is all that is left of it."""
    return CallCache(calls=[Recorded("trains", {}, " ".join(TRAINS))])


def traveller(tasks: Sequence[Task]) -> Script:
    """Looks up the trains, then takes the right one about every second time; to a hard town, once
    in twenty times."""
    known = {task.prompt: task for task in tasks}

    def script(seed: int) -> Generator[str, str, None]:
        asked = yield ""
        task = next(task for prompt, task in known.items() if prompt in asked)
        yield "[trains()]"
        right, habit = task.reference["rubric"], task.metadata["habit"]
        liking = (RARELY, HABIT) if task.metadata["hard"] else (RIGHT, 0.0)
        rest = (1.0 - sum(liking)) / (len(TRAINS) - 1 - (liking[1] > 0))
        weights = {right: liking[0], **({habit: liking[1]} if liking[1] else {})}
        yield random.Random(seed).choices(TRAINS, [weights.get(t, rest) for t in TRAINS])[0]

    return script


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


async def imitated(tasks: Sequence[Task], seed: int, steps: int = 100) -> Policy:
    """A small policy that travels as the script does."""
    from agentrl.engines import ScriptedEngine
    from agentrl.learner import Learner, LearnerSettings
    from agentrl.models import tiny_policy, train_tokenizer

    words = [f"to {town} [trains()] {' '.join(TRAINS)}" for town in TOWNS] * 4
    policy = tiny_policy(
        train_tokenizer(words, 520),
        hidden=64,
        layers=1,
        heads=2,
        kv_heads=2,
        head_dim=32,
        max_positions=512,
        initializer_range=0.1,
        seed=derive_seed(seed, "weights"),
    )
    scheduler = Scheduler(runner(ScriptedEngine(traveller(tasks), policy.tokenizer), policy))
    shown = await scheduler.collect(tasks, 16, seed=derive_seed(seed, "script"))
    episodes = [e for group in shown for e in group.episodes]
    learner = Learner(
        policy, LearnerSettings(schedule="linear", total_steps=steps, learning_rate=1e-2)
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
