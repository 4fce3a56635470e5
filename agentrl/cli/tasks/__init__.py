"""`agentrl tasks`: make task files, check them, and keep sets of tasks apart."""

from __future__ import annotations

from typing import Any

from agentrl.cli.tasks import make, releases, sets, synth, verify


def add_commands(commands: Any) -> None:
    tasks = commands.add_parser("tasks", help="make and check task files")
    actions = tasks.add_subparsers(dest="action", required=True, metavar="ACTION")
    for command in (synth, make, releases, verify, sets):
        command.add_command(actions)
