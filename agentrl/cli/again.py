"""`agentrl replay RUN --again N`: new attempts at a task, or from a turn of an old one."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.cli import attempts
from agentrl.cli.runs import configuration
from agentrl.cli.show import episode_lines, print_lines
from agentrl.core import ConfigError, Episode, Task
from agentrl.store import RunStore, StoreError

if TYPE_CHECKING:
    from agentrl.training.config import RunConfig


def run(options: argparse.Namespace) -> int:
    """Attempts by the run's newest policy, and beside them by another when asked."""
    if options.again < 1 or not (options.task or options.episode):
        fix = "add --task ID, or --episode ID with --from TURN; N is 1 or more"
        raise ConfigError("--again N needs to know what to try", where="agentrl replay", fix=fix)
    episode, turn = _begin(options)
    mine = _attempts(configuration(options.run_dir, []), episode, turn, options.again, own=True)
    if not options.beside:
        _print(mine, episode, options)
        return 0
    with tempfile.TemporaryDirectory(prefix="agentrl-beside-") as nowhere:
        # Another policy has no weights in the run's directory.
        changed = [f"run.dir={json.dumps(str(Path(nowhere, 'run')))}", *options.beside]
        config = configuration(options.run_dir, changed)
        theirs = _attempts(config, episode, turn, options.again, own=False)
    for left, right in zip(mine, theirs, strict=True):
        names = ("the run's newest policy", " ".join(options.beside))
        print_lines(attempts.compared(left, right, names=names, full=options.full))
    print(f"{_rate(mine)} beside {_rate(theirs)}")
    return 0


def _begin(options: argparse.Namespace) -> tuple[Episode, int]:
    """What to begin from: an episode and a turn of it; 0 for a task's start."""
    from agentrl.cli.replay import find
    from agentrl.training.diagnosis import wrong_turn

    with RunStore.open(options.run_dir, read_only=True) as store:
        if options.episode:
            episode = find(store, options.episode)
            if options.turn in (None, "0"):
                return episode, 0
            if options.turn == "wrong":
                return episode, wrong_turn(episode)
            if options.turn.isdecimal() and int(options.turn) < len(episode.turns):
                return episode, int(options.turn)
            raise ConfigError(
                f"{options.turn!r} is no turn of this episode",
                where="--from",
                fix=f"give `wrong`, or a number from 0 to {len(episode.turns) - 1}",
            )
        found = store.episodes(task=options.task, newest=True, limit=1)
        if not found:
            raise StoreError(f"no episode of task {options.task!r}", where=str(options.run_dir))
        return found[0], 0


def _attempts(
    config: RunConfig, episode: Episode, turn: int, count: int, *, own: bool
) -> list[Episode]:
    from agentrl.training.evaluate import evaluate
    from agentrl.training.live import watch
    from agentrl.training.progress import Progress
    from agentrl.training.reenter import reenter

    with watch(Progress()) as progress:
        if turn == 0:
            tasks: list[Task] = [episode.task]
            return evaluate(config, tasks=tasks, samples=count, progress=progress).episodes
        return reenter(config, episode, turn, count, own=own, progress=progress)


def _print(found: list[Episode], parent: Episode, options: argparse.Namespace) -> None:
    for episode in found:
        if episode.branch:
            print_lines(attempts.compared(parent, episode, full=options.full))
        else:
            print_lines(episode_lines(episode, full=options.full))
    print(_rate(found))


def _rate(episodes: list[Episode]) -> str:
    from agentrl.training.progress import solved

    share = sum(map(solved, episodes)) / len(episodes)
    return f"{len(episodes)} episodes, {share:.0%} solved"
