"""Record the world: scripted agents work on tasks in a real browser, and every step is kept.

    python examples/gui/record.py tasks.jsonl --out runs/gui/recording --attempts 4

Tasks that begin in one state share what is recorded (`agentrl tasks make world starts=1`). Where an
agent may go besides is explored from each of their states, `--explore` steps of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import AgentRLError, Task, Turn, derive_seed
from agentrl.core.taskfile import read_tasks
from agentrl.environments.gui import GuiEnvironment
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.recording import Recording, RecordingScreens, explore
from agentrl.environments.gui.world import SITE
from agentrl.episodes import dialect
from examples.gui.agent import careless, expert

Script = Callable[[int], Generator[str, str, None]]
VIEWPORT = (640, 420)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attempts", type=int, default=4, help="of the careless script, per task")
    parser.add_argument("--explore", type=int, default=0, help="further steps, over all states")
    parser.add_argument("--depth", type=int, default=6, help="how far from the start these go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--screenshots", action="store_true")
    options = parser.parse_args()
    try:
        recording = asyncio.run(
            record(
                read_tasks(options.tasks),
                options.out,
                attempts=options.attempts,
                further=options.explore,
                depth=options.depth,
                seed=options.seed,
                screenshots=options.screenshots,
            )
        )
    except AgentRLError as error:
        print(error, file=sys.stderr)
        return 2
    steps = sum(map(len, recording.edges.values()))
    print(f"{len(recording.nodes)} states, {steps} steps, in {recording.folder}")
    return 0


async def record(
    tasks: Sequence[Task],
    folder: Path,
    *,
    attempts: int = 4,
    further: int = 0,
    depth: int = 6,
    seed: int = 0,
    screenshots: bool = False,
) -> Recording:
    """Walk every task as an expert, and `attempts` times carelessly; then explore.

    Args:
        further: steps of exploring, over all states that tasks begin in.
        depth: how many steps from there they go at most.
    """
    recording = Recording(folder)
    live = BrowserScreens({"world": SITE}, viewport=VIEWPORT)
    screens = RecordingScreens(live, recording, screenshots=screenshots)
    try:
        for task in tasks:
            await play(screens, task, expert, seed)
            for attempt in range(attempts):
                await play(screens, task, careless, derive_seed(seed, task.id, attempt))
        if further:
            await explore(screens, tasks, max_steps=further, max_depth=depth)
    finally:
        await screens.close()
    return recording


async def play(screens: RecordingScreens, task: Task, script: Script, seed: int) -> None:
    """One scripted episode."""
    environment = GuiEnvironment(screens, screenshots=False)
    agent, reads = script(seed), dialect("pythonic")
    try:
        messages = await environment.reset(task)
        next(agent)
        for _ in range(40):
            said = agent.send("\n".join(message.content for message in messages))
            none = np.zeros(0, np.float32)
            turn = Turn(none, none, said, reads.parse(said))
            observation = await environment.step(turn)
            messages = observation.messages
            if observation.done:
                break
    finally:
        await environment.close()


if __name__ == "__main__":
    sys.exit(main())
