"""Guidance for repairs: from the gold patch and the tests by rule, from the failing run itself, and
never into the sandbox."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from agentrl.core import Attempt, Episode, Guide, Message, Score, Task, solved
from agentrl.core.taskfile import read_tasks
from agentrl.engines import ScriptedEngine
from agentrl.environments.swe import Grader, SweEnvironment, SynthSettings, synthesise
from agentrl.environments.swe.task import SweTask
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.guidance import GuidanceSettings, Means, Sources, build_guidance
from agentrl.guidance.providers.attempts import feedback
from agentrl.guidance.providers.repository import (
    assertions,
    changed_functions,
    places_of,
    plan_of,
)
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.sandboxes import DockerPool

sys.path.append(str(Path(__file__).parents[1] / "environments"))
from swe_pocket import write_pocket

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
SOURCE = "src/pocket/numbers.py"
# What only the guidance says; it is looked for in every place of the sandbox that can be read.
CANARY = "kestrel-4711-larkspur"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DockerPool]:
    async with DockerPool(size=3, spare=0) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def task(pool: DockerPool, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """`clamp` compares the wrong way round."""
    folder = tmp_path_factory.mktemp("pocket")
    write_pocket(folder / "source")
    settings = SynthSettings(
        count=1000, per_function=1000, operators=("comparison",), max_test_seconds=0.1, repeats=2
    )
    await synthesise([str(folder / "source")], folder / "tasks.jsonl", pool, settings)
    return next(
        t
        for t in read_tasks(folder / "tasks.jsonl")
        if t.reference["location"]["old"] == ">" and t.metadata["function"].endswith("clamp")
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grader(pool: DockerPool) -> AsyncIterator[Grader]:
    grader = Grader(pool)
    yield grader
    grader.close()


class Resolved:
    name = "resolved"

    async def score(self, episode: Episode) -> Score:
        return Score(float(solved(episode)))


def scheduler(pool: DockerPool, grader: Grader, script) -> Scheduler:
    words = ["the tests fail in a function of the module"] * 4
    tokenizer = ChatTokenizer(train_tokenizer(words, 300), builtin_template("compact"))
    runner = Runner(
        ScriptedEngine(script, tokenizer),
        tokenizer,
        dialect("pythonic"),
        lambda: SweEnvironment(pool, grader),
        Resolved(),
        Limits(turns=6, tokens=60_000, tokens_per_turn=2000),
    )
    return Scheduler(runner, retries=0)


def careless(seed: int) -> Generator[str, str, None]:
    """Runs the tests and hands in nothing; told where to look, it repairs the comparison."""
    heard = yield ""
    if "Hint:" not in heard:
        yield "[run_tests()]"
        yield "[submit()]"
    else:
        assert SOURCE in heard
        place = next(i for i, line in enumerate(FIXED, 1) if "value > high" in line)
        yield f"[edit(path='{SOURCE}', line={place}, old='<', new='>')]"
        yield "[submit()]"


FIXED: list[str] = []


async def test_a_plan_by_rule_says_where_and_what_fails_and_not_how(task: Task) -> None:
    swe = SweTask(task)
    ((path, function, first, last),) = changed_functions(swe)
    assert (path, function) == (SOURCE, "clamp")
    broken = swe.buggy[SOURCE].decode().splitlines()[first - 1 : last]
    assert broken[0] == "def clamp(value, low, high):"
    plan = plan_of(task)
    assert plan is not None
    assert SOURCE in plan
    assert "`clamp`" in plan
    assert task.reference["fail_to_pass"][0] in plan
    asserted = [a for t in task.reference["fail_to_pass"] for a in assertions(swe, t)]
    assert "assert clamp(value, 0, 10) == expected" in asserted
    assert asserted[0] in plan
    fix = [line[1:] for line in task.reference["gold_patch"].splitlines() if line[:1] == "+"]
    assert not any(line.strip() and line.strip() in plan for line in fix[1:])
    assert places_of(task) == [f"{SOURCE}, lines {first} to {last} (`clamp`)"]
    assert plan_of(Task("other", "")) is None


async def test_a_guided_repair_of_a_real_repository(pool, grader, task: Task) -> None:
    """Attempt, tests, guidance from how they failed, attempt again: the second one resolves."""
    FIXED[:] = SweTask(task).pristine[SOURCE].decode().splitlines()
    subject = build_guidance(GuidanceSettings(kind="agent_rlvr"), Sources(), steps=10)
    runs = scheduler(pool, grader, careless)
    (group,) = await runs.collect([task], 1, seed=1)
    (failed,) = group.episodes
    assert not solved(failed)
    helped = await subject.assist([group], 1, 0, Means(runs.attempt))
    (again,) = helped.rollouts
    assert solved(again), again.outcome
    told = again.guidance["hint"]
    failures = failed.outcome["failures"]
    assert failures
    test, why = next(iter(failures.items()))
    assert "assert" in why
    assert f"{SOURCE}" in why or "test_numbers.py" in why
    assert f"{test} failed: {why}" in told
    assert "no file was changed" in told
    assert f"Open {SOURCE}" in told
    assert len(helped.groups[0].episodes) == 2


async def test_feedback_also_knows_the_agents_own_last_test_run(pool, grader, task: Task) -> None:
    runs = scheduler(pool, grader, careless)
    (failed,) = await runs.attempt([Attempt(task, 5)])
    failed.outcome["failures"] = {}
    said = feedback(failed)
    assert "the last run of the tests said" in said
    assert "1 failed" in said


def searching(seed: int) -> Generator[str, str, None]:
    """Looks for the guidance's words in all files and in what processes were started with, without
    writing them down itself."""
    head, tail = CANARY[:7], CANARY[7:]
    yield ""
    look = (
        f"exec 2>/dev/null; h={head}; t={tail}; "
        "grep -rlas --exclude-dir=proc --exclude-dir=sys $h$t /; "
        "for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do "
        "case $(tr -d '\\0' < $f) in *$h$t*) echo $f; esac; done; echo searched"
    )
    yield f"[shell(command={look!r})]"
    yield "[submit()]"


async def test_privileged_text_never_reaches_the_sandbox(pool, grader, task: Task) -> None:
    guide = Guide(
        [Message("user", f"The solution: {CANARY}"), Message("system", CANARY)],
        {1: [Message("user", CANARY)]},
        {"level": 1, "hint": CANARY},
    )
    runs = scheduler(pool, grader, searching)
    (hinted,) = await runs.attempt([Attempt(task, 7, guide)])
    (plain,) = await runs.attempt([Attempt(task, 7)])
    for episode in (hinted, plain):
        said = episode.turns[0].results[0].text
        lines = [line for line in said.splitlines() if line]
        # Only grep's own arguments hold the words, while it runs.
        assert lines[-1] == "searched", said
        assert not [line for line in lines if line.startswith("/")], said
    told = [m.content for m in hinted.prompt if m.hint]
    assert told == [CANARY, f"The solution: {CANARY}"]
    assert [m.content for m in hinted.turns[0].observations if m.hint] == [CANARY]
    assert not any(m.hint for m in plain.prompt)
    assert hinted.turns[0].results[0].text == plain.turns[0].results[0].text


async def test_many_wait_for_their_own_feedback(pool, grader, task: Task) -> None:
    """Re-attempts of a group hold no sandbox while they wait: as many as there are get through."""
    FIXED[:] = SweTask(task).pristine[SOURCE].decode().splitlines()
    subject = build_guidance(GuidanceSettings(kind="agent_rlvr"), Sources(), steps=10)
    runs = scheduler(pool, grader, careless)
    (group,) = await runs.collect([task], 4, seed=3)
    async with asyncio.timeout(240):
        helped = await subject.assist([group], 1, 0, Means(runs.attempt))
    assert [solved(e) for e in helped.rollouts] == [True] * 4
