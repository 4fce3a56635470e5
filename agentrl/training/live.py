"""A run as it goes, in the terminal: a panel that updates, or plain lines where none can."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agentrl.training.progress import Progress, find_metric

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_HEARTBEAT_SECONDS = 30.0
# Shown under the bars when the loop reports them, in this order.
_SHOWN = {
    "reward_mean": "reward",
    "solved_rate": "solved",
    "completion_rate": "submitted",
    "entropy": "entropy",
    "grad_norm": "grad norm",
    "loss": "loss",
}


@contextmanager
def watch(progress: Progress, console: Console | None = None) -> Iterator[Progress]:
    """Show `progress` until the block ends.

    In a terminal a panel is redrawn four times a second by a thread of rich; anywhere else one
    line is printed per stage, step and note, and one every 30 seconds in long stages.
    """
    from rich.console import Console as RichConsole
    from rich.live import Live

    # Standard error: what a command prints for programs to read stays alone on standard output.
    console = console or RichConsole(stderr=True)
    if not console.is_terminal:
        lines = PlainLines(progress, console)
        progress.listeners.append(lines)
        try:
            yield progress
        finally:
            progress.listeners.remove(lines)
        return
    with Live(get_renderable=lambda: panel(progress), console=console, refresh_per_second=4):
        yield progress


class PlainLines:
    """A listener that prints what a log should hold."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._last = progress.clock()

    def __call__(self, event: str) -> None:
        progress = self._progress
        if event == "begin":
            self._print(f"{progress.title}: step {progress.step} of {progress.steps}")
        elif event == "stage":
            of = f", {progress.expected} episodes" if progress.expected else ""
            self._print(f"step {progress.step}/{progress.steps} {progress.stage_name}{of}")
        elif event == "step_done":
            left = progress.seconds_left
            eta = "" if left is None else f", {clock(left)} left"
            said = numbers(progress) or "no metrics"
            self._print(f"step {progress.step}/{progress.steps} done: {said}{eta}")
        elif event == "note":
            self._print(progress.notes[-1])
        elif event == "end":
            self._print(progress.notes[-1] if progress.notes else "done")
        elif progress.clock() - self._last > _HEARTBEAT_SECONDS:
            self._print(f"step {progress.step}/{progress.steps} {_episodes(progress)}")

    def _print(self, text: str) -> None:
        self._last = self._progress.clock()
        stamp = time.strftime("%H:%M:%S")
        self._console.print(f"{stamp} {text}", markup=False, highlight=False, soft_wrap=True)


def numbers(progress: Progress) -> str:
    """The metrics worth a line."""
    metrics = progress.metrics
    found = [(label, find_metric(metrics, name)) for name, label in _SHOWN.items()]
    return ", ".join(f"{label} {metrics[name]:.3g}" for label, name in found if name)


def clock(seconds: float) -> str:
    """1:02:03, or 02:03."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` as a row of bars, at most `width`; longer ones are averaged. NaN is a gap."""
    if width < 1 or not values:
        return ""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        parts = [values[a:b] for a, b in itertools.pairwise(edges)]
        values = [sum(part) / len(part) for part in parts]
    sound = [v for v in values if math.isfinite(v)]
    low, high = min(sound, default=0.0), max(sound, default=0.0)
    top = len(_BARS) - 1

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return _BARS[round((value - low) / (high - low) * top) if high > low else top // 2]

    return "".join(map(bar, values))


def _episodes(progress: Progress) -> str:
    parts = [progress.stage_name]
    if progress.expected:
        parts.append(f"{progress.finished}/{progress.expected} episodes")
    if progress.running:
        parts.append(f"{progress.running} running")
    if progress.broken:
        parts.append(f"{progress.broken} broken")
    if progress.solved_rate is not None:
        parts.append(f"{progress.solved_rate:.0%} solved")
    return ", ".join(parts)


def panel(progress: Progress) -> RenderableType:
    """What the terminal shows."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    parts: list[RenderableType] = [_bars(progress), Text(), _rates(progress)]
    if progress.rewards:
        parts += [Text(), _reward(progress)]
    parts += [Text(f"· {note}", style="dim", overflow="ellipsis") for note in list(progress.notes)]
    elapsed = clock(progress.clock() - progress.started)
    left = progress.seconds_left
    eta = f"{elapsed} elapsed" + ("" if left is None else f", about {clock(left)} left")
    title = f"[bold]agentrl[/] {progress.title}".rstrip()
    return Panel(
        Group(*parts), title=title, subtitle=eta, title_align="left", subtitle_align="right"
    )


def _bars(progress: Progress) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=13, no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(width=20, no_wrap=True, overflow="ellipsis")
    table.add_row(
        Text("steps", style="bold"),
        ProgressBar(total=max(progress.steps, 1), completed=progress.step, complete_style="cyan"),
        f"{progress.step} of {progress.steps}",
    )
    extra = [f"{progress.running} running"] if progress.running else []
    extra += [f"{progress.broken} broken"] if progress.broken else []
    stage = clock(progress.clock() - progress.stage_started)
    table.add_row(
        Text(progress.stage_name, style="bold cyan"),
        ProgressBar(
            total=progress.expected or None,
            completed=progress.finished,
            complete_style="cyan",
            pulse=not progress.expected and progress.stage_name != "done",
            animation_time=progress.clock(),
        ),
        f"{progress.finished} of {progress.expected} episodes" if progress.expected else stage,
    )
    table.add_row("", "", Text(", ".join(extra), style="dim"))
    return table


def _rates(progress: Progress) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    rate = progress.solved_rate
    cells = [
        ("solved", "-" if rate is None else f"{rate:.0%}"),
        ("tokens/s", f"{progress.tokens.per_second:,.0f}"),
        ("calls/s", f"{progress.calls.per_second:,.1f}"),
        ("tests/s", f"{progress.tests.per_second:,.1f}"),
        ("sandboxes", str(progress.containers)),
    ]
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in cells:
        table.add_column(ratio=1, no_wrap=True)
    table.add_row(*(Text(value, style="bold") for _, value in cells))
    table.add_row(*(Text(name, style="dim") for name, _ in cells))
    return table


def _reward(progress: Progress) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=13, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    newest = progress.rewards[-1]
    label = Text.assemble(("reward ", "bold"), (f"{newest:.3f}", "bold green"))
    table.add_row(label, Text(sparkline(list(progress.rewards), 60), style="green"))
    shown = Text(numbers(progress), style="dim")
    return Group(table, shown)
