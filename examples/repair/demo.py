"""From nothing to an agent that repairs code in Docker: what `make demo` runs.

    tasks     bugs planted in a real package and verified in containers; held-out ones on
              functions that training never sees
    script    a mediocre scripted agent works on the training tasks; its episodes are recorded
    policy    a tokenizer and a transformer of under a million weights, made from nothing
    imitate   the policy imitates the script
    train     GRPO with gated rewards, every episode in a container
    measure   the held-out tasks before and after

Exits with 1 when the held-out rate did not rise.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode
from agentrl.environments.swe.synth import SynthSettings, synthesise
from agentrl.store import RunStore
from agentrl.training.build import load_tasks, make_provider
from agentrl.training.config import RunConfig, load_config
from agentrl.training.live import watch
from agentrl.training.loop import RunResult, train
from agentrl.training.plots import plot_run
from agentrl.training.progress import Progress
from agentrl.training.statistics import Interval
from agentrl.training.warmstart import warmstart
from examples.repair.agent import fault
from examples.repair.exercises import make_exercises
from examples.repair.policy import make_policy
from examples.stages import command_line, exit_code, imitating, print_rates, record_script

HERE = Path(__file__).resolve().parent
PACKAGE = "algorithms==1.0.1"
EXERCISES = 12_000
OPERATORS = ("comparison", "arithmetic", "boolean")


def main() -> int:
    parser = command_line(__doc__, "runs/repair", "examples/repair/run.yaml")
    parser.add_argument("--sandbox", choices=("docker", "process"), default="docker")
    parser.add_argument("--tasks", type=Path, help="task file to use instead of making one")
    return exit_code(lambda: Demo(parser.parse_args()).run())


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dir: Path = options.dir
        self.seed: int = options.seed
        self.tasks: Path = options.tasks or self.dir / "tasks.jsonl"
        self.config = self._config(options)
        self.started = time.monotonic()

    @property
    def _held_out(self) -> Path:
        return self.tasks.with_name(f"{self.tasks.stem}.held_out.jsonl")

    def _config(self, options: argparse.Namespace) -> RunConfig:
        sandbox = [] if options.sandbox == "docker" else ["environment.sandbox={kind: process}"]
        return load_config(
            HERE / "run.yaml",
            [
                f"model.path={self.dir / 'policy'}",
                f"tasks.train={self.tasks}",
                f"tasks.eval={self._held_out}",
                f"train.seed={self.seed}",
                f"run.dir={self.dir / 'run'}",
                *sandbox,
                *options.overrides,
            ],
        )

    def run(self) -> int:
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("run", "script", "policy"):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        with watch(Progress()) as progress:
            if not self.tasks.exists():
                asyncio.run(self.make_tasks(progress))
            exercises = self.make_policy(progress)
            config = imitating(self.config, self.dir / "script" / "run")
            imitated = warmstart(config, practice=exercises, progress=progress)
            progress.note(str(imitated))
            result = train(self.config, progress=progress)
        return self.report(result)

    async def make_tasks(self, progress: Progress) -> None:
        progress.stage(f"planting bugs in {PACKAGE}")
        # Nobody here knows another edit than the script, and a task that nobody can solve tells
        # nothing.
        settings = SynthSettings(
            count=90,
            held_out=67,
            keep=lambda patch: fault(patch) is not None,
            operators=OPERATORS,
            max_function_lines=12,
            max_file_lines=250,
            per_function=2,
            max_pass_to_pass=60,
            probes=0,  # hidden tests on other inputs: a third of the time
            parallel=3,
        )
        sandbox = self.config.environment.sandbox
        assert sandbox is not None
        async with make_provider(sandbox) as provider:
            made = await synthesise([PACKAGE], self.tasks, provider, settings)
        counts = {split: len(tasks) for split, tasks in made.tasks.items()}
        progress.note(
            f"tasks: {counts}; bugs that no test noticed and others: {dict(made.rejected)}"
        )

    def make_policy(self, progress: Progress) -> list[Episode]:
        """Record the script with a throw-away tokenizer, then make the policy from its words and
        those of the exercises, which are returned."""
        episodes = record_script(self.config, self.dir / "script", progress, max_tokens=100_000)
        exercises = make_exercises(EXERCISES, self.seed)
        size = make_policy([*episodes, *exercises], self.dir / "policy", seed=self.seed)
        progress.note(
            f"a policy of {size:,} weights; to imitate: {len(episodes)} scripted episodes, "
            f"{len(exercises):,} exercises"
        )
        return exercises

    def report(self, result: RunResult) -> int:
        before, after = result.before, result.after
        assert before is not None
        assert after is not None
        minutes = (time.monotonic() - self.started) / 60
        with RunStore.open(self.config.run.dir, read_only=True) as store:
            plot = plot_run(store)
        tasks = len(load_tasks(str(self.tasks)))
        print(f"\n{tasks} training tasks, {len(before.by_task)} held-out tasks, seed {self.seed}")
        print("held-out episodes solved        rate    95% interval over tasks")
        print_rates({"imitation of the script": before, "after training": after})
        print(f"\nplot  {plot}\nrun   {result.directory}\ntime  {minutes:.1f} minutes")
        rises = after.rate > before.rate
        apart = not Interval(before.rate, before.ci_low, before.ci_high).overlaps(
            Interval(after.rate, after.ci_low, after.ci_high)
        )
        if not rises:
            print("the held-out rate did not rise", file=sys.stderr)
        elif not apart:
            print("the held-out rate rose, but the intervals overlap", file=sys.stderr)
        return 0 if rises else 1


if __name__ == "__main__":
    sys.exit(main())
