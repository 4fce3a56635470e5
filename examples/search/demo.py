"""Does a reward for labels alone teach to cite? Two runs from one imitation, and their difference.

    corpus    summaries of Wikipedia from a package, indexed: 10,033 documents
    script    a careless agent checks the training claims; its episodes are recorded
    policy    a tokenizer and a small transformer, made from nothing, imitates the script
    train     twice from there: rewarded for the label, and for label, evidence, validity and form
    measure   held-out claims: label accuracy and joint accuracy (label and exactly the evidence)

Exits with 1 when the full reward did not lead to the higher joint accuracy.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode
from agentrl.environments.search import build_index
from agentrl.episodes.rerender import texts
from agentrl.models import save_policy, train_tokenizer
from agentrl.rewards import claim_metrics
from agentrl.training.config import RunConfig
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.warmstart import warmstart
from examples.search.corpus import fetch, subjects, write_splits
from examples.stages import (
    command_line,
    exit_code,
    imitating,
    in_folder,
    record_script,
    small_policy,
)

HERE = Path(__file__).resolve().parent
REWARDS: dict[str, dict[str, Any]] = {
    "label": {"kind": "claim", "label_only": True},
    "full": {"kind": "claim"},
}
# Ids, titles and query words are the same token wherever they stand, so that they can be copied.
WORDS = r"""\[\[|\]\],? ?|\[search\(query=|"\)\]|"|%s|[\p{L}_]+| [\p{L}_]+|[\r\n]+|\s+|."""


def main() -> int:
    parser = command_line(__doc__, "runs/search")
    parser.add_argument("--documents", type=Path, help="a .jsonl file instead of the package's")
    parser.add_argument("--subjects", type=int, default=16, help="documents that claims are about")
    return exit_code(lambda: Demo(parser.parse_args()).run())


class Demo:
    """The stages in their order; each leaves its files in the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dir: Path = options.dir
        self.config = in_folder(HERE / "run.yaml", options, {"environment.index": "index"})

    def run(self) -> int:
        started = time.monotonic()
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("script", "policy", "index", *REWARDS):
            shutil.rmtree(self.dir / old, ignore_errors=True)
        found = {}
        with watch(Progress()) as progress:
            self.make_tasks(progress)
            self.make_policy(progress)
            for name, reward in REWARDS.items():
                config = self._with(name, reward)
                progress.note(f"{name}: {warmstart(config, progress=progress)}")
                result = train(config, progress=progress)
                assert result.before is not None
                assert result.after is not None
                found.setdefault("imitation", result.before.episodes)
                found[name] = result.after.episodes
        return self.report(found, time.monotonic() - started)

    def make_tasks(self, progress: Progress) -> None:
        documents = self.options.documents or fetch(self.dir)
        progress.stage("indexing")
        build_index(self.dir / "index", [documents])
        known = subjects(documents, self.options.subjects, self.options.seed)
        write_splits(known, self.dir, self.options.seed)

    def make_policy(self, progress: Progress) -> None:
        episodes = record_script(self.config, self.dir / "script", progress)
        tokenizer = train_tokenizer(texts(episodes), 1024, words=WORDS)
        policy = small_policy(tokenizer, self.options.seed)
        save_policy(policy, self.dir / "policy")
        size = sum(p.numel() for p in policy.model.parameters())
        progress.note(f"a policy of {size:,} weights; {len(episodes)} episodes to imitate")

    def _with(self, name: str, reward: dict[str, Any]) -> RunConfig:
        """The run of one reward, which imitates the recorded episodes first."""
        config = imitating(self.config, self.dir / "script" / "run")
        changed = {"reward": reward, "run": {"dir": str(self.dir / name)}}
        return RunConfig.model_validate({**config.plain(), **changed})

    def report(self, found: dict[str, list[Episode]], seconds: float) -> int:
        print(f"\nheld-out claims, seed {self.options.seed}        label    joint   evidence")
        joint = {}
        for name, episodes in found.items():
            metrics = claim_metrics([e for e in episodes if e.judged])
            joint[name] = metrics["joint_accuracy"]
            print(
                f"  {name:<24}{metrics['label_accuracy']:>14.1%}{metrics['joint_accuracy']:>9.1%}"
                f"{metrics['evidence']:>10.2f}   {len(episodes)} episodes"
            )
        print(f"time  {seconds / 60:.1f} minutes")
        return 0 if joint["full"] > joint["label"] else 1


if __name__ == "__main__":
    sys.exit(main())
