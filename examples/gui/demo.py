"""A policy learns to prove what it did on a screen, in a recording of the world.

    record    a browser goes through the mail program once; from then on there is none
    script    a clumsy user works on the training tasks; its episodes are recorded
    policy    a tokenizer and a small transformer, made from nothing, imitates the script
    train     GRPO with SmartSnap's reward; rules judge the evidence
    measure   held-out tasks before and after: proved, done, rounds named, invalid submissions

Exits with 1 when training did not raise the share that is proved.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import time
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode
from agentrl.core.taskfile import write_tasks
from agentrl.environments.gui.world import make_tasks
from agentrl.environments.gui.world.tasks import Kind
from agentrl.episodes.rerender import texts
from agentrl.models import save_policy, train_tokenizer
from agentrl.rewards import evidence_metrics
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.warmstart import warmstart
from examples.gui.record import record
from examples.stages import (
    command_line,
    exit_code,
    imitating,
    in_folder,
    record_script,
    small_policy,
)

HERE = Path(__file__).resolve().parent
KINDS: tuple[Kind, ...] = ("archive", "delete")
# Names and numbers are the same token wherever they stand, so that they can be copied.
WORDS = r"""%s|[\p{L}_]+|[^\p{L}\p{N}]+"""
# Steps from the first page of an application that are explored beside the ways of the experts.
DEPTH = 2
SHOWN = {"proved": "proved", "solved": "done", "count": "rounds named", "invalid": "no submission"}


def main() -> int:
    parser = command_line(__doc__, "runs/gui")
    parser.add_argument("--starts", type=int, default=4, help="states of the world to begin in")
    parser.add_argument("--tasks", type=int, default=32, help="a third of them held out")
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=KINDS)
    parser.add_argument("--recording", type=Path, help="one of these starts, made before")
    return exit_code(lambda: Demo(parser.parse_args()).run())


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dir: Path = options.dir
        self.recording: Path = options.recording or self.dir / "recording"
        places = {"environment.screen.path": self.recording.absolute()}
        self.config = in_folder(HERE / "run.yaml", options, places)

    def run(self) -> int:
        started = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        made = () if self.options.recording else ("recording",)
        for old in ("script", "policy", "run", *made):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        with watch(Progress()) as progress:
            self.make_tasks(progress)
            self.make_policy(progress)
            config = imitating(self.config, self.dir / "script" / "run")
            progress.note(str(warmstart(config, progress=progress)))
            result = train(config, progress=progress)
        assert result.before is not None
        assert result.after is not None
        found = {"before": result.before.episodes, "after": result.after.episodes}
        return report(found, self.options.seed, time.monotonic() - started)

    def make_tasks(self, progress: Progress) -> None:
        """Tasks of a few states of the world, and a recording of what can be done from there."""
        o = self.options
        found = list(make_tasks(o.tasks, seed=o.seed, kinds=tuple(o.kinds), starts=o.starts))
        random.Random(o.seed).shuffle(found)
        held_out = len(found) // 3
        write_tasks(self.dir / "train.jsonl", found[held_out:])
        write_tasks(self.dir / "eval.jsonl", found[:held_out])
        if not o.recording:
            progress.stage("recording")
            walks = record(found, self.recording, attempts=0, further=20_000, depth=DEPTH)
            recorded = asyncio.run(walks)
            progress.note(f"recorded {len(recorded.nodes)} states of the applications")

    def make_policy(self, progress: Progress) -> None:
        episodes = record_script(self.config, self.dir / "script", progress)
        tokenizer = train_tokenizer(texts(episodes), 1024, words=WORDS, whole_numbers=20)
        policy = small_policy(tokenizer, self.options.seed)
        save_policy(policy, self.dir / "policy")
        size = sum(p.numel() for p in policy.model.parameters())
        progress.note(f"a policy of {size:,} weights; {len(episodes)} episodes to imitate")


def report(found: dict[str, list[Episode]], seed: int, seconds: float) -> int:
    metrics = {name: evidence_metrics(episodes, "reward") for name, episodes in found.items()}
    print(f"\nheld-out tasks, seed {seed}        before    after")
    for key, label in SHOWN.items():
        row = [metrics[name].get(key, float("nan")) for name in found]
        shown = "".join(f"{x:>9.2f}" if key == "count" else f"{x:>9.1%}" for x in row)
        print(f"  {label:<24}{shown}   {len(found['after'])} episodes")
    print(f"time  {seconds / 60:.1f} minutes")
    return 0 if metrics["after"]["proved"] > metrics["before"]["proved"] else 1


if __name__ == "__main__":
    sys.exit(main())
