"""Doors with three dials of eight marks: a policy that guesses opens one in 512 tries.

Each door has a code of its own. The policy (a small transformer) was shown how dials are turned,
and what to do when it is told a mark: by episodes of a script with codes of its own, most of them
with the hint of some level in the prompt. So with a hint it can open doors whose codes it does not
know, and without one it guesses. What is measured is how often it opens them without any hint.
"""

from __future__ import annotations

import asyncio
import copy
import random
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from agentrl.core import Attempt, Episode, Group, Guide, Message, Score, Task, derive_seed, solved
from agentrl.environments import Environment, Observation
from agentrl.episodes import ChatFormats, Limits, Runner, Scheduler, dialect, informed
from agentrl.guidance import Guidance, GuidanceSettings, Means, Sources, build_guidance
from agentrl.tools import tool

if TYPE_CHECKING:
    from agentrl.core import Engine, Turn
    from agentrl.models import Policy

DIALS = {"north": "abcdefgh", "east": "ijklmnop", "south": "qrstuvwx"}
NAMES = ("oak", "elm", "ash", "fir")
CHUNKS = ("north '{0}'", "east '{1}'", "south '{2}'")
LEVELS = tuple("\n".join(CHUNKS[:told]) for told in range(1, len(CHUNKS) + 1))
"""What hints of growing detail say: the first mark, the first two, ..."""
TUTOR = "Write hint {level}. {reference}"
WIDTH, LAYERS = 48, 2
WARM_STEPS, WARM_EPISODES, WARM_BATCH, WARM_RATE = 450, 800, 48, 5e-3
GROUP, TURNS, RATE = 8, 3, 1e-3


class Door(Environment):
    """Three dials, one a turn; the door opens when all of them stand right. Nothing is told before
    the end."""

    def reset(self, task: Task) -> str:
        self.code, self.stands, self.turns = str(task.payload["code"]), dict[str, str](), 0
        return task.prompt

    @tool
    async def north(self, mark: str) -> str:
        """Turn this dial."""
        return self._turn("north", mark)

    @tool
    async def east(self, mark: str) -> str:
        """Turn this dial."""
        return self._turn("east", mark)

    @tool
    async def south(self, mark: str) -> str:
        """Turn this dial."""
        return self._turn("south", mark)

    async def step(self, turn: Turn) -> Observation:
        """A turn without a call turns nothing."""
        self.turns += 1
        over = self.turns == TURNS
        if not turn.calls:
            return Observation([Message("user", "turned")], done=over)
        said = await super().step(turn)
        return Observation(said.messages, done=over)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        right = dict(zip(DIALS, self.code, strict=True))
        steps = [float(self.stands.get(name) == mark) for name, mark in right.items()]
        return {"resolved": self.stands == right, "step_scores": steps}

    def _turn(self, dial: str, mark: str) -> str:
        self.stands[dial] = mark
        return "turned"


@dataclass(slots=True)
class Opened:
    """1 for an open door."""

    name: str = "opened"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["resolved"]))


def doors(seed: int, *, told: bool = True) -> list[Task]:
    """The doors of a seed; their codes are known to whoever hints, and to nobody else."""
    rng = random.Random(derive_seed(seed, "codes"))
    return [door(name, draw_code(rng), told=told) for name in NAMES]


def draw_code(rng: random.Random) -> str:
    """One mark of each dial."""
    return "".join(rng.choice(marks) for marks in DIALS.values())


def door(name: str, code: str, *, told: bool = True) -> Task:
    """One door; with `told`, written hints stand in its reference beside the solution."""
    hints = [text.format(*code) for text in LEVELS]
    reference: dict[str, Any] = {"solution": " ".join(code)}
    if told:
        reference |= {"hint": hints[-1], "plan": hints[-1], "solution": [hints[-1]]}
        reference["planning"] = [chunk.format(*code) for chunk in CHUNKS[:-1]]
    return Task(name, f"Open the {name} door.", payload={"code": code}, reference=reference)


