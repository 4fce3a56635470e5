"""Steps per second of GUI episodes: a browser with 1, 4 and 16 contexts, the official MiniWoB++
environment (Selenium) in the same run, and a recording.

A step is one click and the observation after it: ours through `GuiEnvironment.step` (validated
call, elements, text), theirs through `env.step` (screenshot, DOM). The click is on the task's
instruction, which changes nothing, so that every step is the same work on the same page. The ways
take turns, round by round, so that all meet the same load of the machine; the recording's rate is
per second of one core's time.

    python benchmarks/gui.py --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentrl.core import Task, ToolCall, Turn
from agentrl.environments.gui import GuiEnvironment, Screens
from agentrl.environments.gui.browser import BrowserScreens, found_executable
from agentrl.environments.gui.miniwob import miniwob_site, miniwob_task
from agentrl.environments.gui.recording import RecordedScreens, Recording, RecordingScreens

PAGE = "click-button"
Clock = Callable[[], float]


async def main(rounds: int, steps: int) -> dict[str, Any]:
    live = BrowserScreens(miniwob_site())
    official = Official()
    found: dict[str, list[float]] = {}
    envs: list[GuiEnvironment] = []

    async def measure(name: str, count: int, clock: Clock = time.perf_counter) -> None:
        for shots in (False, True):
            rate = await drive(envs[-count:], steps, shots, clock)
            keep(f"{name}_{'shots' if shots else 'text'}", rate)

    def keep(name: str, rate: float) -> None:
        found.setdefault(name, []).append(rate)
        print(f"{name} {round_to(rate):g} steps/s, load {load()}", file=sys.stderr, flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="agentrl-bench-") as scratch:
            recorded = await record(live, Path(scratch) / "recording")
            official.begin()
            for contexts in (1, 4, 16):
                while len(envs) < contexts:
                    envs.append(await opened(live))
                for _ in range(rounds):
                    await measure(f"ours_{contexts}", contexts)
                    if contexts == 1:
                        keep("selenium_1", official.drive(steps))
            envs.append(await opened(recorded))
            steps = 2000
            for _ in range(rounds):
                await measure("recording", 1, time.process_time)
    finally:
        for env in envs:
            await env.close()
        official.close()
        await live.close()
    rates = {name: round_to(statistics.median(values)) for name, values in found.items()}
    best = {name: round_to(max(values)) for name, values in found.items()}
    paired = {
        name: round_to(statistics.median(map(ratio, found[name], found["selenium_1"])))
        for name in ("ours_1_text", "ours_1_shots")
    }
    return {"steps_per_second": rates, "best": best, "times_selenium": paired, "load": load()}


async def opened(screens: Screens) -> GuiEnvironment:
    """An environment that has taken its first step."""
    env = GuiEnvironment(screens)
    await env.reset(task())
    await env.step(turn())
    return env


async def record(live: Screens, folder: Path) -> RecordedScreens:
    """One state and the step that leads back to it."""
    recording = Recording(folder)
    recorder = RecordingScreens(live, recording)
    env = GuiEnvironment(recorder, screenshots=True)
    await env.reset(task())
    await env.step(turn())
    await env.step(turn())
    await env.close()
    recording.save()
    return RecordedScreens(Recording.open(folder))


async def drive(envs: list[GuiEnvironment], steps: int, shots: bool, clock: Clock) -> float:
    """Steps per second over all of them; opening them is not counted."""
    each = max(4, steps // len(envs))
    for env in envs:
        env.screenshots = shots
    begin = clock()
    await asyncio.gather(*(_steps(env, each) for env in envs))
    return len(envs) * each / (clock() - begin)


async def _steps(env: GuiEnvironment, count: int) -> None:
    for _ in range(count):
        observation = await env.step(turn())
        assert "## Round" in observation.messages[0].content
        assert not observation.done


def task() -> Task:
    return miniwob_task(PAGE, seed=0)


def turn() -> Turn:
    return Turn([], [], "", [ToolCall("click", {"element": 1}, "1")])  # type: ignore[arg-type]


class Official:
    """The environment of the `miniwob` package; it needs chromedriver."""

    def __init__(self) -> None:
        import gymnasium
        import miniwob

        driver = shutil.which("chromedriver")
        if driver is None:
            raise SystemExit("chromedriver is missing: apt-get install chromium-driver")
        os.environ["MINIWOB_CHROME_BINARY"] = str(found_executable())
        os.environ["MINIWOB_CHROMEDRIVER"] = driver
        gymnasium.register_envs(miniwob)
        self._click: Any = None
        self.env: Any = gymnasium.make(f"miniwob/{PAGE}-v1")

    def begin(self) -> None:
        """An episode without a limit of time."""
        import numpy as np
        from miniwob.action import ActionTypes

        self.env.reset(seed=0)
        raw = self.env.unwrapped
        raw.instance.driver.execute_script("core.EPISODE_MAX_TIME = 1e6;")
        self.env.reset(seed=0)
        # The instruction, at the top of the page.
        where = np.array([80.0, 8.0], dtype=np.float32)
        self._click = raw.create_action(ActionTypes.CLICK_COORDS, coords=where)
        self.env.step(self._click)

    def drive(self, steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            _, _, done, _, _ = self.env.step(self._click)
            assert not done
        return steps / (time.perf_counter() - begin)

    def close(self) -> None:
        self.env.close()


def ratio(ours: float, theirs: float) -> float:
    return ours / theirs


def round_to(value: float) -> float:
    return float(f"{value:.3g}")


def load() -> float:
    return round(os.getloadavg()[0], 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    result = asyncio.run(main(given.rounds, given.steps))
    if given.json:
        print(json.dumps(result))
    else:
        for name, rate in result["steps_per_second"].items():
            print(f"{name:18s} {rate:8g} steps/s")
        for name, times in result["times_selenium"].items():
            print(f"{name:18s} {times:8g} times Selenium")
