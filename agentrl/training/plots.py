"""`plots/training.png`: how a run went, from its metrics alone.

Evaluations are read from metrics named `eval/rate`, `eval/ci_low` and `eval/ci_high` (pass@1 with
its 95% interval over tasks); the first is the bar "before", the last the bar "after".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import AgentRLError
from agentrl.store import RunStore
from agentrl.training.progress import find_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = dict[str, list[tuple[int, float]]]

# Okabe and Ito's colours: told apart by the colour-blind and in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#666666"


def plot_run(store: RunStore) -> Path:
    """Draw `plots/training.png` of a run.

    Raises:
        AgentRLError: matplotlib is not installed, or the run has no metrics yet.
    """
    series = store.metrics()
    if not series:
        raise AgentRLError("the run has no metrics to plot yet", where=str(store.directory))
    path = store.plots / "training.png"
    path.parent.mkdir(exist_ok=True)
    draw(series, path, title=str(store.directory))
    return path


def draw(series: Series, path: Path, *, title: str = "") -> None:
    """Draw metrics, given as (step, value) lists by name, into a PNG file."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AgentRLError(
            "plots need matplotlib", fix="pip install 'agentrl[plots]'; the run itself is complete"
        ) from error
    panels = [panel for panel in _PANELS if panel.has(series)]
    columns = min(3, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    # Figure, not pyplot: no global state, no display, safe beside a user's own plots.
    figure = Figure(figsize=(4.6 * columns, 3.2 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        panel.draw(axis, series)
        _style(axis, panel.title)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=10, color=_GREY)
    figure.savefig(path)


class _Panel:
    """One small chart.

    Args:
        title: says the unit too.
        names: metrics, as (name, label); a name that ends in "/" takes all that start with it.
        rate: the axis goes from 0 to 1.
    """

    def __init__(
        self,
        title: str,
        names: Sequence[tuple[str, str]],
        *,
        rate: bool = False,
        draw: Callable[[Axes, Series], None] | None = None,
    ) -> None:
        self.title, self._names, self._rate, self._draw = title, names, rate, draw

    def lines(self, series: Series) -> list[tuple[str, list[tuple[int, float]]]]:
        found: list[tuple[str, list[tuple[int, float]]]] = []
        for name, label in self._names:
            if name.endswith("/"):
                # Behind a prefix too: train/raw/format_ok.
                parts = [(n, f"/{n}".partition(f"/{name}")[2]) for n in sorted(series)]
                found += [(rest, series[n]) for n, rest in parts if rest]
            elif (full := find_metric(series, name)) is not None:
                found.append((label, series[full]))
        return found

    def has(self, series: Series) -> bool:
        return bool(self.lines(series))

    def draw(self, axis: Axes, series: Series) -> None:
        if self._draw is not None:
            self._draw(axis, series)
            return
        lines = self.lines(series)
        for (label, points), colour in zip(lines, _COLOURS * len(lines), strict=False):
            _line(axis, points, label, colour)
        if self._rate:
            axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("step")
        if len(lines) > 1:
            axis.legend(fontsize=7, frameon=False)


def _line(axis: Axes, points: Sequence[tuple[int, float]], label: str, colour: str) -> None:
    """The values, thin, and their running mean where there are enough of them to blur."""
    steps = [step for step, _ in points]
    values = [value for _, value in points]
    window = max(1, len(values) // 10)
    marker = "o" if len(values) < 3 else None
    if window == 1:
        axis.plot(steps, values, color=colour, label=label, linewidth=1.6, marker=marker)
        return
    axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    axis.plot(steps, _running_mean(values, window), color=colour, label=label, linewidth=1.8)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last `window` values that are numbers; NaN while there is none."""
    means = []
    for end in range(1, len(values) + 1):
        recent = [v for v in values[max(0, end - window) : end] if math.isfinite(v)]
        means.append(sum(recent) / len(recent) if recent else math.nan)
    return means


def _style(axis: Any, title: str) -> None:
    axis.set_title(title, fontsize=10, loc="left", fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8, colors=_GREY)
    axis.xaxis.label.set(fontsize=8, color=_GREY)


def _evaluations(axis: Any, series: Series) -> None:
    """The first and the last evaluation as bars with their intervals."""
    rates = [r for _, r in series["eval/rate"]]
    picked = [0] if len(rates) == 1 else [0, len(rates) - 1]
    low, high = (dict(series.get(f"eval/ci_{end}", [])) for end in ("low", "high"))
    steps = [step for step, _ in series["eval/rate"]]
    for place, index in enumerate(picked):
        rate, step = rates[index], steps[index]
        bounds = low.get(step, rate), high.get(step, rate)
        error = [[max(0.0, rate - bounds[0])], [max(0.0, bounds[1] - rate)]]
        colour = _COLOURS[place]
        axis.bar(place, rate, width=0.55, color=colour, alpha=0.85)
        axis.errorbar(place, rate, yerr=error, color="black", capsize=5, linewidth=1.2)
        axis.annotate(
            f"{rate:.0%}", (place, bounds[1]), (0, 3), textcoords="offset points", ha="center"
        )
    names = ["before", "after"][: len(picked)]
    labels = [f"{name}\nstep {steps[i]}" for name, i in zip(names, picked, strict=True)]
    axis.set_xticks(range(len(picked)), labels)
    axis.set_xlim(-0.6, len(picked) - 0.4)
    axis.set_ylim(0, 1.1)


_PANELS = (
    _Panel("Held-out tasks solved, 95% interval", [("eval/rate", "")], draw=_evaluations),
    _Panel(
        "Training episodes (share)",
        [
            ("solved_rate", "solved"),
            ("modification_rate", "modified"),
            ("completion_rate", "submitted"),
        ],
        rate=True,
    ),
    _Panel("Reward, and its parts before gates", [("reward_mean", "reward"), ("raw/", "")]),
    _Panel("Gate open (share of episodes)", [("gate_open/", "")], rate=True),
    _Panel("Entropy (nats per token)", [("entropy", "entropy")]),
    _Panel("Gradient norm before clipping", [("grad_norm", "gradient norm")]),
    _Panel("Turns per episode", [("turns_mean", "turns")]),
    _Panel("Sampled tokens per episode", [("tokens_mean", "tokens")]),
    _Panel("Imitation loss (nats per token)", [("imitation/loss", "loss")]),
    _Panel("Seconds per step", [("seconds_step", "step")]),
)
