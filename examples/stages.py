"""What the demos have in common: their command line, and the steps from a script to a policy."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import AgentRLError, Episode
from agentrl.models import Policy, save_policy, tiny_policy, train_tokenizer
from agentrl.store import RunStore
from agentrl.training.build import make_policy as load_policy
from agentrl.training.config import RunConfig, ScriptedWarmstart, load_config
from agentrl.training.evaluate import EvalResult, gain
from agentrl.training.progress import Progress
from agentrl.training.warmstart import record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def command_line(
    what: str | None, folder: str, run_file: str = "run.yaml"
) -> argparse.ArgumentParser:
    """A parser that every demo's own options are added to; `what` is the demo's docstring."""
    parser = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    parser.add_argument("--dir", type=Path, default=Path(folder))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"of {run_file}")
    return parser


PLACES = {
    "model.path": "policy",
    "tasks.train": "train.jsonl",
    "tasks.eval": "eval.jsonl",
    "run.dir": "run",
}


def in_folder(
    run_file: Path, options: argparse.Namespace, places: Mapping[str, str | Path] | None = None
) -> RunConfig:
    """The run file with what it reads and writes in the demo's folder; the command line comes last.

    Args:
        places: more keys of the run file and names in the folder, beside those of every demo.
    """
    here = PLACES | dict(places or {})
    given = [f"{key}={options.dir / name}" for key, name in here.items()]
    return load_config(run_file, [*given, f"train.seed={options.seed}", *options.overrides])


def exit_code(run: Callable[[], int]) -> int:
    """What `run` returns; 2, and what was wrong, for an error of agentrl."""
    try:
        return run()
    except AgentRLError as error:
        print(error, file=sys.stderr)
        return 2


def print_rates(found: Mapping[str, EvalResult]) -> None:
    """A row for each measurement of the same tasks, and what lies between the last two."""
    for name, result in found.items():
        interval = f"[{result.ci_low:.1%}, {result.ci_high:.1%}]"
        print(f"  {name:<28}{result.rate:>6.1%}    {interval}  {len(result.episodes)} episodes")
    gained = gain(*list(found.values())[-2:])
    print(f"  {'difference':<28}{gained.rate:>+6.1%}    [{gained.low:+.1%}, {gained.high:+.1%}]")


def make_speechless_policy(path: Path) -> None:
    """A policy that only lends its tokenizer (plain bytes) to the script that is recorded."""
    tokenizer = train_tokenizer([""], 261)
    save_policy(tiny_policy(tokenizer, hidden=32, layers=1, heads=1, kv_heads=1, head_dim=32), path)


def record_script(
    config: RunConfig, folder: Path, progress: Progress, *, max_tokens: int = 20_000
) -> list[Episode]:
    """The run's script at work on its training tasks, recorded in `folder`/run.

    A script needs a tokenizer and the policy's is made from what the script says, so it speaks
    bytes for now.

    Args:
        max_tokens: bytes of an episode.
    """
    script = config.warmstart
    assert isinstance(script, ScriptedWarmstart)
    make_speechless_policy(folder / "tokenizer")
    plain = config.plain()
    recording = RunConfig.model_validate(
        {
            **plain,
            "model": {**plain["model"], "path": str(folder / "tokenizer")},
            "environment": {**plain["environment"], "max_tokens": max_tokens},
            "sampling": {**plain["sampling"], "max_tokens": 1000},
        }
    )
    episodes = asyncio.run(record(recording, load_policy(recording), script, progress))
    with RunStore.create(folder / "run", plain) as store:
        store.add_episodes(0, "train", episodes)
    return episodes


def imitating(config: RunConfig, recorded: Path) -> RunConfig:
    """The run, with recorded episodes as what is imitated."""
    assert config.warmstart is not None
    how = config.warmstart.model_dump(include={"epochs", "batch_size", "learning_rate"})
    changed = {"warmstart": {"kind": "recorded", "run": str(recorded), **how}}
    return RunConfig.model_validate({**config.plain(), **changed})


def small_policy(tokenizer: PreTrainedTokenizerFast, seed: int) -> Policy:
    """About a third of a million fresh weights: it can copy what it reads, and little else."""
    return tiny_policy(
        tokenizer,
        hidden=96,
        layers=2,
        heads=4,
        kv_heads=4,
        head_dim=32,
        max_positions=1024,
        initializer_range=0.1,
        seed=seed,
    )
