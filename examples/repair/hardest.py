"""The tasks that the demo's policy hardly ever solves: GRPO with guidance and replay, and without.

    hardest   the third of the demo's training tasks that its policy solved least
    lessons   the policy is shown what to do with a hint, and its own successes once more
    train     twice from there, for the same number of rollouts (guided ones count)
    measure   the same tasks before and after, never with a hint

Needs what `make demo` left. Exits with 1 when guidance and replay did not lead.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Task
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.models import save_policy
from agentrl.store import RunStore
from agentrl.training.build import make_policy as load_policy
from agentrl.training.config import RunConfig, load_config
from agentrl.training.evaluate import EvalResult
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.state import restore_weights
from agentrl.training.warmstart import warmstart
from examples.repair.exercises import make_told
from examples.stages import command_line, exit_code, print_rates

HERE = Path(__file__).resolve().parent
SOLVED = 0.5
"""The least reward of an episode that repaired its bug."""
TOLD = 3000
ROLLOUTS = 1200
LESSONS = {"epochs": 1, "batch_size": 1, "learning_rate": 5e-4}
COMMON = ["train.steps=1000", f"train.rollouts={ROLLOUTS}", "eval.samples=4"]
HELP = [
    "guidance={kind: guide, ladder: ['examples.repair.hints:Fault']}",
    "replay={every: 2, share: 0.5}",
]


def main() -> int:
    parser = command_line(__doc__, "runs/hardest", "examples/repair/run.yaml")
    parser.add_argument("--demo", type=Path, default=Path("runs/repair"), help="where it was run")
    return exit_code(lambda: Hardest(parser.parse_args()).run())


class Hardest:
    def __init__(self, options: argparse.Namespace) -> None:
        self.dir: Path = options.dir
        self.demo: Path = options.demo
        self.tasks = self.demo / "hardest.jsonl"  # beside the archives that it names
        self.options = options
        self.started = time.monotonic()

    def run(self) -> int:
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        with watch(Progress()) as progress:
            write_tasks(self.tasks, self.hardest())
            self.lessons(progress)
            alone = train(self.config("alone", COMMON), progress=progress)
            helped = train(self.config("helped", [*COMMON, *HELP]), progress=progress)
        assert alone.before
        assert alone.after
        assert helped.after
        return self.report(alone.before, alone.after, helped.after)

    def hardest(self) -> list[Task]:
        """The third of the training tasks that the demo's policy solved least, late in training."""
        rates = self.solved_rates()
        tasks = [t for t in read_tasks(self.demo / "tasks.jsonl") if t.id in rates]
        tasks.sort(key=lambda task: (rates[task.id], task.id))
        return tasks[: len(tasks) // 3]

    def solved_rates(self) -> dict[str, float]:
        """By task: the share solved in the last step of the demo that it was part of."""
        last: dict[str, tuple[int, list[bool]]] = {}
        with RunStore.open(self.demo / "run", read_only=True) as store:
            for found in store.summaries(split="train"):
                if found.reward is not None:
                    step, outcomes = last.get(found.task, (found.step, []))
                    kept = outcomes if found.step == step else []
                    last[found.task] = found.step, [*kept, found.reward >= SOLVED]
        return {task: sum(solved) / len(solved) for task, (_, solved) in last.items()}

    def lessons(self, progress: Progress) -> None:
        """The demo's newest weights; then edits that a hint is about, and its own successes."""
        recorded = {"kind": "recorded", "run": str(self.demo / "run"), "min_reward": SOLVED}
        config = self.config("lessons", [f"warmstart={json.dumps(recorded | LESSONS)}"])
        shutil.copytree(self.demo / "policy", self.dir / "policy")
        policy = load_policy(config)
        with RunStore.open(self.demo / "run", read_only=True) as store:
            restore_weights(store, policy)
        save_policy(policy, self.dir / "policy")
        told = make_told(TOLD, self.options.seed)
        progress.note(str(warmstart(config, practice=told, progress=progress)))
        with RunStore.open(config.run.dir, read_only=True) as store:
            restore_weights(store, policy)
        save_policy(policy, self.dir / "policy")

    def config(self, name: str, overrides: list[str]) -> RunConfig:
        given = {
            "model.path": self.dir / "policy",
            "tasks.train": self.tasks,
            "tasks.eval": self.tasks,
            "train.seed": self.options.seed,
            "run.dir": self.dir / name,
        }
        told = [f"{key}={value}" for key, value in given.items()]
        return load_config(HERE / "run.yaml", [*told, *overrides, *self.options.overrides])

    def report(self, before: EvalResult, alone: EvalResult, helped: EvalResult) -> int:
        minutes = (time.monotonic() - self.started) / 60
        print(f"\nhardest {len(before.by_task)} training tasks, no hints, seed {self.options.seed}")
        print_rates({"before": before, "GRPO alone": alone, "with guidance and replay": helped})
        for name in ("alone", "helped"):
            print(f"{name}: {self.counts(name)}")
        print(f"time  {minutes:.1f} minutes")
        return 0 if helped.rate > alone.rate else 1

    def counts(self, name: str) -> dict[str, int]:
        """Episodes by split."""
        with RunStore.open(self.dir / name, read_only=True) as store:
            return {
                split: len(store.summaries(split=split)) for split in ("train", "guided", "eval")
            }


if __name__ == "__main__":
    sys.exit(main())
