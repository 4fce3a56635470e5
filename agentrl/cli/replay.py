"""`agentrl replay`: what failed in a run, turn by turn, and once more."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from agentrl.cli.runs import configuration
from agentrl.cli.show import aligned, episode_lines, print_lines, summary_table
from agentrl.core import ConfigError, Episode
from agentrl.store import RunStore, StoreError


def add_commands(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="look at a run's failures and episodes, and run a task again",
        description="Without options: the tasks whose whole group failed, most often failed first."
        " With --task: the episodes of that task. With --episode: that one, turn by turn."
        " With --task and --again N: the run's newest policy tries the task N more times.",
    )
    replay.add_argument("run_dir", metavar="RUN", type=Path, help="run directory")
    replay.add_argument("--task", metavar="ID", help="a task's id")
    replay.add_argument("--episode", metavar="ID", help="an episode's id, or its beginning")
    replay.add_argument("--step", type=int, help="only episodes of this step")
    replay.add_argument("--show", action="store_true", help="with --task: every turn of every one")
    replay.add_argument("--full", action="store_true", help="do not cut long texts")
    replay.add_argument("--again", type=int, metavar="N", help="run the task N times now")
    replay.set_defaults(run=_replay)


def _replay(options: argparse.Namespace) -> int:
    if options.again is not None:
        return _again(options)
    with RunStore.open(options.run_dir, read_only=True) as store:
        if options.episode:
            print_lines(episode_lines(find(store, options.episode), full=options.full))
        elif options.task:
            _show_task(store, options)
        else:
            _list_failures(store)
    return 0


def _list_failures(store: RunStore) -> None:
    failures = store.failures()
    if not failures:
        counts = Counter(summary.split for summary in store.summaries())
        said = ", ".join(f"{count} {split}" for split, count in counts.items()) or "no"
        print(f"no task failed with its whole group ({said} episodes are stored)")
        return
    times = Counter(failure.task for failure in failures)
    newest = {failure.task: failure for failure in failures}
    rows = [("task", "failed groups", "last at step", "an episode of it")]
    for task, count in times.most_common():
        failure = newest[task]
        example = failure.episodes[0] if failure.episodes else "-"
        rows.append((task, str(count), str(failure.step), example))
    print_lines(aligned(rows))
    print(f"\nagentrl replay {store.directory} --task ID shows the episodes of a task")


def _show_task(store: RunStore, options: argparse.Namespace) -> None:
    rows = store.summaries(task=options.task, step=options.step)
    if not rows:
        at = f" at step {options.step}" if options.step is not None else ""
        raise StoreError(
            f"no episode of task {options.task!r}{at}",
            where=str(store.directory),
            fix=f"`agentrl replay {store.directory}` lists the tasks that failed",
        )
    if options.show:
        for episode in store.episodes(task=options.task, step=options.step):
            print_lines(episode_lines(episode, full=options.full))
        return
    print_lines(summary_table(rows))
    print(f"\nagentrl replay {store.directory} --episode ID shows one turn by turn")


def find(store: RunStore, start: str) -> Episode:
    """The episode of that id, or the only one whose id starts so."""
    exact = store.episodes(id=start, newest=True, limit=1)
    if exact:
        return exact[0]
    ids = {summary.id for summary in store.summaries() if summary.id.startswith(start)}
    if len(ids) == 1:
        return store.episodes(id=ids.pop(), newest=True, limit=1)[0]
    few = ", ".join(sorted(ids)[:5]) + (", ..." if len(ids) > 5 else "")
    raise StoreError(
        f"{len(ids)} episodes have an id that starts with {start!r}"
        if ids
        else f"no episode {start!r}",
        where=str(store.directory),
        fix=f"give more of it: {few}" if ids else "`agentrl replay RUN --task ID` lists ids",
    )


def _again(options: argparse.Namespace) -> int:
    if not options.task or options.again < 1:
        raise ConfigError("--again N needs --task ID and N of 1 or more", where="agentrl replay")
    with RunStore.open(options.run_dir, read_only=True) as store:
        before = store.episodes(task=options.task, newest=True, limit=1)
        if not before:
            raise StoreError(f"no episode of task {options.task!r}", where=str(options.run_dir))
        task = before[0].task
    config = configuration(options.run_dir, [])

    from agentrl.training.evaluate import evaluate
    from agentrl.training.live import watch
    from agentrl.training.progress import Progress

    with watch(Progress()) as progress:
        result = evaluate(config, tasks=[task], samples=options.again, progress=progress)
    for episode in result.episodes:
        print_lines(episode_lines(episode, full=options.full))
    print(f"{len(result.episodes)} episodes, {result.rate:.0%} solved")
    return 0
