"""`agentrl replay`: what failed in a run and why, turn by turn, once more, and as training data."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from agentrl.cli import again, attempts
from agentrl.cli.show import aligned, episode_lines, print_lines, summary_table
from agentrl.core import ConfigError, Episode
from agentrl.store import RunStore, StoreError

_EPILOG = """\
agentrl replay RUN                                  what failed, by cause
agentrl replay RUN --task ID [--show]               every attempt at a task
agentrl replay RUN --episode ID [--steps]           one attempt, turn by turn
agentrl replay RUN --task ID --again 4              4 new attempts by the newest policy
agentrl replay RUN --episode ID --from wrong --again 4
                                                    4 attempts from just before it went wrong
agentrl replay RUN --episode ID --from 2 --again 1 --beside engine.kind=litellm engine.model=NAME
                                                    the same by another policy, side by side
agentrl replay RUN --compare ID ID                  two attempts side by side
agentrl replay RUN --export dpo --out pairs.jsonl   tasks, sft or dpo
"""


def add_commands(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="look at a run's failures, try them again from any turn, export them",
        description="Without options: what failed, by cause, and the tasks whose whole group did.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replay.add_argument("run_dir", metavar="RUN", type=Path, help="run directory")
    replay.add_argument("--task", metavar="ID", help="a task's id")
    replay.add_argument("--episode", metavar="ID", help="an episode's id, or its beginning")
    replay.add_argument("--step", type=int, help="only episodes of this step")
    replay.add_argument("--show", action="store_true", help="with --task: every turn of every one")
    replay.add_argument("--full", action="store_true", help="do not cut long texts")
    replay.add_argument("--steps", action="store_true", help="with --episode: wait at every turn")
    replay.add_argument("--again", type=int, metavar="N", help="try N times now")
    replay.add_argument(
        "--from",
        dest="turn",
        metavar="TURN",
        help="with --episode and --again: the first turn that is new; `wrong`: where it failed",
    )
    replay.add_argument(
        "--beside",
        nargs="+",
        metavar="KEY=VALUE",
        help="with --again: also by a policy with these changes of the run file, side by side",
    )
    replay.add_argument("--compare", nargs=2, metavar="ID", help="two episodes side by side")
    replay.add_argument("--export", choices=("tasks", "sft", "dpo"), help="what to write")
    replay.add_argument("--out", type=Path, metavar="FILE", help="where to export to (JSONL)")
    replay.set_defaults(run=_replay)


def _replay(options: argparse.Namespace) -> int:
    if options.again is not None:
        return again.run(options)
    with RunStore.open(options.run_dir, read_only=True) as store:
        if options.export:
            return _export(store, options)
        if options.compare:
            first, second = (find(store, start) for start in options.compare)
            print_lines(attempts.compared(first, second, full=options.full))
        elif options.episode:
            _show_episode(find(store, options.episode), options)
        elif options.task:
            _show_task(store, options)
        else:
            _list_failures(store)
    return 0


def _list_failures(store: RunStore) -> None:
    from agentrl.training.diagnosis import clusters

    failures = store.failures()
    if not failures:
        counts = Counter(summary.split for summary in store.summaries())
        said = ", ".join(f"{count} {split}" for split, count in counts.items()) or "no"
        print(f"no task failed with its whole group ({said} episodes are stored)")
        return
    times = Counter(failure.task for failure in failures)
    newest = {failure.task: failure for failure in failures}
    waiting, solved_again = _waiting(store)
    rows = [("task", "failed groups", "last at step", "now", "an episode of it")]
    for task, count in times.most_common():
        failure = newest[task]
        example = failure.episodes[0] if failure.episodes else "-"
        state = "solved since" if task in solved_again else "-"
        state = f"waits, tried {waiting[task]}x" if task in waiting else state
        rows.append((task, str(count), str(failure.step), state, example))
    print_lines(aligned(rows))
    ids = {id for failure in failures for id in failure.episodes}
    failed = [e for task in times for e in store.episodes(task=task, split="train") if e.id in ids]
    causes = [("cause", "episodes", "tasks", "an episode of it")]
    for found in clusters(failed):
        tasks = ", ".join(found.tasks[:3]) + (", .." if len(found.tasks) > 3 else "")
        causes.append((found.cause, str(len(found.episodes)), tasks, found.episodes[0]))
    print()
    print_lines(aligned(causes))
    print(f"\nagentrl replay {store.directory} --task ID shows the episodes of a task")


def _waiting(store: RunStore) -> tuple[dict[str, int], set[str]]:
    """Of the tasks that failed: those that wait to be replayed, with their tries; and those of
    which a later episode was a success."""
    from agentrl.training.config.replay import ReplayConfig
    from agentrl.training.failures import fold

    given = store.config.get("replay")
    waiting: dict[str, Any] = {}
    if given:
        for event in store.failure_log(read_only=True).events():
            fold(waiting, event, ReplayConfig.model_validate(given))
    last = {failure.task: failure.step for failure in store.failures()}
    better = {
        s.task
        for s in store.summaries(split="train")
        if s.task in last and s.step > last[s.task] and (s.reward or 0.0) > 0
    }
    return {w.task: w.tries for w in waiting.values()}, better


def _show_episode(episode: Episode, options: argparse.Namespace) -> None:
    if options.steps:
        attempts.step_through(episode, full=options.full)
    else:
        print_lines(episode_lines(episode, full=options.full))


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


def _export(store: RunStore, options: argparse.Namespace) -> int:
    from agentrl.training.exports import export

    if options.out is None:
        raise ConfigError("where to?", where="agentrl replay --export", fix="add --out FILE")
    count = export(store, options.export, options.out, task=options.task)
    print(f"{count} lines in {options.out}")
    return 0 if count else 1


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
