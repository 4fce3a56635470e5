"""The command: exit codes, messages, and what a run directory shows of itself."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentrl.cli import main
from agentrl.cli.command import build_parser, parse
from agentrl.core import Check, Episode, Message, Score, Status, Task, ToolCall, ToolResult, Turn
from agentrl.store import RunStore


def turn(text: str, name: str, arguments: dict[str, Any], result: ToolResult) -> Turn:
    tokens = np.arange(5, dtype=np.int32)
    logprobs = np.zeros(5, np.float32)
    observation = Message("tool", result.text, name=name)
    return Turn(tokens, logprobs, text, [ToolCall(name, arguments)], [result], [observation])


def episode(task: str, number: int, reward: float) -> Episode:
    long = "\n".join(f"line {i}" for i in range(100))
    return Episode(
        Task(task, f"repair {task}"),
        f"{task}-{number:04}",
        status=Status.COMPLETED,
        prompt=[Message("user", f"repair {task}")],
        turns=[
            turn("I look at it.", "view", {"path": "a.py"}, ToolResult(long)),
            turn("broken \ud800", "edit", {}, ToolResult("no such file", False, "raised")),
        ],
        outcome={"resolved": reward > 0, "diff": "--- a\n+++ b"},
        scores={"reward": Score(reward, [Check("tests", 0.0, reward > 0, "1 of 2 pass")])},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    with RunStore.create(directory, {}) as store:
        for step in (1, 2):
            group = [episode("hard", 10 * step + i, 0.0) for i in range(2)]
            store.add_episodes(step, "train", group)
            store.add_failure(step, "hard", [e.id for e in group])
        store.add_episodes(2, "train", [episode("easy", 1, 1.0)])
    return directory


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ["train", "warmstart", "eval", "rollout", "replay", "doctor"]
    commands += ["tasks synth", "tasks verify", "sandbox build", "sandbox reap"]
    commands += ["papers list", "papers show", "papers check"]
    for command in commands:
        with pytest.raises(SystemExit) as done:
            build_parser().parse_args([*command.split(), "--help"])
        assert done.value.code == 0
        assert f"agentrl {command}" in capsys.readouterr().out


def test_the_command_starts_fast() -> None:
    script = "import sys, agentrl.cli; print([m for m in ('torch', 'docker') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_overrides_may_stand_on_both_sides_of_options() -> None:
    options = parse(["train", "run.yaml", "a=1", "--resume", "b=2"])
    assert (options.overrides, options.resume) == (["a=1", "b=2"], True)


@pytest.mark.parametrize("arguments", [["train", "x.yaml", "--reusme"], ["doctor", "a=1"], []])
def test_arguments_that_nobody_knows_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        parse(arguments)
    assert done.value.code == 2
    assert "agentrl: error:" in capsys.readouterr().err


def test_an_error_is_a_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nothing.yaml"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("agentrl: nothing.yaml: no such file\n  -> ")
    assert said.out == ""


def test_traceback_shows_where_it_came_from() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agentrl.cli", "--traceback", "replay", "nothing"],
        capture_output=True,
        text=True,
    )
    assert "Traceback" in done.stderr
    assert "this is not a run directory" in done.stderr


def test_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    assert "this directory is not a run (it has no run.yaml)" in capsys.readouterr().err


def test_replay_lists_what_failed_most(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run)]) == 0
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "task"
    assert row.split() == ["hard", "2", "2", "-", "hard-0020"]


def test_replay_says_why_in_clusters(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("cause"))
    cells = [cell.strip() for cell in lines[head + 1].split("  ") if cell]
    assert cells == ["completed, tests fails, calls raised", "4", "hard", "hard-0010"]


def test_two_attempts_stand_side_by_side(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with RunStore.open(run) as store:
        other = episode("hard", 77, 1.0)
        other.turns[1] = turn("fine", "edit", {"path": "a.py"}, ToolResult("changed"))
        store.add_episodes(3, "train", [other])
    assert main(["replay", str(run), "--compare", "hard-0010", "hard-0077"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "turn 0 is the same in both" in out
    assert "I look at it." not in out
    row = next(line for line in out.splitlines() if "fine" in line)
    assert row.split(" | ") == ["broken \\ud800".ljust(38), "fine"]
    assert any("no such file" in line and "changed" in line for line in out.splitlines())
    assert any("tests: no" in line and "tests: yes" in line for line in out.splitlines())


def test_an_episode_is_stepped_through(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = iter(["", "b", "q"])
    monkeypatch.setattr("builtins.input", lambda question: next(keys))
    assert main(["replay", str(run), "--episode", "hard-0010", "--steps"]) == 0
    out = capsys.readouterr().out
    assert [line[:10] for line in out.splitlines() if line.startswith("--- turn")] == [
        "--- turn 0", "--- turn 1", "--- turn 0",
    ]  # fmt: skip
    assert "score reward" not in out

    def closed(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    assert main(["replay", str(run), "--episode", "hard-0010", "--steps"]) == 0
    assert "score reward" in capsys.readouterr().out


def test_failures_are_exported(run: Path, tmp_path: Path) -> None:
    def lines(kind: str) -> list[dict[str, Any]]:
        out = tmp_path / f"{kind}.jsonl"
        main(["replay", str(run), "--export", kind, "--out", str(out)])
        return [json.loads(line) for line in out.read_text().splitlines()]

    assert [line["id"] for line in lines("tasks")] == ["hard"]
    assert lines("sft") == lines("dpo") == []
    with RunStore.open(run) as store:
        other = episode("hard", 77, 1.0)
        other.turns[0].observations.append(Message("user", "psst", hint=True))
        store.add_episodes(3, "train", [other])
    (pair,) = lines("dpo")
    assert [m["role"] for m in pair["prompt"]] == ["user"]
    assert pair["chosen"][0]["tool_calls"][0]["function"]["name"] == "view"
    assert [m["role"] for m in pair["rejected"]] == ["assistant", "tool"] * 2
    (shown,) = lines("sft")
    assert [m["role"] for m in shown["messages"]] == ["user", *["assistant", "tool"] * 2]
    assert "psst" not in json.dumps(shown)


def test_replay_shows_the_episodes_of_a_task(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run), "--task", "hard", "--step", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["hard-0010", "1", "train", "completed", "0.000", "2", "0"]
    assert lines[2].startswith("hard-0011")
    assert main(["replay", str(run), "--task", "hard", "--show"]) == 0
    assert capsys.readouterr().out.count("--- verdict") == 4


def test_replay_shows_an_episode_turn_by_turn(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(run), "--episode", "easy"]) == 0
    out = capsys.readouterr().out
    for part in (
        "=== easy   episode easy-0001, completed, reward 1.000",
        "--- user\nrepair easy",
        "--- turn 0: 5 tokens\nI look at it.\n    > view(path='a.py')\n    < line 0\n      line 1",
        "[... 70 lines not shown, --full shows them ...]",
        "broken \\ud800",
        "    < [raised] no such file",
        "resolved: true",
        "diff:\n  --- a\n  +++ b",
        "score reward: 1.000",
        "    tests: yes  1 of 2 pass",
    ):
        assert part in out, part
    assert out.count("line 5\n") == 1
    assert main(["replay", str(run), "--episode", "easy", "--full"]) == 0
    assert "line 50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--episode", "hard"], "4 episodes have an id that starts with 'hard'"),
        (["--episode", "zzz"], "no episode 'zzz'"),
        (["--task", "zzz"], "no episode of task 'zzz'"),
        (["--task", "hard", "--step", "9"], "no episode of task 'hard' at step 9"),
        (["--again", "2"], "--again N needs to know what to try"),
    ],
)
def test_replay_of_what_is_not_there(
    run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(run), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_output_cut_off_by_head_is_no_error(run: Path) -> None:
    command = f"{sys.executable} -m agentrl.cli replay {run} --task hard --show --full | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("=== hard")
    assert done.stderr == ""
    assert done.returncode == 0


def test_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["papers", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 74
    assert lines[-1].startswith("72 papers, ")
    assert main(["papers", "show", "gra"]) == 0
    assert "Gated Reward Accumulation" in capsys.readouterr().out
    assert main(["papers", "show", "grra"]) == 2
    assert "did you mean 'gra'?" in capsys.readouterr().err


LOOP = """
import sys, types, time, asyncio
from agentrl.store import RunStore
import agentrl.training
loop = types.ModuleType("agentrl.training.loop")
def train(config, *, resume, progress):
    progress.begin("test", steps=9)
    with RunStore.create(config.run.dir, config.plain()) as store:
        if {checkpoint}:
            store.save_checkpoint(7, {{}}, {{}})
        async def forever():
            try:
                print("ready", flush=True)
                await asyncio.sleep(60)
            finally:
                print("cleaned up", flush=True)
        asyncio.run(forever())
