"""Tasks are made from a package in real containers, and hold what they promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from swe_pocket import write_pocket

from agentrl.core import ChatReply, ConfigError, Task
from agentrl.core.taskfile import read_tasks
from agentrl.environments.swe import Grader, SynthEvent, SynthReport, SynthSettings, synthesise
from agentrl.environments.swe.difficulty import fix_size
from agentrl.environments.swe.synth.probes import FILE
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import apply_diff
from agentrl.sandboxes import DockerPool

pytestmark = pytest.mark.docker
ALL = 1000


@pytest.fixture
async def pool() -> AsyncIterator[DockerPool]:
    async with DockerPool(size=3, spare=0) as pool:
        yield pool


async def make(
    pool: DockerPool, folder: Path, parallel: int = 2, **settings
) -> tuple[SynthReport, list[SynthEvent]]:
    source = folder / "source"
    if not source.exists():
        write_pocket(source)
    events: list[SynthEvent] = []
    report = await synthesise(
        [str(source)],
        folder / "out" / "tasks.jsonl",
        pool,
        SynthSettings(parallel=parallel, max_test_seconds=0.1, **settings),
        events.append,
    )
    return report, events


def by_function(tasks: list[Task]) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.metadata["function"].rpartition("::")[2], []).append(task)
    return found


async def test_only_bugs_whose_repair_is_wanted_are_tried(pool: DockerPool, tmp_path: Path):
    def repairs(report: SynthReport) -> list[str]:
        return [task.reference["gold_patch"] for task in report.tasks["train"]]

    asked = {"count": ALL, "per_function": ALL, "operators": ("comparison",), "probes": 0}
    every = repairs((await make(pool, tmp_path, **asked))[0])
    assert len(every) >= 2
    wanted = every[::2]
    report, _ = await make(pool, tmp_path, keep=wanted.__contains__, **asked)
    assert sorted(repairs(report)) == sorted(wanted)
    assert report.tried == len(wanted)


async def test_all_bugs_of_a_small_package(pool: DockerPool, tmp_path: Path):
    operators = ("comparison", "boundary", "arithmetic", "return_value", "lost_operand")
    report, events = await make(pool, tmp_path, count=ALL, per_function=ALL, operators=operators)
    tasks = by_function(read_tasks(report.files["train"]))
    # Not what runs at import, nor what no test enters.
    assert set(tasks) == {"clamp", "mean", "countdown"}
    # `while n < 0` survives nothing; `n += 1` never ends, and takes no task with it.
    assert report.rejected["timeout"] >= 1
    assert report.rejected["survived"] >= 1
    (baseline,) = [e.text for e in events if e.kind == "baseline"]
    assert baseline.endswith("left out: 2 failing, 1 slow, 1 flaky")
    for task in [t for group in tasks.values() for t in group]:
        check_task(task)
    assert sum(task.metadata["probes"] > 0 for group in tasks.values() for task in group) >= 3
    assert events[-1].made == sum(map(len, report.tasks.values()))
    assert {e.kind for e in events} == {"package", "baseline", "tried", "done"}


def check_task(task: Task) -> None:
    swe = SweTask(task)
    tests = [*swe.reference.fail_to_pass, *swe.reference.pass_to_pass]
    for bad in ("test_slow", "test_broken", "test_every_second_time", "test_skipped"):
        assert not any(bad in test for test in tests)
    assert swe.reference.fail_to_pass
    assert not set(swe.reference.fail_to_pass) & set(swe.reference.pass_to_pass)
    assert apply_diff(swe.buggy, swe.reference.gold_patch) == swe.pristine
    assert swe.buggy != swe.pristine
    assert swe.payload.reproduction in swe.reference.fail_to_pass
    assert swe.payload.reproduction in task.prompt
    assert f"pocket.numbers.{task.metadata['function'].rpartition('::')[2]}`" in task.prompt
    assert len(task.prompt.split()) < 80
    shown = swe.payload.reproduction.partition("[")[0].rpartition("::")[2]
    for test in swe.reference.fail_to_pass:
        name = test.partition("[")[0].rpartition("::")[2]
        visible = f"def {name}(".encode() in swe.base["tests/test_numbers.py"]
        assert visible == (name == shown)
    assert swe.reference.gold_patch not in str(task.payload)
    probes = [test for test in swe.reference.fail_to_pass if test.startswith(FILE)]
    assert len(probes) == task.metadata["probes"]
    assert bool(probes) == bool(swe.reference.extra_tests)
    assert FILE not in swe.base


@pytest.mark.parametrize(("visible", "shown"), [("all", True), ("none", False)])
async def test_how_many_failing_tests_the_agent_sees(pool, tmp_path, visible, shown):
    report, _ = await make(
        pool, tmp_path, count=1, operators=("arithmetic",), visible=visible, repeats=2
    )
    (task,) = report.tasks["train"]
    swe = SweTask(task)
    assert (swe.base["tests/test_numbers.py"] == swe.pristine["tests/test_numbers.py"]) == shown
    assert (swe.payload.reproduction is not None) == shown
    assert ("Reproduce" in task.prompt) == shown


async def test_splits_share_no_function_and_seed_decides_not_the_number_of_workers(pool, tmp_path):
    files = []
    for number, parallel in enumerate((1, 3)):
        folder = tmp_path / str(number)
        report, _ = await make(
            pool,
            folder,
            parallel,
            count=3,
            held_out=2,
            per_function=2,
            check=False,
            repeats=2,
            operators=("comparison", "boundary", "arithmetic"),
        )
        train, held_out = (
            {t.metadata["function"] for t in read_tasks(report.files[split])}
            for split in ("train", "held_out")
        )
        assert train
        assert held_out
        assert not train & held_out
        files.append([path.read_text() for path in report.files.values()])
    assert files[0] == files[1]
    assert report.files["held_out"].name == "tasks.held_out.jsonl"


async def test_bugs_of_two_edits_need_both_repaired(pool, tmp_path):
    source = write_pocket(tmp_path / "source")
    (source / "src/pocket/texts.py").write_text(
        "from pocket.numbers import clamp\n\n\ndef cut(text, length):\n"
        "    return text[: clamp(length, 0, len(text))] + '.'\n"
    )
    (source / "tests/test_texts.py").write_text(
        "from pocket.texts import cut\n\n\ndef test_cut():\n    assert cut('abc', 2) == 'ab.'\n"
        "    assert cut('abc', 9) == 'abc.'\n    assert cut('abc', -1) == '.'\n"
    )
    report, _ = await make(
        pool, tmp_path, count=6, per_function=ALL, shapes=("files", "lines"), repeats=2
    )
    tasks = report.tasks["train"]
    assert {task.metadata["files"] for task in tasks} == {1, 2}
    for task in tasks:
        swe = SweTask(task)
        assert task.metadata["places"] == 2
        assert "+" in task.metadata["operator"]
        assert fix_size(swe.reference.gold_patch).files == task.metadata["files"]
        assert task.metadata["difficulty"] > 0
        (before, after) = (swe.buggy, swe.pristine)
        changed = [path for path in after if before.get(path) != after[path]]
        assert len(changed) == task.metadata["files"]
    two = next(task for task in tasks if task.metadata["files"] == 2)
    grader = Grader(pool)
    try:
        parts = two.reference["gold_patch"].split("--- a/")[1:]
        for part in parts:
            assert not (await grader.grade(two, f"--- a/{part}")).resolved
        assert (await grader.grade(two, two.reference["gold_patch"])).resolved
    finally:
        grader.close()


class Reporter:
    """A model that writes reports, and what it was asked."""

    name = "reporter"

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def chat(self, messages, **_) -> ChatReply:
        self.asked.append(messages[-1].content)
        return ChatReply("Averages of my numbers are off." if len(self.asked) > 1 else "")


async def test_a_model_writes_the_issue_and_sees_no_patch(pool, tmp_path):
    write_pocket(tmp_path / "source")
    reporter = Reporter()
    report = await synthesise(
        [str(tmp_path / "source")],
        tmp_path / "tasks.jsonl",
        pool,
        SynthSettings(count=4, operators=("comparison", "arithmetic"), repeats=2, parallel=1,
                      max_test_seconds=0.1),
        writer=reporter,
    )  # fmt: skip
    tasks = report.tasks["train"]
    assert len(reporter.asked) == len(tasks)
    by_rule, *written = tasks
    assert by_rule.metadata["issue_from"] == "rule", "an empty answer is no issue"
    for task, asked in zip(written, reporter.asked[1:], strict=True):
        assert task.metadata["issue_from"] == "model"
        assert task.prompt.startswith("Averages of my numbers are off.\nReproduce: tests/")
        assert "assert" in asked
        for line in task.reference["gold_patch"].splitlines():
            if line[:1] in ("+", "-") and not line.startswith(("+++", "---")):
                assert line[1:].strip() not in asked


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shapes": ("triple",)}, "allowed: single, lines, files"),
        ({"operators": ("comparision",)}, "unknown mutation operator: comparision"),
        ({"count": 0}, "count: must be at least 1"),
        ({"held_out": -1}, "held_out: must not be negative"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(ConfigError) as error:
        SynthSettings(**settings)
    assert says in str(error.value)


async def test_several_packages_share_the_sandboxes_that_there_are(pool: DockerPool, tmp_path):
    write_pocket(tmp_path / "first")
    other = write_pocket(tmp_path / "second")
    (other / "PKG-INFO").write_text("Name: purse\nVersion: 2.0\n")
    settings = SynthSettings(count=4, operators=("arithmetic",), parallel=3, repeats=2)
    sources = [str(tmp_path / "first"), str(other)]
    report = await synthesise(sources, tmp_path / "tasks.jsonl", pool, settings)
    assert {task.metadata["package"] for task in report.tasks["train"]} == {"pocket", "purse"}
    with pytest.raises(ConfigError, match="pocket is given twice"):
        await synthesise(sources[:1] * 2, tmp_path / "tasks.jsonl", pool, settings)
