"""MiniWoB++ in our browser: do all tasks load, do the experts solve theirs, and does the reward
that we read agree with the package's own environment (Selenium)?

    python benchmarks/miniwob_tasks.py                       # load every task
    python benchmarks/miniwob_tasks.py --experts             # and play the experts
    python benchmarks/miniwob_tasks.py --compare             # and compare three attempts of each
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
from agentrl.environments.gui.miniwob.compare import compare, ending
from agentrl.environments.gui.miniwob.experts import EXPERTS
from agentrl.environments.gui.miniwob.hand import Missing
from agentrl.environments.gui.miniwob.official import OfficialScreens
from agentrl.environments.gui.miniwob.tasks import CHECK

AT_ONCE = 4


async def main(given: argparse.Namespace) -> dict[str, Any]:
    screens = BrowserScreens(miniwob_site())
    names = given.names or miniwob_names()
    found: dict[str, Any] = {}
    try:
        if not given.no_load:
            found |= await loaded(screens, names, given.seeds[0])
        known = [name for name in names if name in EXPERTS]
        if given.experts:
            found |= await solved(screens, known, given.seeds)
        if given.compare:
            found |= await compared(screens, known, given.seeds[0])
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


async def solved(screens: BrowserScreens, names: list[str], seeds: list[int]) -> dict[str, Any]:
    """Experts that get the whole reward on every seed, `AT_ONCE` episodes at a time."""
    bad: dict[str, Any] = {}
    places = asyncio.Semaphore(AT_ONCE)
    begin = time.perf_counter()

    async def one(name: str, seed: int) -> None:
        async with places:
            try:
                end = await ending(screens, name, seed, EXPERTS[name])
                said = {"done": end.done, "reward": end.reward}
            except Missing as error:
                said = {"done": False, "missing": str(error)}
        if said != {"done": True, "reward": 1}:
            bad[f"{name}/{seed}"] = said
        tell("NOT SOLVED" if f"{name}/{seed}" in bad else "solved", name, str(seed))

    await asyncio.gather(*(one(name, seed) for name in names for seed in seeds))
    played = len(names) * len(seeds)
    return {
        "experts": len(names),
        "episodes": played,
        "solved": played - len(bad),
        "not_solved": bad,
        "solve_seconds": time.perf_counter() - begin,
    }


async def compared(screens: BrowserScreens, names: list[str], seed: int) -> dict[str, Any]:
    """Three attempts of each task, here and there; a `whole` one is solved, failed and late."""
    official = OfficialScreens()
    whole, unfailed, differ, rows = [], [], [], {}
    begin = time.perf_counter()
    try:
        for name in names:
            try:
                attempts = await compare(screens, official, name, seed)
            except (InfraError, Missing) as error:
                differ.append({"name": name, "error": str(error)})
                tell("ERROR", name, str(error))
                continue
            rows[name] = tuple(attempt.rewards for attempt in attempts)
            differ += [str(attempt) for attempt in attempts if not attempt.agrees]
            solved, wrong, late = attempts
            if not (wrong.ended and wrong.ours.reward < 1):
                unfailed.append(name)
            elif all(a.agrees for a in attempts) and (solved.ours.reward, late.ours.reward) == (
                1,
                -1,
            ):
                whole.append(name)
            tell("agrees" if all(a.agrees for a in attempts) else "DIFFERS", name, str(rows[name]))
    finally:
        await official.close()
    return {
        "compared": len(rows),
        "whole": len(whole),
        "cannot_be_failed": unfailed,
        "differ": differ,
        "rewards": rows,
        "compare_seconds": time.perf_counter() - begin,
    }


def table(rows: dict[str, Any], unfailed: list[str]) -> str:
    """Markdown: tasks by what both environments said of the three attempts."""
    groups: dict[Any, list[str]] = {}
    for name, rewards in rows.items():
        key = (*rewards[:1], None, *rewards[2:]) if name in unfailed else rewards
        groups.setdefault(key, []).append(name)
    lines = ["| solved | wrong | timed out | tasks |", "|---|---|---|---|"]
    for key, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        said = ["cannot be" if pair is None else f"{pair[0]:.3g} / {pair[1]:.3g}" for pair in key]
        lines.append(f"| {' | '.join(said)} | {', '.join(names)} ({len(names)}) |")
    return "\n".join(lines)


def tell(*said: str) -> None:
    print(*said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="tasks; all when left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="the first is compared")
    parser.add_argument("--no-load", action="store_true")
    parser.add_argument("--experts", action="store_true")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    given = parser.parse_args()
    result = asyncio.run(main(given))
    if given.json:
        print(json.dumps(result))
    else:
        if "rewards" in result:
            print(table(result.pop("rewards"), result["cannot_be_failed"]))
        print(json.dumps(result, indent=1))