def call(dial: str, mark: str) -> str:
    return f"[{dial}(mark='{mark}')]"


def opener(seed: int) -> Generator[str, str, None]:
    """Dials the marks that a hint tells, and guesses the others."""
    rng = random.Random(seed)
    heard = yield ""
    told = dict(re.findall(r"(\w+) '(\w)'", heard.partition("Hint:")[2]))
    for dial, marks in DIALS.items():
        yield call(dial, told.get(dial) or rng.choice(marks))


def tutor(seed: int) -> Generator[str, str, None]:
    """Writes the hint that it is asked for, from the solution that it is shown."""
    heard = yield ""
    found = re.search(r"Write hint (\d)\. solution: (.) (.) (.)", heard)
    assert found is not None
    yield LEVELS[int(found[1]) - 1].format(*found.groups()[1:])


@dataclass(slots=True)
class Run:
    """What a training run came to: share of doors opened without a hint, before and after.

    Attributes:
        rollouts: training episodes, guided ones included; guided: how many of them those were.
        hinted: share opened by the guided episodes of the first and of the last quarter.
    """

    before: float
    after: float
    rollouts: int
    guided: int
    updates: int
    hinted: float = 0.0


class Building:
    """The doors of a seed, the warm-started policy, and training from there."""

    def __init__(self, seed: int, *, told: bool = True) -> None:
        self.seed, self.tasks = seed, doors(seed, told=told)
        self.policy = warm_policy()

    async def train(
        self,
        guidance: GuidanceSettings | None,
        *,
        rollouts: int,
        rate: float = RATE,
        evaluated: int = 30,
    ) -> Run:
        """GRPO until so many training episodes were made, with the guidance's help or without.

        Args:
            evaluated: unhinted episodes of each door, before and after.
        """
        from agentrl.engines import TransformersEngine
        from agentrl.engines.policy_chat import PolicyChat
        from agentrl.learner import Learner, LearnerSettings
        from agentrl.learner.presets import merge

        policy = copy.deepcopy(self.policy)
        engine = TransformersEngine(policy)
        told = guidance.learner_defaults() if guidance is not None else {}
        own = {"algorithm": "grpo", "learning_rate": rate, "group_size": GROUP}
        settings = LearnerSettings(**merge(told, own))
        scheduler = Scheduler(runner(engine, policy), concurrency=256)
        model = Learner(policy, settings)
        help = None
        if guidance is not None:
            sources = Sources(policy=PolicyChat(engine, policy.tokenizer))
            help = build_guidance(guidance, sources, steps=rollouts // (GROUP * len(self.tasks)))
        means = Means(
            scheduler.attempt,
            engine,
            lambda token: policy.tokenizer.decode([token]),
            policy.tokenizer.specials,
            informing(policy),
        )
        run = Run(await self._opened(scheduler, evaluated), 0.0, 0, 0, 0)
        try:
            while run.rollouts < rollouts:
                groups = await self._update(scheduler, help, means, run)
                async with engine.paused():
                    model.step(groups)
                    engine.weights_updated(model.version)
            run.after = await self._opened(scheduler, evaluated)
            return run
        finally:
            await engine.close()

    async def _update(
        self, scheduler: Scheduler, help: Guidance | None, means: Means, run: Run
    ) -> list[Group]:
        """One step's groups, helped; counted in `run`."""
        run.updates += 1
        drawn = derive_seed(self.seed, "train", run.updates)
        guides = await help.before(self.tasks, run.updates, drawn) if help is not None else {}
        groups = await scheduler.collect(self.tasks, GROUP, seed=drawn, guides=guides)
        run.rollouts += GROUP * len(self.tasks)
        if help is None:
            return groups
        assisted = await help.assist(groups, run.updates, drawn, means)
        run.rollouts += len(assisted.rollouts)
        run.guided += len(assisted.rollouts)
        run.hinted = assisted.metrics["guided_solved_rate"]
        return assisted.groups

    async def _opened(self, scheduler: Scheduler, count: int) -> float:
        """Share of unhinted episodes that open their door; never with a guide."""
        drawn = derive_seed(self.seed, "evaluate")
        groups = await scheduler.collect(self.tasks, count, seed=drawn)
        episodes = [e for g in groups for e in g.episodes]
        assert not any(e.guidance for e in episodes)
        return sum(map(solved, episodes)) / len(episodes)


def runner(
    engine: Engine,
    policy: Policy,
    make: Callable[[], Environment] = Door,
    source: str = "policy",
) -> Runner:
    return Runner(
        engine,
        policy.tokenizer,
        dialect("pythonic"),
        make,
        Opened(),
        Limits(turns=TURNS, tokens=600, tokens_per_turn=16),
        source=source,
    )


def informing(policy: Policy) -> Any:
    """Puts a guide's hints into the record of an episode; see `agentrl.episodes.informed`."""
    formats = ChatFormats(policy.tokenizer, dialect("pythonic"))
    return lambda episode, guide: informed(episode, guide, formats.of(episode.tools))


@lru_cache(maxsize=1)
def warm_policy() -> Policy:
    """The policy that guesses, does what a hint tells, and writes hints from a solution: about a
    tenth of a million weights, the same for every seed."""
    return asyncio.run(_warm())


async def _warm() -> Policy:
    from agentrl.learner import Learner, LearnerSettings
    from agentrl.models import tiny_policy, train_tokenizer

    words = (
        [t.prompt for t in doors(0)]
        + [call(dial, m) for dial, marks in DIALS.items() for m in marks]
        + ["turned"]
    )
    rng = random.Random(derive_seed(0, "words"))
    words += [f"Hint: {text.format(*draw_code(rng))}" for text in LEVELS for _ in range(20)]
    words += [TUTOR.format(level=n, reference="solution: a i q") for n in (1, 2, 3)]
    policy = tiny_policy(
        train_tokenizer(words * 4, 340),
        hidden=WIDTH,
        layers=LAYERS,
        heads=2,
        kv_heads=1,
        head_dim=WIDTH // 2,
        max_positions=256,
        seed=derive_seed(0, "weights"),
    )
    shown = await _shown(policy)
    rng = random.Random(derive_seed(0, "batches"))
    settings = LearnerSettings(
        learning_rate=WARM_RATE, schedule="linear", total_steps=WARM_STEPS, warmup_steps=10
    )
    learner = Learner(policy, settings)
    for _ in range(WARM_STEPS):
        learner.imitate(rng.sample(shown, WARM_BATCH))
    return policy


async def _shown(policy: Policy) -> list[Episode]:
    """Episodes of the scripts, with codes of their own: doors with and without hints, and a tutor
    who writes hints."""
    from agentrl.engines import ScriptedEngine

    rng = random.Random(derive_seed(0, "shown"))
    attempts, lessons = [], []
    for number in range(WARM_EPISODES):
        code, seed = draw_code(rng), derive_seed(0, "show", number)
        task = door(rng.choice(NAMES), code)
        if number % 5 == 0:
            level = rng.randint(1, len(LEVELS))
            asked = TUTOR.format(level=level, reference=f"solution: {' '.join(code)}")
            lessons.append(Attempt(Task("lesson", asked), seed))
            continue
        level = rng.choices(range(len(LEVELS) + 1), [0.2, 0.2, 0.2, 0.4])[0]
        hint = [Message("user", f"Hint: {LEVELS[level - 1].format(*code)}")] if level else []
        attempts.append(Attempt(task, seed, Guide(hint)))
    opening = runner(ScriptedEngine(opener, policy.tokenizer), policy, source="script")
    teaching = runner(ScriptedEngine(tutor, policy.tokenizer), policy, Environment, "script")
    teaching.judged = False
    shown = await Scheduler(opening, 256).attempt(attempts)
    return shown + await Scheduler(teaching, 256).attempt(lessons)
