"""A small policy, made from nothing, learns to keep the books of examples/ledger.py on a CPU.

    tasks     every payment between three accounts of 1 to 9; a quarter of them held out
    policy    a tokenizer and a small transformer imitate a careless clerk
    train     GRPO on whether the balance is what it should be
    measure   held-out payments, before and after

Exits with 1 when the policy did not get better.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agentrl.core import Episode, Score, Task, derive_seed
from agentrl.core.taskfile import write_tasks
from agentrl.models import save_policy, train_tokenizer
from agentrl.training.live import watch
from agentrl.training.loop import train
from agentrl.training.progress import Progress
from agentrl.training.warmstart import warmstart
from examples.ledger import Ledger
from examples.stages import command_line, exit_code, in_folder, small_policy

ACCOUNTS = ("cash", "bank", "rent")
ASK = re.compile(r"Pay (\d) from (\w+) to (\w+)\.")
CALL = '[transfer(source="{}", target="{}", amount={})]'
# Names and digits are the same token wherever they stand, so that they can be copied.
WORDS = r'\[transfer\(source=|, target=|, amount=|\)\]|"|%s|\d|[\p{L}_]+|[\r\n]+|\s+|.'
# How often the clerk is right, swaps the accounts, or misreads the amount.
HABITS = {"right": 0.4, "swapped": 0.25, "misread": 0.35}


class Settled:
    """1 when every account holds what it should."""

    name = "settled"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["balance"] == episode.task.reference["balance"]))


def payments() -> list[Task]:
    """Every payment; each account begins with ten."""
    pairs = [(a, b) for a in ACCOUNTS for b in ACCOUNTS if a != b]
    start = dict.fromkeys(ACCOUNTS, 10)
    return [
        Task(
            f"{a}-{b}-{n}",
            f"Pay {n} from {a} to {b}.",
            payload={"balance": start},
            reference={"balance": {**start, a: 10 - n, b: 10 + n}},
        )
        for a, b in pairs
        for n in range(1, 10)
    ]


def careless(seed: int) -> Generator[str, str, None]:
    """A clerk who makes mistakes; yields messages, is sent what the environment said."""
    rng = random.Random(seed)
    asked = ASK.search((yield ""))
    assert asked is not None
    amount, source, target = asked.groups()
    habit = rng.choices(list(HABITS), list(HABITS.values()))[0]
    if habit == "swapped":
        source, target = target, source
    if habit == "misread":
        amount = str(rng.choice([n for n in range(1, 10) if n != int(amount)]))
    yield CALL.format(source, target, amount)
    yield "done"


def make_policy(folder: Path, seed: int) -> int:
    """A policy that knows the words of the ledger; returns the number of its weights."""
    calls = [CALL.format(a, b, n) for a in ACCOUNTS for b in ACCOUNTS for n in range(1, 10)]
    shown = [f"{a}: {n}, {b}: {20 - n}" for a in ACCOUNTS for b in ACCOUNTS for n in range(20)]
    tools = [json.dumps(tool.spec) for tool in Ledger().tools.values()] * 20
    texts = [*(task.prompt for task in payments()), *calls, *shown, *tools, "done"]
    policy = small_policy(train_tokenizer(texts, 512, words=WORDS), seed)
    save_policy(policy, folder)
    return sum(p.numel() for p in policy.model.parameters())


def run(options: argparse.Namespace) -> int:
    folder, seed = options.dir, options.seed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tasks = payments()
    random.Random(derive_seed(seed, "split")).shuffle(tasks)
    held_out = len(tasks) // 4
    write_tasks(folder / "train.jsonl", tasks[held_out:])
    write_tasks(folder / "eval.jsonl", tasks[:held_out])
    size = make_policy(folder / "policy", seed)
    config = in_folder(Path(__file__).with_name("ledger.yaml"), options)
    with watch(Progress()) as progress:
        progress.note(f"a policy of {size:,} weights")
        progress.note(str(warmstart(config, progress=progress)))
        result = train(config, progress=progress)
    assert result.before is not None
    assert result.after is not None
    print(f"held-out payments settled: {result.before.rate:.1%} -> {result.after.rate:.1%}")
    return 0 if result.after.rate > result.before.rate else 1


def main() -> int:
    options = command_line(__doc__, "runs/ledger", "ledger.yaml").parse_args()
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
