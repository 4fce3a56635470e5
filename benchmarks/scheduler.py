"""What an episode costs besides the model and the tools, and how well slow tools overlap.

    python benchmarks/scheduler.py --json
    python benchmarks/scheduler.py --peers A/bin/python B/bin/python   # verifiers, same stub

`overhead`: 256 episodes of 4 turns; the engine answers at once with a tool call, the tool answers
at once. CPU seconds of this process, per episode. `sleep`: 64 episodes whose tool sleeps 200 ms in
each of 4 turns; wall time over the 0.8 s that the sleeping takes. `--peers` runs the same overhead
case in verifiers (https://pypi.org/project/verifiers/) of other environments, each in one of its
versions; its model is an OpenAI server on loopback that answers at once, whose CPU is not counted.
From 0.2 on an episode is a program behind a proxy and takes seconds: 8 of them, unless
`--peer-episodes` says how many. That environment needs `uv` too (pip install uv).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import Episode, Generation, PlacedImage, Sampling, Score, Task
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.tools import tool

CALL = '<tool_call>\n{"name": "look", "arguments": {"line": 3}}\n</tool_call>'
EPISODES, TURNS, SLEEPERS, SECONDS = 256, 4, 64, 0.2


class InstantEngine:
    """Says `CALL` in every turn but the last, which ends the episode."""

    def __init__(self, tokenizer: ChatTokenizer, calls: int) -> None:
        said = [tokenizer.encode_plain(CALL)] * calls + [tokenizer.encode_plain("done")]
        self._said = [_generation([*ids, tokenizer.end_of_turn]) for ids in said]
        self._turn: dict[str, int] = {}

    async def generate(
        self,
        tokens: Sequence[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: Sequence[PlacedImage] = (),
    ) -> Generation:
        turn = self._turn.get(session, 0)
        self._turn[session] = turn + 1
        await asyncio.sleep(0)
        return self._said[turn]

    async def end_session(self, session: str) -> None:
        self._turn.pop(session, None)

    async def close(self) -> None:
        pass


def _generation(ids: list[int]) -> Generation:
    n = len(ids)
    return Generation(
        np.asarray(ids, np.int32), np.full(n, -1.0, np.float32), np.zeros(n, np.int32), "stop"
    )


class Desk(Environment):
    @tool
    async def look(self, line: int) -> str:
        """Look at a line.

        Args:
            line: which.
        """
        return "a line of text, as a tool would give it"


class Sleeper(Environment):
    @tool
    async def look(self, line: int) -> str:
        """Look at a line, slowly.

        Args:
            line: which.
        """
        await asyncio.sleep(SECONDS)
        return "a line of text"


class SyncSleeper(Environment):
    @tool
    def look(self, line: int) -> str:
        """Look at a line, slowly and without awaiting.

        Args:
            line: which.
        """
        time.sleep(SECONDS)
        return "a line of text"


class Done:
    name = "done"

    async def score(self, episode: Episode) -> Score:
        return Score(1.0)


def make_tokenizer() -> ChatTokenizer:
    hf = train_tokenizer([CALL, "a line of text, as a tool would give it"] * 9, 512)
    return ChatTokenizer(hf, builtin_template("compact"))


def run(tokenizer: ChatTokenizer, kind: type[Environment], count: int, calls: int) -> Any:
    """(CPU, wall) seconds of `count` episodes of `calls` calls and a closing word."""
    engine = InstantEngine(tokenizer, calls)
    runner = Runner(engine, tokenizer, dialect("hermes"), kind, Done(), Limits(turns=calls + 1))
    scheduler = Scheduler(runner, concurrency=count)
    tasks = [Task(f"t{i}", "Look at line 3.") for i in range(count // 8)]
    episodes: list[Episode] = []

    async def collect() -> None:
        # Nothing is returned: asyncio.run would have the whole result printed into an error
        # message that nobody sees, as it looks whether its main task is a signal's name.
        for group in await scheduler.collect(tasks, 8, seed=0):
            episodes.extend(group.episodes)

    cpu, wall = time.process_time(), time.perf_counter()
    asyncio.run(collect())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(episodes) == count
    assert all(e.reward == 1.0 and len(e.turns) == calls + 1 for e in episodes)
    assert all(r.ok for e in episodes for t in e.turns for r in t.results)
    return cpu, wall


def measure(repeats: int) -> dict[str, float]:
    tokenizer = make_tokenizer()
    run(tokenizer, Desk, 8, TURNS - 1)  # imports and first-time work
    cpu = [run(tokenizer, Desk, EPISODES, TURNS - 1)[0] / EPISODES for _ in range(repeats)]
    found = {"cpu_ms_per_episode": 1000 * statistics.median(cpu)}
    ideal = TURNS * SECONDS
    for name, kind in (("async", Sleeper), ("sync", SyncSleeper)):
        runs = [run(tokenizer, kind, SLEEPERS, TURNS) for _ in range(repeats)]
        wall = min(wall for _, wall in runs)
        found[f"sleep_{name}_wall_over_ideal"] = wall / ideal
        found[f"sleep_{name}_cpu_seconds"] = min(cpu for cpu, _ in runs)
    return found


def measure_beside(peers: Sequence[str], episodes: int | None, repeats: int) -> dict[str, Any]:
    """Ours, and every peer by its name with how many times our CPU time it takes.

    Args:
        peers: Pythons that have verifiers.
        episodes: of each peer; None is as many as it does in a minute or two.
    """
    found: dict[str, Any] = measure(repeats)
    for python in peers:
        peer = measure_peer(python, episodes)
        peer["cpu_over_ours"] = peer["cpu_ms_per_episode"] / found["cpu_ms_per_episode"]
        found[f"verifiers_{peer.pop('version')}"] = peer
    return found


def measure_peer(python: str, episodes: int | None) -> dict[str, Any]:
    """verifiers in its own environment, its model served from this file's neighbour."""
    stub = Path(__file__).with_name("scheduler_peer.py")
    if episodes is None:
        ask = [python, "-c", "import importlib.metadata as m; print(m.version('verifiers'))"]
        version = subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout
        episodes = EPISODES if version.startswith("0.1.") else 8
    # Programs of its own that it starts find `uv`, and the tools by their module's name.
    path = f"{Path(python).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(stub.resolve().parent)}
    server = subprocess.Popen([python, str(stub), "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        said = subprocess.run(
            [python, str(stub), "run", port, str(episodes)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environment,
        )
    finally:
        server.terminate()
        server.wait()
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=[], help="Pythons that have verifiers")
    parser.add_argument("--peer-episodes", type=int, help="of each peer")
    options = parser.parse_args()
    found = measure_beside(options.peers, options.peer_episodes, options.repeats)
    for name, value in found.items():
        print(f"{name:32} {value if isinstance(value, dict) else f'{value:.3f}'}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
