"""Pixels in, moves out: a small vision-language model learns to cross mazes that it only sees.

    tasks     mazes of 4 x 4 cells, ways of one or two moves; the policy gets the picture alone
    policy    a vision tower, a projector and a decoder, made from nothing, with a processor
    imitate   the right ways of some mazes, for a few epochs
    train     GRPO from there; the gradient goes through the vision tower
    measure   held-out mazes: arrived before and after, and after with the pictures exchanged

Exits with 1 when training did not raise the share that arrives, or when exchanging the pictures
does not bring it down.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode, Status, Task, Turn
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.maze import HOW, MOVES, MazeEnvironment, make_tasks
from agentrl.models import VISION_SPECIALS, save_policy, tiny_vision_policy, train_tokenizer
from agentrl.store import RunStore
from agentrl.training.evaluate import evaluate
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.warmstart import warmstart
from examples.stages import command_line, exit_code, in_folder

HERE = Path(__file__).resolve().parent
# Each move is one token; the rest is words.
WORDS = r"<\|\w+\|>|%s| ?[\p{L}]+|[\r\n]+|\s+|."
LENGTHS, SIZE = (1, 2), 4


def main() -> int:
    parser = command_line(__doc__, "runs/vision")
    parser.add_argument("--mazes", type=int, default=3000, help="to train on")
    parser.add_argument("--shown", type=int, default=2000, help="whose ways are imitated")
    parser.add_argument("--held-out", type=int, default=96, help="to measure on")
    return exit_code(lambda: Demo(parser.parse_args()).run())


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dir: Path = options.dir
        self.config = in_folder(HERE / "run.yaml", options, {"warmstart.run": "shown"})

    def run(self) -> int:
        started = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("policy", "shown", "run"):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        with watch(Progress()) as progress:
            self.make_tasks()
            self.make_policy(progress)
            progress.note(str(warmstart(self.config, progress=progress)))
            result = train(self.config, progress=progress)
            assert result.before is not None
            assert result.after is not None
            blind = self.with_other_pictures(progress)
        found = {
            "after imitation": result.before.episodes,
            "after training": result.after.episodes,
            "pictures exchanged": blind,
        }
        return report(found, self.options.seed, time.monotonic() - started)

    def make_tasks(self) -> None:
        """Mazes to train on and others to measure on; ways to imitate, recorded as a run."""
        o = self.options
        seeds = {"train": 2 * o.seed, "eval": 2 * o.seed + 1}
        counts = {"train": o.mazes, "eval": o.held_out}
        tasks = {
            name: list(make_tasks(counts[name], seed=seed, lengths=LENGTHS, size=SIZE))
            for name, seed in seeds.items()
        }
        held_out = {repr(task.payload) for task in tasks["eval"]}
        tasks["train"] = [t for t in tasks["train"] if repr(t.payload) not in held_out]
        for name, some in tasks.items():
            write_tasks(self.dir / f"{name}.jsonl", some)
        environment = MazeEnvironment(**self.config.environment.args)
        shown = [_walked(environment, task) for task in tasks["train"][: o.shown]]
        with RunStore.create(self.dir / "shown", self.config.plain()) as store:
            store.add_episodes(0, "train", shown)

    def make_policy(self, progress: Progress) -> None:
        moves = [f"<|{name}|>" for name in MOVES]
        words = [HOW, *map("".join, itertools.product(moves, moves))]
        policy = tiny_vision_policy(
            train_tokenizer(words, 360, VISION_SPECIALS, words=WORDS),
            side=40,
            patch=10,
            vision_hidden=96,
            hidden=96,
            layers=2,
            max_positions=256,
            seed=self.options.seed,
        )
        save_policy(policy, self.dir / "policy")
        size = sum(p.numel() for p in policy.model.parameters())
        progress.note(f"a policy of {size:,} weights, {len(policy.tokenizer.hf)} tokens")

    def with_other_pictures(self, progress: Progress) -> list[Episode]:
        """The trained policy on held-out mazes, each shown the picture of the next one."""
        tasks = read_tasks(self.dir / "eval.jsonl")
        others = tasks[1:] + tasks[:1]
        mixed = [replace(t, payload=o.payload) for t, o in zip(tasks, others, strict=True)]
        return evaluate(self.config, tasks=mixed, progress=progress).episodes


def _walked(environment: MazeEnvironment, task: Task) -> Episode:
    """The right way as an episode; its tokens are made when it is imitated."""
    nothing = np.zeros(0, np.int32)
    answer = "".join(f"<|{move}|>" for move in task.reference["path"])
    turn = Turn(nothing, nothing.astype(np.float32), answer)
    prompt = environment.reset(task)
    return Episode(task, task.id, 0, Status.COMPLETED, prompt=prompt, turns=[turn], source="script")


def report(found: dict[str, list[Episode]], seed: int, seconds: float) -> int:
    lengths = sorted({e.task.metadata["length"] for e in found["after training"]})
    columns = "".join(f"{n} move{'s' * (n > 1):<2}" for n in lengths)
    print(f"\nheld-out mazes that were crossed, seed {seed}    all      {columns}")
    shares = {}
    for name, episodes in found.items():
        judged = [e for e in episodes if e.judged]
        shares[name] = _crossed(judged)
        by_length = "".join(
            f"{_crossed([e for e in judged if e.task.metadata['length'] == n]):<8.0%}"
            for n in lengths
        )
        print(f"  {name:<36}{shares[name]:>12.1%}     {by_length} {len(judged)} episodes")
    print(f"time  {seconds / 60:.1f} minutes")
    before, after, blind = shares.values()
    return 0 if after > before and blind < after else 1


def _crossed(episodes: Sequence[Episode]) -> float:
    return sum(e.reward >= 1.0 for e in episodes) / max(len(episodes), 1)


if __name__ == "__main__":
    sys.exit(main())