loop.train = train
sys.modules["agentrl.training.loop"] = loop
from agentrl.cli import main
sys.exit(main(["train", {file!r}, "run.dir={run}"]))
"""

RUN_FILE = """
model: tiny
environment: {kind: swe}
tasks: {train: tasks.jsonl}
reward: {kind: tests_pass}
"""


def deaf_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("sent", "checkpoint", "background"),
    [
        (signal.SIGINT, True, False),
        (signal.SIGINT, False, False),
        (signal.SIGTERM, True, False),
        (signal.SIGTERM, True, True),
    ],
)
def test_interrupted_says_what_was_saved_and_how_to_go_on(
    tmp_path: Path, sent: signal.Signals, checkpoint: bool, background: bool
) -> None:
    (tmp_path / "run.yaml").write_text(RUN_FILE)
    program = LOOP.format(
        checkpoint=checkpoint, file=str(tmp_path / "run.yaml"), run=tmp_path / "r"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=deaf_to_ctrl_c if background else None,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert out == "cleaned up\n"
    assert process.returncode == 130
    assert "Traceback" not in err
    if checkpoint:
        assert f"everything up to step 7 is saved in {tmp_path / 'r'}" in err
        assert f"agentrl train {tmp_path / 'r'} --resume" in err
    else:
        assert f"no step of {tmp_path / 'r'} was finished" in err
        assert "start over with: agentrl train" in err


def test_the_docs_show_commands_that_exist() -> None:
    text = (Path(__file__).parents[2] / "docs/cli.md").read_text("utf-8")
    shown = [
        shlex.split(line, comments=True) for line in text.splitlines() if line[:8] == "agentrl "
    ]
    assert len(shown) > 15
    for words in shown:
        parse(words[1:])
