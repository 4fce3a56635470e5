"""`agentrl train`, `warmstart`, `eval` and `rollout`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import AgentRLError, ConfigError

if TYPE_CHECKING:
    from agentrl.training.config import RunConfig
    from agentrl.training.evaluate import EvalResult


def add_commands(commands: Any) -> None:
    train = _command(
        commands,
        "train",
        "train a policy",
        "Makes the run directory, or with --resume goes on from its last checkpoint.",
    )
    train.add_argument(
        "--resume", action="store_true", help="go on with a run (give its directory or run file)"
    )
    train.set_defaults(run=_train, interrupted=_how_to_resume)
    _command(
        commands,
        "warmstart",
        "imitate scripted or recorded episodes",
        "What the `warmstart` section says; `agentrl train` goes on from there.",
    ).set_defaults(run=_warmstart)
    evaluate = _command(
        commands,
        "eval",
        "measure a policy",
        "pass@1, pass@k and 95%% intervals over tasks. A run directory means its newest weights.",
    )
    evaluate.add_argument("--json", action="store_true", help="for programs")
    evaluate.set_defaults(run=_eval)
    rollout = _command(commands, "rollout", "run a few episodes and print them", "")
    rollout.add_argument("--count", type=int, default=1, metavar="N", help="tasks (default 1)")
    rollout.add_argument("--full", action="store_true", help="do not cut long texts")
    rollout.set_defaults(run=_rollout)


def _command(commands: Any, name: str, help: str, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help.replace("%", "%%"),
        description=about,
        epilog="Overrides are key=value with dots: learner.group_size=16 run.dir=runs/second",
    )
    parser.add_argument("file", metavar="RUN", type=Path, help="run file, or run directory")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser


def configuration(file: Path, overrides: list[str]) -> RunConfig:
    """The configuration of a run file, or of a run directory (which then stays the run's)."""
    from agentrl.training.config import load_config

    if not file.is_dir():
        return load_config(file, overrides)
    if not (file / "run.yaml").is_file():
        raise ConfigError(
            "this directory is not a run (it has no run.yaml)",
            where=str(file),
            fix="give a run file, or the directory of a run",
        )
    return load_config(file / "run.yaml", [f"run.dir={json.dumps(str(file))}", *overrides])


def add_model_options(command: argparse.ArgumentParser) -> None:
    """A model by itself, or the one of a run file."""
    command.add_argument(
        "model", nargs="?", metavar="MODEL", help="model directory or hub name (or --run)"
    )
    command.add_argument(
        "--run",
        dest="file",
        type=Path,
        metavar="RUN",
        help="run file: its model, dialect, engine and the tools of its environment",
    )
    command.add_argument("--dialect", help="how the model writes calls (default: found out)")
    command.add_argument("--template", type=Path, help="a chat template to try instead")


def model_configuration(options: argparse.Namespace) -> RunConfig:
    """The run file's configuration, or one that has a model and nothing else to do."""
    from agentrl.training.config import ModelConfig, RunConfig

    if options.model is None and options.file is None:
        raise ConfigError("nothing to check", fix="give a model, or --run RUN")
    given: dict[str, Any] = {"path": options.model, "dialect": options.dialect}
    given["template"] = str(options.template) if options.template else None
    given = {key: value for key, value in given.items() if value is not None}
    if options.file is not None:
        return configuration(
            options.file, [f"model.{key}={json.dumps(value)}" for key, value in given.items()]
        )
    return RunConfig(
        model=ModelConfig(**given),
        environment={"kind": "agentrl:Environment"},  # type: ignore[arg-type]
        tasks={"train": ""},  # type: ignore[arg-type]
        reward={},
    )


def _train(options: argparse.Namespace) -> int:
    # First: a mistake in the file is answered at once, not after torch was loaded.
    config = configuration(options.file, options.overrides)

    from agentrl.training.live import watch
    from agentrl.training.loop import train
    from agentrl.training.progress import Progress

    options.directory = Path(config.run.dir)
    with watch(Progress()) as progress:
        result = train(config, resume=options.resume, progress=progress)
    print(result)
    _plot(options.directory)
    return 0


def _plot(directory: Path) -> None:
    """A run is complete without its picture: what stands in the way is said, not raised."""
    from agentrl.store import RunStore
    from agentrl.training.plots import plot_run

    try:
        with RunStore.open(directory, read_only=True) as store:
            print(f"plots in {plot_run(store)}")
    except AgentRLError as error:
        print(f"agentrl: {error}", file=sys.stderr)


def _how_to_resume(options: argparse.Namespace) -> str:
    """What was saved, and the command that goes on."""
    from agentrl.store import RunStore

    directory = getattr(options, "directory", None)
    if directory is None or not RunStore.exists(directory):
        return "; nothing was saved yet"
    with RunStore.open(directory, read_only=True) as store:
        step = store.checkpoints.latest()
    again = f"agentrl train {directory} --resume"
    if step is None:
        return f"; no step of {directory} was finished\n  -> start over with: {again}"
    return f"; everything up to step {step} is saved in {directory}\n  -> go on with: {again}"


def _warmstart(options: argparse.Namespace) -> int:
    # First: a mistake in the file is answered at once, not after torch was loaded.
    config = configuration(options.file, options.overrides)

    from agentrl.training.live import watch
    from agentrl.training.progress import Progress
    from agentrl.training.warmstart import warmstart

    with watch(Progress()) as progress:
        result = warmstart(config, progress=progress)
    print(result)
    return 0


def _measure(options: argparse.Namespace) -> EvalResult:
    # First: a mistake in the file is answered at once, not after torch was loaded.
    config = configuration(options.file, options.overrides)

    from agentrl.training.evaluate import evaluate
    from agentrl.training.live import watch
    from agentrl.training.progress import Progress

    with watch(Progress()) as progress:
        return evaluate(config, progress=progress)


def _eval(options: argparse.Namespace) -> int:
    result = _measure(options)
    numbers = {
        "pass@1": result.rate,
        "low": result.ci_low,
        "high": result.ci_high,
        "pass@k": {str(k): rate for k, rate in result.pass_at_k.items()},
        "tasks": len(result.by_task),
        "episodes": len(result.episodes),
        "by_task": result.by_task,
    }
    if options.json:
        # With nothing measured the rates are NaN, which JSON does not have.
        sound = {k: None if v != v else v for k, v in numbers.items()}
        print(json.dumps(sound, indent=1))
        return 0
    print(f"{len(result.by_task)} tasks, {len(result.episodes)} episodes")
    print(f"pass@1  {result.rate:.1%}  95% interval [{result.ci_low:.1%}, {result.ci_high:.1%}]")
    for k, rate in result.pass_at_k.items():
        if k > 1:
            print(f"pass@{k:<2} {rate:.1%}")
    return 0


def _rollout(options: argparse.Namespace) -> int:
    from agentrl.cli.show import episode_lines, print_lines

    options.overrides += [f"eval.max_tasks={options.count}", "eval.samples=1"]
    result = _measure(options)
    for episode in result.episodes:
        print_lines(episode_lines(episode, full=options.full))
    print(f"{len(result.episodes)} episodes, {result.rate:.0%} solved", file=sys.stderr)
    return 0
