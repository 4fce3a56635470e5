"""Paper 18, DeepTravel: trips that failed are tried again by the policy of now.

`agentrl.training.loop.train` runs the same file twice, with its `replay` section and without it,
for the same number of rollouts: a small transformer plans trips from recorded answers, judged by
`Hierarchical`. A few towns have one plan that holds, which nobody tells and no other town teaches;
they are the tail of many easy trips, so a shuffled epoch comes by too rarely to learn them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import Episode
from agentrl.core.taskfile import write_tasks
from agentrl.papers.kit import trips as world
from agentrl.papers.kit import warm
from agentrl.papers.kit.world import on_one_thread, one_thread
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.models import Policy
    from agentrl.training.evaluate import EvalResult

CLAIM = (
    "With failure replay the hard tail of tasks is solved within the budget of rollouts, and "
    "without it is not; turns are verified only where the trajectory holds."
)
PIECES = (
    r'\[trains\(town=|\), hotels\(town=|\)\]|\{"train": |, "hotel": |\}'
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+|\s+"
)
"""A message is a handful of tokens."""
WARM_STEPS, WARM_EPISODES = 300, 1200
STEPS, PER_STEP, GROUP, RATE = 60, 8, 8, 2e-3
NEAR = {"kl": {"target": "reference", "coefficient": 0.02}}
"""Keeps what is not rehearsed from being forgotten, so that without replay the tail stays."""
EASY, SAMPLES = 4, 16
"""Easy trips that are measured beside the tail, and episodes of each trip."""
REPLAY = {"every": 1, "share": 0.5, "evict": 0.75, "max_tries": 100}
STARTS, STAYS, RISES = 0.1, 0.2, 0.4
"""Share of the tail's trips that hold: at most, at the start and after training without replay; at
least, after training with it."""


@dataclass(slots=True)
class Run:
    """Share of trips that hold, before and after training for so many rollouts."""

    tail: tuple[float, float]
    easy: tuple[float, float]
    rollouts: int


def run(seeds: Sequence[int]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        verified = prepare(Path(folder))
        rows: list[list[str | int | float]] = []
        passed = filters(verified)
        for seed in seeds:
            # Without a tail that is solved there is nothing to compare with.
            found = [trained(Path(folder), seed, REPLAY)]
            if found[0].tail[1] >= RISES:
                found.append(trained(Path(folder), seed, None))
            for name, one in zip(("replay", "none"), found, strict=False):
                rows.append([seed, name, *one.tail, *one.easy, one.rollouts])
            passed &= len(found) == 2 and holds(*found)
    for (whole, reward, asked), count in sorted(verified.items()):
        plan = f"scripted, plan {'holds' if whole else 'fails'}, {asked} questions, {count} trips"
        rows.append(["all", plan, reward, reward, "", "", count])
    columns = ["seed", "failed trips again", "tail before", "after", "easy before", "after"]
    return Measured(passed, [*columns, "rollouts"], rows)


def holds(replayed: Run, plain: Run) -> bool:
    """The effect: from one start, with one budget, the tail is solved by one of the two."""
    starts = max(replayed.tail[0], plain.tail[0]) <= STARTS
    budget = replayed.rollouts == plain.rollouts
    return starts and budget and replayed.tail[1] >= RISES and plain.tail[1] <= STAYS


Verdicts = Counter[tuple[bool, float, int]]
"""How often (the plan holds, reward, questions to the judge)."""


def said_of(episode: Episode) -> tuple[bool, float, int]:
    checks = episode.scores["reward"].checks
    return bool(checks[0].passed), episode.reward, len(checks)


def filters(verdicts: Verdicts) -> bool:
    """One question for a plan that fails; for one that holds also its turns, whose verdict counts:
    some plans are right by luck, of a town that was not looked up."""
    kinds = {(True, 1.0, 2), (True, 0.0, 2), (False, 0.0, 1)}
    return set(verdicts) == kinds


def trained(folder: Path, seed: int, replay: dict[str, Any] | None) -> Run:
    """One run of the loop, from the policy in the folder."""
    from agentrl.store import RunStore
    from agentrl.training.config import parse_config
    from agentrl.training.loop import train

    tasks = list(world.trips(seed))
    tail, easy = world.by_tail(tasks)
    write_tasks(folder / "train.jsonl", tasks)
    write_tasks(folder / "eval.jsonl", [*tail, *easy[:: len(easy) // EASY]])
    at = folder / f"{seed}-{'replay' if replay else 'none'}"
    with one_thread():
        found = train(parse_config(run_file(folder, at, seed, replay)))
    assert found.before is not None
    assert found.after is not None
    with RunStore.open(at, read_only=True) as store:
        rollouts = len(store.summaries(split="train", limit=10 * STEPS * PER_STEP * GROUP))
    before, after = _rates(found.before), _rates(found.after)
    return Run((before[0], after[0]), (before[1], after[1]), rollouts)


def run_file(folder: Path, at: Path, seed: int, replay: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "model": {"path": str(folder / "policy"), "dialect": "pythonic"},
        "environment": {
            "kind": "simulated",
            "cache": str(folder / "calls.jsonl"),
            "max_turns": world.TURNS,
            "max_tokens": world.TOKENS,
            "concurrency": 256,
        },
        "tasks": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")},
        "reward": {"kind": "agentrl.papers.kit.trips:TripReward"},
        "sampling": {"max_tokens": world.MESSAGE},
        "learner": {
            "algorithm": "grpo",
            "group_size": GROUP,
            "learning_rate": RATE,
            "divergences": NEAR,
        },
        "train": {
            "steps": STEPS,
            "tasks_per_step": PER_STEP,
            "checkpoint_every": STEPS,
            "seed": seed,
        },
        "replay": replay,
        "eval": {"samples": SAMPLES},
        "run": {"dir": str(at)},
    }


def _rates(found: EvalResult) -> tuple[float, float]:
    """(of the tail, of the others)."""
    kinds: tuple[list[float], list[float]] = ([], [])
    for episode in found.episodes:
        kinds[0 if episode.task.metadata["tail"] else 1].append(episode.reward)
    return sum(kinds[0]) / len(kinds[0]), sum(kinds[1]) / len(kinds[1])


def prepare(folder: Path) -> Verdicts:
    """Recorded answers and the warm policy, in the folder; what the verifier said of the scripted
    trips that it imitates."""
    from agentrl.models import save_policy

    world.record(folder / "calls.jsonl")
    policy = untaught()
    shown = on_one_thread(world.travelled(policy, folder / "calls.jsonl", WARM_EPISODES))
    with one_thread():
        warm.imitate(policy, shown, WARM_STEPS)
    save_policy(policy, folder / "policy")
    return Counter(map(said_of, shown))


def untaught() -> Policy:
    """Fresh weights, and a tokenizer with a token for each id."""
    from agentrl.models import train_tokenizer

    words = [next(world.trips(0)).prompt, world.look(0), world.PLAN.format(1, 2), "(town=1)"]
    last = world.offers(world.KINDS[-1], world.TAIL + world.EASY - 1).stop
    tokenizer = train_tokenizer(words * 8, 300 + last, words=PIECES, whole_numbers=last)
    return warm.untaught(tokenizer, max_positions=world.TOKENS)
