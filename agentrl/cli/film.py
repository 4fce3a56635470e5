"""`agentrl film`: episodes on screens as film strips, in one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from agentrl.cli.replay import find
from agentrl.core import ConfigError, Episode
from agentrl.store import RunStore


def add_commands(commands: Any) -> None:
    film = commands.add_parser(
        "film",
        help="show episodes on screens as film strips",
        description="Writes one HTML file that needs nothing else: every round with its picture"
        " (or what a text policy read), the marks of what was acted on, the evidence that was"
        " named, and the verdict. Without options: the newest episodes.",
    )
    film.add_argument("run_dir", metavar="RUN", type=Path, help="run directory")
    film.add_argument("--episode", metavar="ID", help="an episode's id, or its beginning")
    film.add_argument("--task", metavar="ID", help="the newest episodes of this task")
    film.add_argument("--count", type=int, default=4, help="at most so many (default 4)")
    film.add_argument("--out", type=Path, default=Path("film.html"), help="file (film.html)")
    film.set_defaults(run=_film)


def _film(options: argparse.Namespace) -> int:
    from agentrl.environments.gui.filmstrip import film_page, frames

    with RunStore.open(options.run_dir, read_only=True) as store:
        found = _episodes(store, options)
    shown = [episode for episode in found if frames(episode)]
    if not shown:
        raise ConfigError(
            f"none of {len(found)} episodes has numbered rounds",
            where=str(options.run_dir),
            fix="only episodes of GUI environments can be shown; `agentrl replay` shows any",
        )
    options.out.write_text(film_page(shown, f"Episodes of {options.run_dir}"), "utf-8")
    print(f"{len(shown)} episodes in {options.out}")
    return 0


def _episodes(store: RunStore, options: argparse.Namespace) -> list[Episode]:
    if options.episode:
        return [find(store, options.episode)]
    return list(store.episodes(task=options.task, newest=True, limit=options.count))
