"""`agentrl rescore`: what another reward would have said."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from agentrl.cli.show import print_lines
from agentrl.store import RunStore


def add_commands(commands: Any) -> None:
    rescore = commands.add_parser(
        "rescore",
        help="judge a run's episodes again under another reward",
        description="Runs no policy and changes nothing in the run. Shows how rewards, advantages"
        " and the groups that have a gradient change.",
    )
    rescore.add_argument("run_dir", metavar="RUN", type=Path, help="run directory")
    rescore.add_argument(
        "--reward", type=Path, required=True, metavar="FILE", help="a reward, or a run file"
    )
    rescore.add_argument("--split", default="train", help="which episodes (default train)")
    rescore.add_argument("--step", type=int, help="only episodes of this step")
    rescore.add_argument("--out", type=Path, metavar="FILE", help="every episode's scores, JSONL")
    rescore.set_defaults(run=_rescore)


def _rescore(options: argparse.Namespace) -> int:
    from agentrl.training.config import parse_config
    from agentrl.training.rescore import read_reward, records, rescore

    reward = read_reward(options.reward)
    with RunStore.open(options.run_dir, read_only=True) as store:
        settings = parse_config(store.config, where=str(options.run_dir)).learner
        found = asyncio.run(
            rescore(store, reward, settings, split=options.split, step=options.step)
        )
    print_lines(found.lines())
    if options.out:
        lines = (json.dumps(record) + "\n" for record in records(found.episodes))
        options.out.write_text("".join(lines), "utf-8")
    return 0
