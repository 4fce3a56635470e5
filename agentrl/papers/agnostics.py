"""Paper 10, Agnostics: one judge of input and output for every language (arXiv 2508.04865).

The claim in the small, run through `agentrl.environments.languages` in containers. For each
language a YAML file of a few lines is enough: the same four programs (right, runs but wrong,
crashes with the right output, never ends) get the same four rewards (1, 0.2, 0, 0). And a policy
learns from it: a small transformer that chooses how each part of a Lua program is written, so that
most do not run, is trained by GRPO on what the judge says, with the partial credit and without.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import Episode, Task, derive_seed
from agentrl.papers.kit.bandit import PROMPT, drawn_by, toy_group, toy_learner
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.environments.images import ImagePools
    from agentrl.environments.languages import Language
    from agentrl.learner import Learner

CLAIM = """\
One judge serves every language that a short YAML file describes: a right program is rewarded with
1, one that runs but prints something else with 0.2, and one that crashes, even with the right
output, or never ends with 0. The expected output is never inside the sandbox. A policy that is
trained on these rewards first stops writing programs that do not run, then writes right ones;
without the partial credit fewer of its programs are right in the end, over the seeds."""

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


LEARNED_IN = "lua"
# Ways to write each part of the sum of two numbers; the first one is right.
PARTS = (
    ("a,b=", "a,c="),
    ("io.read('n','n')",),
    (" print(", " print["),
    ("a+b", "a-b", "b-a", "a*b", "a/b", "a%b", "a..b", "a b"),
    (")", ""),
)
UPDATES, GROUP, EVALUATED, RATE = 60, 32, 256, 3e-3


def run(seeds: Sequence[int]) -> Measured:
    """Every shipped language, and two trainings, on every seed. Needs Docker and Debian's
    packages."""
    return on_one_thread(_measured(seeds))


async def _measured(seeds: Sequence[int]) -> Measured:
    from agentrl.environments.images import docker_images
    from agentrl.environments.languages import ensure_debian_image, languages
    from agentrl.sandboxes import Limits

    packages = {name for language in languages().values() for name in language.image.debian}
    image = await asyncio.to_thread(ensure_debian_image, packages)
    limits = Limits(memory_mb=512, work_mb=64, tmp_mb=32, pids=64)
    rows: list[list[str | int | float]] = []
    passed = True
    async with docker_images(image, size=2, spare=0, limits=limits) as pools:
        for name, language in languages().items():
            for seed in seeds:
                rewards = await _rewards(pools, language, SUM[name], CRASH[name], LOOP[name], seed)
                passed &= rewards == EXPECTED
                rows.append([name, seed, _text(rewards.values())])
        found = [await trained(pools, seed) for seed in seeds]
        passed &= all(holds(partial) for partial, _ in found) and better(found)
        for seed, both in zip(seeds, found, strict=True):
            for partial, shares in zip((0.2, 0.0), both, strict=True):
                for when in ("start", "middle", "end"):
                    case = f"policy, partial {partial:g}, {when}: runs, right"
                    rows.append([case, seed, _text(getattr(shares, when))])
    return Measured(passed, ["case", "seed", f"rewards ({', '.join(EXPECTED)}) or shares"], rows)


def _text(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.3g}" for number in numbers)


@dataclass(slots=True)
class Shares:
    """Of the programs that a policy writes: those that run cleanly, and those that are right.

    `start` is before training, `middle` its second quarter, `end` after it.
    """

    start: tuple[float, float]
    middle: tuple[float, float]
    end: tuple[float, float]


def holds(partial: Shares) -> bool:
    """Errors go first, and right programs follow."""
    (ran, right), (ran_then, right_then) = partial.start, partial.middle
    right_last = partial.end[1]
    return (
        ran_then - ran > right_then - right
        and right_last > right_then
        and right_last >= right + 0.3
    )


def better(found: Sequence[tuple[Shares, Shares]]) -> bool:
    """With the credit (first of each) more programs are right in the end, over all seeds: without
    it a policy may still happen upon a right one early."""
    gains = [partial.end[1] - bare.end[1] for partial, bare in found]
    return sum(gains) / len(gains) >= 0.1


async def trained(pools: ImagePools, seed: int) -> tuple[Shares, Shares]:
    """The same untrained policy, trained with the partial credit and without."""
    verdicts: dict[str, str] = {}
    found = []
    for partial in (0.2, 0.0):
        learner = toy_learner(seed, algorithm="grpo", learning_rate=RATE, max_grad_norm=1.0)
        rng = np.random.default_rng(derive_seed(seed, "agnostics"))
        history: list[list[str]] = []
        for _ in range(UPDATES):
            answers, said = await _drawn(learner, rng, GROUP, pools, verdicts)
            history.append(said)
            group = toy_group([await _reward(status, partial) for status in said], answers)
            for episode in group.episodes:
                episode.segments[0].weights[-len(PARTS) :] = learner.version
            learner.step([drawn_by(learner, group)])
        _, last = await _drawn(learner, rng, EVALUATED, pools, verdicts)
        middle = [status for said in history[UPDATES // 4 : UPDATES // 2] for status in said]
        found.append(Shares(_shares(history[0]), _shares(middle), _shares(last)))
    return found[0], found[1]


async def _drawn(
    learner: Learner,
    rng: np.random.Generator,
    count: int,
    pools: ImagePools,
    verdicts: dict[str, str],
) -> tuple[list[list[int]], list[str]]:
    """Programs that the policy writes now, a token for each part, and what the judge says; of a
    program that it has judged it says the same again."""
    import torch

    # The learner's own takes packed rows only.
    trained = learner.policy.model
    config = copy.deepcopy(trained.config)
    model = type(trained)._from_config(config, attn_implementation="eager").double().eval()
    model.load_state_dict(trained.state_dict())
    rows = np.tile(np.array(PROMPT), (count, 1))
    for _ in PARTS:
        with torch.no_grad():
            logits = model(torch.as_tensor(rows)).logits[:, -1]
        chances = logits.softmax(-1).cumsum(-1).numpy()
        token = (chances < rng.random((count, 1)) * chances[:, -1:]).sum(-1, keepdims=True)
        rows = np.concatenate([rows, token], axis=1)
    answers = rows[:, len(PROMPT) :].tolist()
    programs = [program(answer) for answer in answers]
    for code in dict.fromkeys(programs):
        if code not in verdicts:
            verdicts[code] = await _judged(pools, code)
    return answers, [verdicts[code] for code in programs]


async def _judged(pools: ImagePools, code: str) -> str:
    from agentrl.environments.languages import Case, judge, languages

    patient = _within(languages()[LEARNED_IN], _PATIENCE)
    cases = [Case("1 6\n", "7\n"), Case("40 2\n", "42\n")]
    return str((await judge(pools, patient, code, cases)).status)


def program(tokens: Sequence[int]) -> str:
    """Every token chooses one of the ways of its part."""
    return "".join(ways[token % len(ways)] for ways, token in zip(PARTS, tokens, strict=True))


def _shares(said: Sequence[str]) -> tuple[float, float]:
    right = said.count("success")
    return (right + said.count("wrong_output")) / len(said), right / len(said)


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
        "right": await _reward((await judge(pools, patient, right, cases)).status),
        "wrong": await _reward((await judge(pools, patient, right, off)).status),
        "crash": await _reward((await judge(pools, patient, crash, six)).status),
        "loop": await _reward((await judge(pools, hasty, loop, six)).status),
        "none": await _reward((await judge(pools, patient, "", cases)).status),
    }


def _within(language: Language, seconds: float) -> Language:
    """The language with other limits, so that a busy machine changes no verdict."""
    limits = language.limits.model_copy(
        update={"seconds": seconds, "compile_seconds": 2 * _PATIENCE}
    )
    return language.model_copy(update={"limits": limits})


async def _reward(status: str, partial: float = 0.2) -> float:
    from agentrl.rewards import ProgramOutput

    episode = Episode(Task("sum", "Add up the numbers."))
    episode.outcome = {"status": str(status), "passed": 0, "total": 1}
    return (await ProgramOutput(partial=partial).score(episode)).value
