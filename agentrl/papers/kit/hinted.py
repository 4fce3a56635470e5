"""A small policy at the doors that does what a hint tells, and guesses otherwise; GRPO from there.

The policy (a small transformer) was shown how dials are turned and what to do when it is told a
move, by episodes of a script with codes drawn anew for each. So with a hint it opens doors whose
codes it does not know, and without one it guesses. What is measured is how often it opens them
without any hint.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentrl.core import Attempt, Episode, Group, Guide, Message, Task, derive_seed, solved
from agentrl.environments import Environment
from agentrl.episodes import Scheduler
from agentrl.guidance import Guidance, GuidanceSettings, Means, Sources, build_guidance
from agentrl.papers.kit import doors as world
from agentrl.papers.kit import warm
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.models import Policy

PIECES = r"\[[a-z]+\(mark=|\)\]|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+|\s+"
"""A call is three tokens: the dial, the mark, and its end."""
WARM_STEPS, WARM_EPISODES = 400, 2000
TOLD = (4, 1, 1, 2, 4)
"""How often the shown episodes are told no move, one move, ..., all moves."""
LESSONS = 0.2
GROUP, RATE, EVALUATED = 8, 2e-3, 32
FOLLOWS, STARTS, STAYS, RISES = 0.8, 0.01, 0.2, 0.5
"""Share of told moves that are made: at least. Share of doors opened without a hint: at most, in
the beginning and after training without help (by luck it may learn one door of six); at least,
after training with it."""

Reference = Callable[[Sequence[int]], dict[str, Any]]
"""What whoever hints knows of a door, given its code."""


@dataclass(slots=True)
class Run:
    """What a training run came to: share of doors opened without a hint, before and after.

    Attributes:
        rollouts: training episodes, guided ones included; guided: how many of them those were.
    """

    before: float
    after: float = 0.0
    rollouts: int = 0
    guided: int = 0
    updates: int = 0


def compare(
    seeds: Sequence[int],
    guidance: GuidanceSettings,
    reference: Reference,
    *,
    rollouts: int,
    rate: float = RATE,
) -> Measured:
    """GRPO alone and with guidance, from one start, with the same number of rollouts: passes when
    the unhinted success stays low without help and rises with it, on every seed."""
    return on_one_thread(_compare(seeds, guidance, reference, rollouts, rate))


async def _compare(
    seeds: Sequence[int],
    guidance: GuidanceSettings,
    reference: Reference,
    rollouts: int,
    rate: float,
) -> Measured:
    policy = await warm_policy()
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        followed = await _followed(policy, seed)
        found = []
        for name, help in (("GRPO", None), (guidance.kind, guidance)):
            run = await Training(policy, seed, help, reference, rollouts, rate).run()
            found.append(run)
            rows.append([seed, name, followed, run.before, run.after, run.rollouts, run.guided])
        passed &= followed >= FOLLOWS and holds(*found)
    columns = ["seed", "method", "told moves made", "opened before", "after", "rollouts", "guided"]
    return Measured(passed, columns, rows)


def holds(alone: Run, helped: Run) -> bool:
    """The effect: both began at a guess, one stayed there, the other opens doors without hints."""
    starts = max(alone.before, helped.before) <= STARTS
    return starts and alone.after <= STAYS and helped.after >= RISES


class Training:
    """GRPO on the doors of a seed, with the guidance's help or without.

    Args:
        policy: where it begins; a copy is trained.
        rollouts: training episodes, guided ones among them, after which it ends.
    """

    def __init__(
        self,
        policy: Policy,
        seed: int,
        guidance: GuidanceSettings | None,
        reference: Reference,
        rollouts: int,
        rate: float = RATE,
    ) -> None:
        from agentrl.engines import TransformersEngine
        from agentrl.engines.policy_chat import PolicyChat
        from agentrl.learner import Learner, LearnerSettings
        from agentrl.learner.presets import merge

        self.seed, self.rollouts = seed, rollouts
        self.tasks = [replace(t, reference=reference(_code(t))) for t in world.doors(seed)]
        policy = copy.deepcopy(policy)
        self.engine = TransformersEngine(policy)
        self.scheduler = Scheduler(world.runner(self.engine, policy), concurrency=256)
        told = guidance.learner_defaults() if guidance is not None else {}
        own = {"algorithm": "grpo", "learning_rate": rate, "group_size": GROUP}
        self.learner = Learner(policy, LearnerSettings(**merge(told, own)))
        self.means = Means(self.scheduler.attempt)
        self.help: Guidance | None = None
        if guidance is not None:
            sources = Sources(policy=PolicyChat(self.engine, policy.tokenizer))
            steps = rollouts // (2 * GROUP * len(self.tasks))  # about as many are guided
            self.help = build_guidance(guidance, sources, steps=steps)

    async def run(self) -> Run:
        run = Run(await self._opened())
        try:
            while run.rollouts < self.rollouts:
                groups = await self._groups(run)
                async with self.engine.paused():
                    self.learner.step(groups)
                    self.engine.weights_updated(self.learner.version)
            run.after = await self._opened()
            return run
        finally:
            await self.engine.close()

    async def _groups(self, run: Run) -> list[Group]:
        """One step's groups, helped; counted in `run`."""
        run.updates += 1
        drawn = derive_seed(self.seed, "train", run.updates)
        guides = await self.help.before(self.tasks, run.updates, drawn) if self.help else {}
        groups = await self.scheduler.collect(self.tasks, GROUP, seed=drawn, guides=guides)
        run.rollouts += GROUP * len(self.tasks)
        if self.help is None:
            return groups
        assisted = await self.help.assist(groups, run.updates, drawn, self.means)
        run.rollouts += len(assisted.rollouts)
        run.guided += len(assisted.rollouts)
        return assisted.groups

    async def _opened(self) -> float:
        """Share of unhinted episodes that open their door; never with a guide."""
        drawn = derive_seed(self.seed, "evaluate")
        groups = await self.scheduler.collect(self.tasks, EVALUATED, seed=drawn)
        episodes = [e for g in groups for e in g.episodes]
        assert not any(e.guidance for e in episodes)
        return sum(map(solved, episodes)) / len(episodes)


