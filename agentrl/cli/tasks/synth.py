"""`agentrl tasks synth`: plant bugs in packages."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.cli.tasks.options import make_provider, sandbox_options

if TYPE_CHECKING:
    from agentrl.core import ChatModel
    from agentrl.environments.swe.synth import SynthEvent, SynthReport


def add_command(actions: Any) -> None:
    synth = actions.add_parser(
        "synth",
        help="make repair tasks from Python packages with tests",
        description="Plants bugs and keeps those that at least one test notices, each verified in"
        " a sandbox. A package is a folder, or a name on PyPI (its sdist is taken).",
    )
    synth.add_argument("packages", nargs="+", metavar="PACKAGE_OR_PATH")
    synth.add_argument("--count", type=int, default=100, help="training tasks (default 100)")
    synth.add_argument("--out", type=Path, required=True, help="task file to write (.jsonl)")
    synth.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="further tasks on other functions"
    )
    synth.add_argument(
        "--eval-out", type=Path, metavar="FILE", help="where those go (default: beside --out)"
    )
    synth.add_argument("--seed", type=int, default=0)
    synth.add_argument("--operators", help="kinds of bugs, with commas between (default: all)")
    synth.add_argument(
        "--shapes", help="single, lines, files: one edit, two in a function, two in two files"
    )
    synth.add_argument(
        "--writer", metavar="MODEL", help="a litellm model that writes the issues (default: none)"
    )
    synth.add_argument(
        "--per-function", type=int, metavar="N", help="tasks on one function, at most"
    )
    synth.add_argument(
        "--max-function-lines", type=int, metavar="N", help="leave longer functions alone"
    )
    synth.add_argument("--max-file-lines", type=int, metavar="N", help="leave longer files alone")
    sandbox_options(synth)
    synth.set_defaults(run=_synth)


def _synth(options: argparse.Namespace) -> int:
    report = asyncio.run(_synthesise(options))
    rejected = ", ".join(f"{count} {reason}" for reason, count in report.rejected.most_common())
    print(f"{report.tried} bugs tried in {report.seconds:.0f} s; no task: {rejected or 'none'}")
    for split, path in report.files.items():
        print(f"{len(report.tasks[split])} {split} tasks in {path}")
    wanted = options.count + options.held_out
    made = sum(map(len, report.tasks.values()))
    if made < wanted:
        print(f"asked for {wanted}, the packages gave {made}: name more packages", file=sys.stderr)
    return 0 if made else 1


async def _synthesise(options: argparse.Namespace) -> SynthReport:
    from agentrl.environments.swe.synth import HELD_OUT, SynthSettings, synthesise

    _check_eval_out(options)
    settings = SynthSettings(
        count=options.count,
        held_out=options.held_out,
        seed=options.seed,
        parallel=options.parallel,
        **_given(options),
    )
    provider = make_provider(options)
    writer = _writer(options.writer) if options.writer else None
    try:
        report = await synthesise(
            options.packages, options.out, provider, settings, _show, writer=writer
        )
    finally:
        await provider.close()
    if options.eval_out and HELD_OUT in report.files:
        report.files[HELD_OUT] = report.files[HELD_OUT].replace(options.eval_out)
    return report


def _writer(model: str) -> ChatModel:
    from agentrl.engines.litellm import Endpoint, LiteLLMChat

    return LiteLLMChat(Endpoint(model=model))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given; the others keep their defaults."""
    names = ("per_function", "max_function_lines", "max_file_lines")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.operators:
        given["operators"] = tuple(name.strip() for name in options.operators.split(","))
    if options.shapes:
        given["shapes"] = tuple(name.strip() for name in options.shapes.split(","))
    return given


def _check_eval_out(options: argparse.Namespace) -> None:
    """Before the work, not after it. Tasks name their archive relative to their file's folder."""
    from agentrl.core import ConfigError

    if options.eval_out is None:
        return
    if not options.held_out:
        raise ConfigError("no held-out tasks are asked for", where="--eval-out", fix="--held-out N")
    if options.eval_out.parent.absolute() != options.out.parent.absolute():
        raise ConfigError(
            f"{options.eval_out} is not in the folder of {options.out}, where `repos` will be",
            where="--eval-out",
            fix=f"give {options.out.with_name(options.eval_out.name)}",
        )


def _show(event: SynthEvent) -> None:
    if event.kind == "tried":
        if event.tried % 10 == 0 or event.made == event.wanted:
            print(f"{event.made} of {event.wanted} tasks, {event.tried} tried", file=sys.stderr)
    elif event.text:
        print(event.text, file=sys.stderr)
