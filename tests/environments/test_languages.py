"""Every shipped language in real containers: what is a pass, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from docker_marks import docker_test

from agentrl.core import ConfigError, Episode, Task, TaskFileError, Turn
from agentrl.environments.images import ImagePools, docker_images
from agentrl.environments.languages import (
    Case,
    CodeEnvironment,
    IoStatus,
    Language,
    ensure_debian_image,
    judge,
    languages,
    load_language,
    program_of,
)
from agentrl.papers.agnostics import CRASH, LOOP, SUM
from agentrl.sandboxes import Limits

CASES = [Case("1 2 3\n", "6 \n"), Case("-4\n5\n", "1")]
HARD = Limits(memory_mb=512, work_mb=64, tmp_mb=32, pids=64)


@pytest.fixture(scope="module")
def image() -> str:
    """One image with all of them."""
    return ensure_debian_image({p for one in languages().values() for p in one.image.debian})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pools(image: str) -> AsyncIterator[ImagePools]:
    async with docker_images(image, size=2, spare=0, limits=HARD) as pools:
        yield pools


def quick(language: Language, seconds: float = 60.0) -> Language:
    """Other limits: a busy machine must not turn a pass into a timeout."""
    limits = language.limits.model_copy(update={"seconds": seconds, "compile_seconds": 120.0})
    return language.model_copy(update={"limits": limits})


@docker_test
@pytest.mark.parametrize("name", sorted(SUM))
async def test_every_language_passes_fails_crashes_and_is_stopped(pools, name):
    language = quick(languages()[name])
    right = await judge(pools, language, SUM[name], CASES)
    assert (right.status, right.passed, right.total) == (IoStatus.SUCCESS, 2, 2), right.message
    other = [Case("1 2 3", "6"), Case("1", "2"), Case("1", "1")]
    wrong = await judge(pools, language, SUM[name], other)
    assert (wrong.status, wrong.passed, wrong.total) == (IoStatus.WRONG_OUTPUT, 1, 3)
    crash = await judge(pools, language, CRASH[name], CASES)
    assert crash.status == IoStatus.ERROR, "the right output counts for nothing with exit code 1"
    loop = await judge(pools, quick(language, 1.5), LOOP[name], CASES)
    assert loop.status == IoStatus.TIMEOUT
    assert loop.seconds < 20


@docker_test
@pytest.mark.parametrize("name", ["c", "cpp", "ocaml"])
async def test_what_does_not_compile_is_told_with_the_compilers_words(pools, name):
    result = await judge(pools, quick(languages()[name]), "this is no program", CASES)
    assert result.status == IoStatus.COMPILE_ERROR
    assert "main" in result.message


@docker_test
async def test_a_language_is_one_yaml_file(pools, tmp_path: Path):
    path = tmp_path / "shout.yaml"
    path.write_text("name: shout\nsays: sed\nimage: {debian: [python3]}\nfile: main.sed\n"
                    "run: sed -f main.sed\n")  # fmt: skip
    language = load_language(path)
    result = await judge(pools, language, "s/a/A/g", [Case("banana", "bAnAnA\n")])
    assert result.status == IoStatus.SUCCESS, result.message
    path.write_text("name: shout\nfiel: main.sed\n")
    with pytest.raises(ConfigError, match="says"):
        load_language(path)
    with pytest.raises(ConfigError, match="no language 'cobol'"):
        load_language("cobol")


HOSTILE = {
    "reads what it is not given": (
        "import os\nfor d, _, fs in os.walk('/'):\n"
        "    if not d.startswith(('/proc', '/sys', '/usr', '/etc', '/var', '/lib')):\n"
        "        for f in fs:\n"
        "            try: text = open(os.path.join(d, f)).read()\n"
        "            except Exception: continue\n"
        "            if 'secret answer' in text: print('secret answer'); raise SystemExit\n"
        "print('nothing found')", IoStatus.WRONG_OUTPUT),
    "uses the network": (
        "import socket\nsocket.create_connection(('127.0.0.1', 80), 2)", IoStatus.ERROR),
    "prints for ever": ("while True: print('x' * 1000)", IoStatus.ERROR),
    "eats memory": ("x = []\nwhile True: x.append(bytearray(10 ** 7))", IoStatus.ERROR),
    "forks for ever": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: break\nos._exit(1)",
        IoStatus.ERROR),
    "ignores every signal": (
        "import signal, time\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except Exception: pass\nwhile True: time.sleep(1)", IoStatus.TIMEOUT),
}  # fmt: skip


@docker_test
@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_programs_get_a_status_and_the_next_one_does_not_notice(pools, what):
    code, expected = HOSTILE[what]
    python = quick(languages()["python"], 5.0)
    result = await judge(pools, python, code, [Case("", "the secret answer")])
    assert result.status in (expected, IoStatus.TIMEOUT), result
    after = await judge(pools, quick(python), SUM["python"], CASES)
    assert after.status == IoStatus.SUCCESS


def task(**changes) -> Task:
    fields = {
        "payload": {"language": "lua", "samples": [{"input": "1 2", "output": "3"}]},
        "reference": {"tests": [{"input": "1 2 3", "output": "6"}]},
    }
    return Task("sum", "Print the sum.", "code", **{**fields, **changes})


async def outcome(pools: ImagePools, text: str) -> dict:
    environment = CodeEnvironment(pools)
    message = environment.reset(task())[0].content
    assert "Lua 5.4" in message
    assert "Input:\n1 2\nOutput:\n3" in message
    assert "6" not in message, "hidden tests must not be shown"
    turn = Turn(np.zeros(0, np.int32), np.zeros(0, np.float32), text)
    assert environment.step(turn).done
    return await environment.finish(Episode(task()))


@docker_test
async def test_an_episode_is_one_answer_and_its_verdict(pools):
    right = await outcome(pools, f"Like this:\n```lua\n{SUM['lua']}\n```\n")
    assert right["resolved"]
    assert (right["status"], right["passed"], right["total"]) == ("success", 1, 1)
    wrong, none, crash = await asyncio.gather(
        outcome(pools, "```lua\nprint(7)\n```"),
        outcome(pools, "I do not know."),
        outcome(pools, "```lua\nerror('no')\n```"),
    )
    assert (wrong["status"], wrong["resolved"]) == ("wrong_output", False)
    assert none["status"] == "no_code"
    assert crash["status"] == "error"
    assert "no" in crash["message"]


def test_the_last_block_of_the_language_is_the_program():
    lua = languages()["lua"]
    assert program_of("```lua\nold\n```\n```lua\nnew\n```\n```json\n{}\n```", lua) == "new\n"
    assert program_of("```\nbare\n```", lua) == "bare\n"
    assert program_of("```python\nother\n```", lua) == ""
    assert program_of("```lua\nnever closed", lua) == ""


def test_a_task_that_is_none_is_refused_with_what_is_needed():
    with pytest.raises(TaskFileError, match="tests"):
        CodeEnvironment(None).reset(task(reference={}))
