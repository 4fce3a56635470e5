"""What a run shows of itself while it goes, and what it plots afterwards."""

from __future__ import annotations

import builtins
import io
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agentrl.core import (
    AgentRLError,
    Episode,
    Score,
    SegmentBuilder,
    Status,
    Task,
    ToolCall,
    Turn,
    solved,
)
from agentrl.store import RunStore
from agentrl.training.live import clock, panel, sparkline, watch
from agentrl.training.plots import draw, plot_run
from agentrl.training.progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def episode(resolved: bool, status: Status = Status.COMPLETED) -> Episode:
    builder = SegmentBuilder()
    builder.append_sampled([1] * 30, [0.0] * 30, [0] * 30, 0)
    empty = np.zeros(0, np.int32)
    turn = Turn(empty, empty.astype(np.float32), "", [ToolCall("view"), ToolCall("run_tests")])
    segments = [builder.build()]
    outcome = {"resolved": resolved}
    return Episode(Task("t", "p"), status=status, turns=[turn], segments=segments, outcome=outcome)


@pytest.fixture
def progress() -> Progress:
    progress = Progress(clock=Clock())
    progress.begin("demo", steps=10)
    progress.stage("sampling", expected=4)
    for _ in range(4):
        progress.episode_started()
    progress.clock.now += 10  # type: ignore[attr-defined]
    progress.episode_finished(episode(True))
    progress.episode_finished(episode(False))
    progress.episode_finished(episode(True, Status.INFRA_ERROR))
    return progress


def text_of(progress: Progress, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(panel(progress))
    return console.export_text()


def test_infrastructure_failures_are_no_failures_of_the_policy(progress: Progress) -> None:
    assert (progress.finished, progress.broken, progress.running) == (2, 1, 1)
    assert progress.solved_rate == 0.5


def test_rates_are_of_the_last_half_minute(progress: Progress) -> None:
    assert progress.tokens.per_second == pytest.approx(90 / 10)
    assert progress.calls.per_second == pytest.approx(6 / 10)
    assert progress.tests.per_second == pytest.approx(3 / 10)
    progress.clock.now += 60  # type: ignore[attr-defined]
    assert progress.tokens.per_second == 0
    assert progress.tokens.total == 90


def test_time_left_counts_from_where_this_process_started() -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.begin("demo", steps=100, step=90)
    assert progress.seconds_left is None
    clock.now += 20
    progress.step_done(92, {})
    assert progress.seconds_left == pytest.approx(80)


def test_solved_is_what_the_environment_says_before_the_reward() -> None:
    assert not solved(
        Episode(Task("t", ""), outcome={"resolved": False}, scores={"reward": Score(1)})
    )
    judged = Episode(Task("t", ""), scores={"reward": Score(0.5)}, status=Status.COMPLETED)
    assert solved(judged)
    judged.scores["reward"].abstained = True
    assert not solved(judged)


def test_the_panel_shows_the_run(progress: Progress) -> None:
    progress.step_done(3, {"reward_mean": 0.25, "train/grad_norm": 1.5, "other": 1.0})
    progress.note("checkpoint saved")
    progress.sandboxes(8)
    shown = text_of(progress)
    for part in (
        "agentrl demo",
        "3 of 10",
        "2 of 4 episodes",
        "1 running, 1 broken",
        "50%",
        "reward 0.250",
        "grad norm 1.5",
        "checkpoint saved",
        "00:10 elapsed, about 00:23 left",
    ):
        assert part in shown, shown
    assert "other" not in shown


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_the_panel_fits_any_terminal(progress: Progress, width: int) -> None:
    progress.step_done(3, {"reward_mean": 0.25})
    assert all(len(line) <= width for line in text_of(progress, width).splitlines())


def test_without_a_terminal_there_are_plain_lines(progress: Progress) -> None:
    console = Console(file=io.StringIO(), width=40)
    with watch(progress, console):
        progress.stage("learning")
        progress.episode_started()
        progress.clock.now += 31  # type: ignore[attr-defined]
        progress.episode_started()
        progress.step_done(1, {"reward_mean": 0.5, "loss": -0.1})
        progress.note("[held-out] 41%")
        progress.end("saved to runs/demo")
    progress.note("not shown any more")
    lines = [line[9:] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines == [
        "step 0/10 learning",
        "step 0/10 learning, 2 running",
        "step 1/10 done: reward 0.5, loss -0.1, 06:09 left",
        "[held-out] 41%",
        "saved to runs/demo",
    ]


def test_in_a_terminal_the_panel_is_drawn_by_another_thread_while_the_run_goes_on() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    progress = Progress()
    progress.begin("demo", steps=500)
    failed: list[Any] = []
    threading.excepthook, old = lambda args: failed.append(args), threading.excepthook
    try:
        with watch(progress, console):
            for step in range(500):
                progress.stage("sampling", expected=1)
                progress.episode_started()
                progress.episode_finished(episode(True))
                progress.note(f"note {step}")
                progress.step_done(step + 1, {"reward_mean": step})
                if step % 10 == 0:
                    panel(progress)
    finally:
        threading.excepthook = old
    assert not failed
    assert "500 of 500" in console.file.getvalue()  # type: ignore[attr-defined]


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 4, 4], 2) == "▁█"
    assert sparkline([2, 2], 5) == "▄▄"
    assert sparkline([0, math.nan, 1], 5) == "▁ █"
    assert sparkline([], 5) == sparkline([1.0], 0) == ""
    assert len(sparkline(list(range(1000)), 33)) == 33


def test_clocks() -> None:
    assert [clock(s) for s in (0, 59.6, 3599, 3600, 90061)] == [
        "00:00",
        "01:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]


def test_a_plot_is_drawn_from_the_store(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}) as store:
        with pytest.raises(AgentRLError, match="no metrics to plot yet"):
            plot_run(store)
        store.add_metrics(0, {"eval/rate": 0.1, "eval/ci_low": 0.05, "eval/ci_high": 0.2})
        for step in range(1, 30):
            store.add_metrics(step, {"reward_mean": step / 30, "raw/format_ok": math.nan})
        store.add_metrics(29, {"eval/rate": 0.6, "eval/ci_low": 0.5, "eval/ci_high": 0.7})
        path = plot_run(store)
    assert path == tmp_path / "run/plots/training.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_without_matplotlib_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AgentRLError, match="plots need matplotlib") as error:
        draw({"reward_mean": [(1, 1.0)]}, tmp_path / "x.png")
    assert "pip install 'agentrl[plots]'" in error.value.fix
