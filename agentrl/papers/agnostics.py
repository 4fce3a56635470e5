"""Paper 10, Agnostics: one judge of input and output for every language (arXiv 2508.04865).

The claim in the small, run through `agentrl.environments.languages` in containers: for each
language a YAML file of a few lines is enough, and the same four programs (right, runs but wrong,
crashes with the right output, never ends) get the same four rewards (1, 0.2, 0, 0).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agentrl.core import Episode, Task, derive_seed
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.environments.images import ImagePools
    from agentrl.environments.languages import IoResult, Language

CLAIM = """\
One judge serves every language that a short YAML file describes: a right program is rewarded with
1, one that runs but prints something else with 0.2, and one that crashes, even with the right
output, or never ends with 0. The expected output is never inside the sandbox."""

# Programs that add up the numbers they read, that print 6 and fail, and that never end.
SUM = {
    "python": "print(sum(map(int, open(0).read().split())))",
    "javascript": "const t = require('fs').readFileSync(0, 'utf8').trim().split(/\\s+/);\n"
    "console.log(t.map(Number).reduce((a, b) => a + b, 0));",
    "c": "#include <stdio.h>\nint main(void) { long s = 0, x; while (scanf(\"%ld\", &x) == 1)"
    " s += x; printf(\"%ld\\n\", s); return 0; }",
    "cpp": "#include <iostream>\nint main() { long s = 0, x; while (std::cin >> x) s += x;"
    " std::cout << s << std::endl; }",
    "lua": "local s = 0\nfor n in io.read('a'):gmatch('-?%d+') do s = s + math.tointeger(n) end\n"
    "print(s)",
    "ocaml": "let () = let s = ref 0 in (try while true do s := !s + Scanf.scanf \" %d\""
    " (fun x -> x) done with _ -> ()); Printf.printf \"%d\\n\" !s",
    "r": "x <- scan(file('stdin'), quiet = TRUE)\ncat(sum(x), '\\n')",
}  # fmt: skip
CRASH = {
    "python": "import sys; print(6); sys.exit(1)",
    "javascript": "console.log(6); process.exit(1)",
    "c": "#include <stdio.h>\nint main(void) { puts(\"6\"); return 1; }",
    "cpp": "#include <cstdio>\nint main() { std::puts(\"6\"); return 1; }",
    "lua": "print(6) os.exit(1)",
    "ocaml": "let () = print_endline \"6\"; exit 1",
    "r": "cat('6\\n'); quit(status = 1)",
}  # fmt: skip
LOOP = {
    "python": "while True: pass",
    "javascript": "while (true) {}",
    "c": "int main(void) { volatile int x = 1; while (x) {} }",
    "cpp": "int main() { volatile int x = 1; while (x) {} }",
    "lua": "while true do end",
    "ocaml": "let () = while true do () done",
    "r": "while (TRUE) {}",
}
EXPECTED = {"right": 1.0, "wrong": 0.2, "crash": 0.0, "loop": 0.0, "none": 0.0}
_LOOP_SECONDS = 2.0
_PATIENCE = 60.0


def run(seeds: Sequence[int]) -> Measured:
    """Every shipped language on every seed's numbers. Needs Docker and Debian's packages."""
    return asyncio.run(_measured(seeds))


async def _measured(seeds: Sequence[int]) -> Measured:
    from agentrl.environments.images import docker_images
    from agentrl.environments.languages import ensure_debian_image, languages
    from agentrl.sandboxes import Limits

    packages = {name for language in languages().values() for name in language.image.debian}
    image = await asyncio.to_thread(ensure_debian_image, packages)
    limits = Limits(memory_mb=512, work_mb=64, tmp_mb=32, pids=64)
    rows: list[list[str | int | float]] = []
    async with docker_images(image, size=2, spare=0, limits=limits) as pools:
        for name, language in languages().items():
            for seed in seeds:
                rewards = await _rewards(pools, language, SUM[name], CRASH[name], LOOP[name], seed)
                rows.append([name, seed, *(rewards[what] for what in EXPECTED)])
    passed = all(tuple(row[2:]) == tuple(EXPECTED.values()) for row in rows)
    return Measured(passed, ["language", "seed", *EXPECTED], rows)


async def _rewards(
    pools: ImagePools, language: Language, right: str, crash: str, loop: str, seed: int
) -> dict[str, float]:
    """The reward of each program, by what is wrong with it."""
    from agentrl.environments.languages import Case, judge

    draw = random.Random(derive_seed(seed, "agnostics", language.name))
    numbers = [[draw.randint(-99, 99) for _ in range(draw.randint(2, 6))] for _ in range(3)]
    cases = [Case(" ".join(map(str, some)) + "\n", f"{sum(some)}\n") for some in numbers]
    off = [replace(case, output=f"{int(case.output) + 1}\n") for case in cases]
    six = [Case("1 2 3\n", "6\n")]
    patient, hasty = _within(language, _PATIENCE), _within(language, _LOOP_SECONDS)
    return {
        "right": await _reward(await judge(pools, patient, right, cases)),
        "wrong": await _reward(await judge(pools, patient, right, off)),
        "crash": await _reward(await judge(pools, patient, crash, six)),
        "loop": await _reward(await judge(pools, hasty, loop, six)),
        "none": await _reward(await judge(pools, patient, "", cases)),
    }


def _within(language: Language, seconds: float) -> Language:
    """The language with other limits, so that a busy machine changes no verdict."""
    limits = language.limits.model_copy(
        update={"seconds": seconds, "compile_seconds": 2 * _PATIENCE}
    )
    return language.model_copy(update={"limits": limits})


async def _reward(result: IoResult) -> float:
    from agentrl.rewards import ProgramOutput

    episode = Episode(Task("sum", "Add up the numbers."))
    episode.outcome = {
        "status": str(result.status), "passed": result.passed, "total": result.total
    }  # fmt: skip
    return (await ProgramOutput().score(episode)).value
