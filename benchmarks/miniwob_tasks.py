"""MiniWoB++ in our browser: do all tasks load, do the experts solve theirs, and does the reward
that we read agree with the package's own environment (Selenium)?

    python benchmarks/miniwob_tasks.py --json                # load every task
    python benchmarks/miniwob_tasks.py --experts --json      # and play the experts
    python benchmarks/miniwob_tasks.py --compare --json      # and compare three attempts of each
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from agentrl.core import InfraError
from agentrl.environments.gui.browser import BrowserScreens
from agentrl.environments.gui.miniwob import miniwob_names, miniwob_site, miniwob_task
from agentrl.environments.gui.miniwob.compare import compare
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Hand, Missing
from agentrl.environments.gui.miniwob.tasks import CHECK
from agentrl.environments.gui.screen import Refused


async def main(given: argparse.Namespace) -> dict[str, Any]:
    screens = BrowserScreens(miniwob_site())
    names = given.names or miniwob_names()
    found: dict[str, Any] = {}
    try:
        if not given.no_load:
            found |= await loaded(screens, names, given.seed)
        known = [name for name in names if name in EXPERTS]
        if given.experts:
            found |= await solved(screens, known, given.seed)
        if given.compare:
            found |= await compared(screens, known, given.seed)
    finally:
        await screens.close()
    return found


async def loaded(screens: BrowserScreens, names: list[str], seed: int) -> dict[str, Any]:
    """Tasks that load, have an instruction and elements, repeat under a seed, and give a reward."""
    good, bad = [], {}
    begin = time.perf_counter()
    for name in names:
        said = []
        for _ in range(2):
            screen = await screens.open(miniwob_task(name, seed))
            view = await screen.look(image=True)
            state = await screen.ask(CHECK)
            said.append((await screen.brief(), [(e.role, e.name) for e in view.elements]))
            await screen.close()
        same = said[0] == said[1]
        complete = bool(said[0][0]) and view.image is not None and state["reward"] == 0
        if same and complete and view.elements:
            good.append(name)
        else:
            bad[name] = {"repeats": same, "complete": complete, "elements": len(view.elements)}
        tell("loads" if name == (good or [""])[-1] else "FAILS", name)
    seconds = time.perf_counter() - begin
    return {"tasks": len(names), "load": len(good), "not_loaded": bad, "load_seconds": seconds}


async def solved(screens: BrowserScreens, names: list[str], seed: int) -> dict[str, Any]:
    good, bad = [], {}
    for name in names:
        screen = await screens.open(miniwob_task(name, seed))
        try:
            await EXPERTS[name](await Hand.take(screen))
            state = await screen.ask(CHECK)
        except (Missing, Refused, StopIteration, RuntimeError) as error:
            state = {"done": False, "reward": repr(error)}
        finally:
            await screen.close()
        if state["done"] and state["reward"] == 1:
            good.append(name)
        else:
            bad[name] = state
        tell("solved" if name not in bad else "NOT SOLVED", name)
    return {"experts": len(names), "solved": len(good), "not_solved": bad}


async def compared(screens: BrowserScreens, names: list[str], seed: int) -> dict[str, Any]:
    agree, differ, whole = 0, [], []
    for name in names:
        try:
            attempts = await compare(screens, name, seed)
        except (InfraError, AssertionError, Refused, Missing) as error:
            differ.append({"name": name, "error": str(error)})
            tell("ERROR", name)
            continue
        same = [attempt.agrees for attempt in attempts]
        agree += sum(same)
        differ += [
            {"name": a.name, "attempt": a.attempt, "ours": a.ours, "theirs": a.theirs}
            for a in attempts
            if not a.agrees
        ]
        solved_here = attempts[0].ours["reward"] == 1 == attempts[0].theirs["reward"]
        if all(same) and solved_here:
            whole.append(name)
        tell("agrees" if all(same) else "DIFFERS", name)
    return {"compared": 3 * len(names), "agree": agree, "solved_and_agree": whole, "differ": differ}


def tell(*said: str) -> None:
    print(*said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="tasks; all when left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-load", action="store_true")
    parser.add_argument("--experts", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", action="store_true")
    result = asyncio.run(main(parser.parse_args()))
    print(json.dumps(result, indent=None if "--json" in sys.argv else 1))