async def _followed(policy: Policy, seed: int) -> float:
    """Share of told moves that the policy makes, at doors of which it is told all moves."""
    from agentrl.engines import TransformersEngine

    engine = TransformersEngine(policy)
    attempts = [
        Attempt(task, derive_seed(seed, "told", n), told(_code(task)))
        for task in world.doors(seed)
        for n in range(EVALUATED)
    ]
    try:
        episodes = await Scheduler(world.runner(engine, policy), 256).attempt(attempts)
    finally:
        await engine.close()
    steps = [step for e in episodes for step in e.outcome["step_scores"]]
    return sum(steps) / len(steps)


def told(code: Sequence[int]) -> Guide:
    """A hint of the first moves."""
    return Guide([Message("user", f"Hint: {world.moves(code)}", hint=True)] if code else [])


def _code(task: Task) -> list[int]:
    return list(task.payload["code"])


_warm: list[Policy] = []


async def warm_policy() -> Policy:
    """The policy that guesses, does what a hint tells, and writes hints of moves that it is shown:
    about a tenth of a million weights, the same for every seed; made once."""
    if not _warm:
        policy = untaught()
        warm.imitate(policy, await _shown(policy), WARM_STEPS)
        _warm.append(policy)
    return _warm[0]


def untaught() -> Policy:
    """Fresh weights, and a tokenizer with a token for each dial and each mark."""
    from agentrl.models import train_tokenizer

    words = [world.door(0, ()).prompt, "turned", "Hint: moves: \n", *world.DIALS, "(mark)\n"]
    words += [world.call(dial, 0) for dial in world.DIALS]
    words += [world.TUTOR.format(level=1, reference="moves: ")]
    marks = world.DOORS * len(world.DIALS) * world.MARKS
    tokenizer = train_tokenizer(words * 8, 500, words=PIECES, whole_numbers=marks)
    return warm.untaught(tokenizer, max_positions=256)


async def _shown(policy: Policy) -> list[Episode]:
    """Episodes of the scripts, each with a code of its own: doors with and without hints, and a
    tutor who writes hints."""
    from agentrl.engines import ScriptedEngine

    rng = random.Random(derive_seed(0, "shown"))
    attempts, lessons = [], []
    for turn in range(WARM_EPISODES):
        number, seed = rng.randrange(world.DOORS), derive_seed(0, "show", turn)
        code = world.draw_code(number, rng)
        if rng.random() < LESSONS:
            (level,) = rng.choices(range(1, len(world.TIERS) + 1), (1, 1, 2))
            asked = world.TUTOR.format(level=level, reference=f"moves: {world.moves(code)}")
            lessons.append(Attempt(Task("lesson", asked), seed))
            continue
        (count,) = rng.choices(range(len(TOLD)), TOLD)
        attempts.append(Attempt(world.door(number, code), seed, told(code[:count])))
    tokenizer = policy.tokenizer
    opening = world.runner(ScriptedEngine(world.opener, tokenizer), policy, source="script")
    teaching = world.runner(
        ScriptedEngine(world.tutor, tokenizer), policy, Environment, source="script"
    )
    teaching.judged = False
    shown = await Scheduler(opening, 256).attempt(attempts)
    return shown + await Scheduler(teaching, 256).attempt(lessons)
