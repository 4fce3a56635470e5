"""Does a policy learn to prove its work? From imitating a careless user to evidence, by GRPO.

    tasks     in the world's shop, mail, settings and calendar; held-out ones are other ones
    script    a careless user works on the training tasks in a real browser; its episodes are kept
    policy    a tokenizer and a small transformer, made from nothing, imitates the script
    train     GRPO with the reward of evidence, judged by rules over the rounds that were named
    measure   held-out tasks before and after; a film strip of a few of them

With --recording the browser is needed only to record the world once; all else runs from the graph.
Exits with 1 when proofs did not rise, or the evidence does not settle at one to three rounds.
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

from agentrl.core import AgentRLError, Episode
from agentrl.core.taskfile import read_tasks, write_tasks
from agentrl.environments.gui.filmstrip import film_page
from agentrl.environments.gui.world import KINDS, make_tasks
from agentrl.episodes.rerender import texts
from agentrl.models import save_policy, tiny_policy, train_tokenizer
from agentrl.rewards import evidence_metrics
from agentrl.store import RunStore
from agentrl.training.build import make_policy as load_policy
from agentrl.training.config import RunConfig, ScriptedWarmstart, load_config
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.warmstart import record, warmstart
from examples.gui.record import record as record_world

HERE = Path(__file__).resolve().parent
# Names are the same token wherever they stand, so that they can be copied; the frame of a line and
# what calls consist of are one token each.
WORDS = (
    r"http\S+|\[\w+\(\w+=\"?|\"?, \w+=\"?|\"?\)\]|\"?\n\[|\] \w+ \"|\" value=\"|[^\n\[\]\"]{60,}"
    r"|\w+\([\w, ]+\)\n|%s|\p{L}+|[\r\n]+|\s+|."
)
SHOWN = ("proved", "solved", "invalid", "count", "shown")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path("runs/gui"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["order", "send", "set"])
    parser.add_argument("--tasks", type=int, default=60, help="to train on")
    parser.add_argument("--held-out", type=int, default=18)
    parser.add_argument("--recording", action="store_true", help="record the world, then use that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of run.yaml")
    options = parser.parse_args()
    try:
        return Demo(options).run()
    except AgentRLError as error:
        print(error, file=sys.stderr)
        return 2


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dir: Path = options.dir
        graph = self.dir / "recording"
        recorded = [f"environment.screen={{kind: recording, path: {graph}}}"]
        self.config = load_config(
            HERE / "run.yaml",
            [
                f"model.path={self.dir / 'policy'}",
                f"tasks.train={self.dir / 'train.jsonl'}",
                f"tasks.eval={self.dir / 'eval.jsonl'}",
                f"train.seed={options.seed}",
                f"run.dir={self.dir / 'run'}",
                *(recorded if options.recording else []),
                *options.overrides,
            ],
        )

    def run(self) -> int:
        started = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("script", "policy", "run", "recording"):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        with watch(Progress()) as progress:
            self.make_tasks(progress)
            self.make_policy(progress)
            progress.note(str(warmstart(self._imitating(), progress=progress)))
            result = train(self.config, progress=progress)
        assert result.before is not None
        assert result.after is not None
        return self.report(result.before.episodes, result.after.episodes, started)

    def make_tasks(self, progress: Progress) -> None:
        """Training tasks and held-out ones; few beginnings where the world is to be recorded."""
        starts = 1 if self.options.recording else 0
        count, held_out = self.options.tasks, self.options.held_out
        made = list(make_tasks(count + held_out, kinds=self.options.kinds, starts=starts))
        write_tasks(self.dir / "train.jsonl", made[:count])
        write_tasks(self.dir / "eval.jsonl", made[count:])
        if self.options.recording:
            progress.stage("recording the world")
            asyncio.run(record_world(made, self.dir / "recording", seed=self.options.seed))

    def make_policy(self, progress: Progress) -> None:
        """Record the script with a tokenizer of bytes, then make the policy from what was said."""
        script = self.config.warmstart
        assert isinstance(script, ScriptedWarmstart)
        lender = self.dir / "script" / "tokenizer"
        small = {"hidden": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32}
        save_policy(tiny_policy(train_tokenizer([""], 261), **small), lender)
        plain = self.config.plain()
        recording = RunConfig.model_validate(
            {
                **plain,
                "model": {**plain["model"], "path": str(lender)},
                "environment": {**plain["environment"], "max_tokens": 50_000},
                "sampling": {**plain["sampling"], "max_tokens": 1000},
            }
        )
        episodes = asyncio.run(record(recording, load_policy(recording), script, progress))
        with RunStore.create(self.dir / "script" / "run", plain) as store:
            store.add_episodes(0, "train", episodes)
        policy = tiny_policy(
            train_tokenizer(texts(episodes), 1536, whole_numbers=100, words=WORDS),
            hidden=96,
            layers=2,
            heads=4,
            kv_heads=4,
            head_dim=32,
            max_positions=2048,
            initializer_range=0.1,
            seed=self.options.seed,
        )
        save_policy(policy, self.dir / "policy")
        size = sum(p.numel() for p in policy.model.parameters())
        progress.note(f"a policy of {size:,} weights; {len(episodes)} episodes to imitate")

    def _imitating(self) -> RunConfig:
        """The run, with the recorded episodes as what is imitated."""
        assert self.config.warmstart is not None
        how = self.config.warmstart.model_dump(include={"epochs", "batch_size", "learning_rate"})
        recorded = {"kind": "recorded", "run": str(self.dir / "script" / "run"), **how}
        return RunConfig.model_validate({**self.config.plain(), "warmstart": recorded})

    def report(self, before: Sequence[Episode], after: Sequence[Episode], started: float) -> int:
        held_out = len(read_tasks(self.dir / "eval.jsonl"))
        print(f"\n{held_out} held-out tasks, seed {self.options.seed}")
        print(f"  {'':<14}" + "".join(f"{name:>9}" for name in SHOWN))
        found = {}
        for name, episodes in (("imitation", before), ("trained", after)):
            found[name] = evidence_metrics([e for e in episodes if e.judged])
            numbers = "".join(f"{found[name].get(key, float('nan')):>9.2f}" for key in SHOWN)
            print(f"  {name:<14}{numbers}   {len(episodes)} episodes")
        film = self.dir / "film.html"
        film.write_text(film_page([*before[:2], *after[:4]], "Before and after training"), "utf-8")
        print(f"film  {film}\ntime  {(time.monotonic() - started) / 60:.1f} minutes")
        start, end = found["imitation"], found["trained"]
        better = end.get("proved", 0.0) > start.get("proved", 0.0)
        return 0 if better and 1.0 <= end.get("count", 0.0) <= 3.0 else 1


if __name__ == "__main__":
    sys.exit(main())
