"""The commands, and the one place where errors become messages and exit codes.

Exit codes: 0 done, 1 the answer is no (a check failed), 2 a mistake in what was asked or an
error that a person can mend, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import agentrl
from agentrl.cli import (
    check,
    film,
    gateway,
    machine,
    papers,
    replay,
    rescore,
    runs,
    search,
    serve,
    tasks,
    verifier,
)
from agentrl.core import AgentRLError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "agentrl",
        description=agentrl.__doc__,
        epilog="Start with `agentrl doctor`. Every command has --help.",
    )
    parser.add_argument("--version", action="version", version=f"agentrl {agentrl.__version__}")
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from, for bug reports"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    rooms = (
        runs,
        check,
        gateway,
        replay,
        film,
        rescore,
        tasks,
        search,
        serve,
        papers,
        verifier,
        machine,
    )
    for room in rooms:
        room.add_commands(commands)
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """As argparse does, but overrides may stand before and after options."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    takes_overrides = hasattr(options, "overrides")
    for item in rest:
        if not takes_overrides or item.startswith("-") or "=" not in item:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


@contextmanager
def terminate_like_ctrl_c() -> Iterator[None]:
    """A polite kill saves and cleans up as Ctrl-C does; works under asyncio's own handler too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job that a script put into the background: shells start those deaf to Ctrl-C.
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, return its exit code."""
    options = parse(arguments)
    # Run files name users' own modules, which lie in the current directory as for `python -m`.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with terminate_like_ctrl_c():
            return int(options.run(options))
    except AgentRLError as error:
        if options.traceback:
            raise
        print(f"agentrl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        said = getattr(options, "interrupted", None)
        print(f"\nagentrl: interrupted{said(options) if said else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be flushed into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
