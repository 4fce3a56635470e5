"""A policy learns to plan trips that hold, from recorded answers, with failed trips tried again.

    record    trains, hotels and sights of every city are asked for once; then the tools are gone
    script    a hasty traveller plans the training trips; its episodes are recorded
    policy    a tokenizer and a small transformer, made from nothing, imitates the script
    train     with the plan-then-turns verifier and failure replay
    measure   held-out trips, before and after; and those whose budget leaves one choice

Exits with 1 when training did not raise the share of trips that hold.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode, Task
from agentrl.core.taskfile import write_tasks
from agentrl.environments.simulated import CallCache
from agentrl.episodes.rerender import texts
from agentrl.models import save_policy, train_tokenizer
from agentrl.store import RunStore
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress, solved
from agentrl.training.warmstart import warmstart
from examples.stages import (
    command_line,
    exit_code,
    imitating,
    in_folder,
    record_script,
    small_policy,
)
from examples.travel.world import CITIES, LIVE, make_tasks

HERE = Path(__file__).resolve().parent
# Ids and numbers are the same token wherever they stand, so that they can be copied.
WORDS = r"""%s|[\p{L}_]+\d?|[^\s\p{L}\d]+|\s+"""


def main() -> int:
    parser = command_line(__doc__, "runs/travel")
    parser.add_argument(
        "--trips", type=int, default=48, help="training trips; half as many held out"
    )
    return exit_code(lambda: Demo(parser.parse_args()).run())


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dir: Path = options.dir
        self.config = in_folder(HERE / "run.yaml", options, {"environment.cache": "calls.jsonl"})

    def run(self) -> int:
        started = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("script", "policy", "run"):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        with watch(Progress()) as progress:
            asyncio.run(self.record_calls())
            self.write_trips()
            self.make_policy(progress)
            config = imitating(self.config, self.dir / "script" / "run")
            progress.note(str(warmstart(config, progress=progress)))
            result = train(config, progress=progress)
        assert result.before is not None
        assert result.after is not None
        return self.report(result.before.episodes, result.after.episodes, started)

    async def record_calls(self) -> None:
        """Ask every tool about every city; the file is all that is left of the tools."""
        (self.dir / "calls.jsonl").unlink(missing_ok=True)
        cache = CallCache(self.dir / "calls.jsonl", mode="record")
        for city in CITIES:
            for name, live in LIVE.items():
                asked = {"to" if name == "trains" else "city": city}
                cache.put(name, asked, await live(asked))
        cache.close()

    def write_trips(self) -> None:
        trips = self.options.trips
        found: list[Task] = list(make_tasks(trips + trips // 2, seed=self.options.seed))
        write_tasks(self.dir / "train.jsonl", found[:trips])
        write_tasks(self.dir / "eval.jsonl", found[trips:])

    def make_policy(self, progress: Progress) -> None:
        episodes = record_script(self.config, self.dir / "script", progress)
        tokenizer = train_tokenizer(texts(episodes), 800, words=WORDS, whole_numbers=200)
        save_policy(small_policy(tokenizer, self.options.seed), self.dir / "policy")

    def report(self, before: list[Episode], after: list[Episode], started: float) -> int:
        with RunStore.open(self.dir / "run", read_only=True) as store:
            events = store.failure_log(read_only=True).events()
        tried = [event for event in events if event.event == "tried"]
        print(f"\nheld-out trips, seed {self.options.seed}     before    after")
        for name, tight in (("all", False), ("one choice only", True)):
            rates = [_rate(episodes, tight) for episodes in (before, after)]
            print(f"  {name:<24}{rates[0]:>9.1%}{rates[1]:>9.1%}")
        won = sum(event.solved > 0 for event in tried)
        print(f"  failed trips tried again {len(tried)} times, solved by {won} of these groups")
        print(f"time  {(time.monotonic() - started) / 60:.1f} minutes")
        return 0 if _rate(after, tight=False) > _rate(before, tight=False) else 1


def _rate(episodes: Sequence[Episode], tight: bool) -> float:
    mine = [e for e in episodes if e.judged and (e.task.metadata["tight"] or not tight)]
    return sum(map(solved, mine)) / len(mine) if mine else 0.0


if __name__ == "__main__":
    sys.exit(main())
