"""The demo's parts: the scripted agent, and the policy that is made from its episodes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentrl.core import Episode, Message, Score, Status, Task, Turn
from agentrl.core.taskfile import write_tasks
from agentrl.episodes import dialect
from agentrl.guidance import Ask
from agentrl.models import load_policy
from agentrl.sandboxes import ProcessPool
from agentrl.store import RunStore
from agentrl.tools import Editor, ToolError
from examples.repair.agent import REPAIRS, Habits, edits, fault, mediocre
from examples.repair.exercises import make_exercises, make_told
from examples.repair.hardest import Hardest
from examples.repair.hints import Fault, is_operator
from examples.repair.policy import make_policy
from examples.stages import make_speechless_policy

VIEW = """calc.py
1|def clamp(x: int, low: int, high: int) -> int:
2|    \"\"\"Between low and high; x - low is ignored.
5|    for step in range(high - low):
6|        if x <= step and x is not None:
7|            return x + 1
8|    return x + high"""


def play(
    replies: dict[str, str], seed: int, habits: Habits | None = None, careful: float = 0.25
) -> list[str]:
    """What the script says when every message beginning with a key is answered by its value."""
    script = mediocre(seed, habits, careful)
    next(script)
    said, heard = [], "the issue"
    while True:
        try:
            said.append(script.send(heard))
        except StopIteration:
            return said
        heard = next((text for start, text in replies.items() if said[-1].startswith(start)), "")


def test_edits_are_what_stands_once_in_a_line_of_code():
    assert edits(VIEW) == {
        ("-", "+"): [5],
        ("<=", ">="): [6],
        ("and", "or"): [6],
        ("is not", "is"): [6],
        ("+", "-"): [7, 8],
    }


def test_an_edit_offers_every_operator_that_may_have_stood_there():
    assert edits("3|    return n // 2 << 1") == {
        ("//", "*"): [3],
        ("//", "%"): [3],
        ("<<", ">>"): [3],
    }


async def test_exercises_are_answered_as_the_editor_would_take_it():
    """Every call of an answer applies to the rows shown, or names the lines as the editor does."""
    pool = ProcessPool(size=1)
    try:
        sandbox = await pool.acquire()
        for exercise in make_exercises(60, seed=1, folder=Path(__file__).parents[2] / "agentrl"):
            view, *said = _conversation(exercise)
            rows = [r.split("|", 1) for r in view.observations[0].content.split("\n")]
            first = int(rows[0][0])
            code = "\n" * (first - 1) + "\n".join(code for _, code in rows) + "\n"
            await sandbox.write("repo/lines.txt", code)
            editor = Editor(sandbox, "repo")
            await editor.view("lines.txt")
            editor._shown = [int(number) for number, _ in rows]  # what a view of them would show
            for turn in said:
                assert await _answers(editor, turn), turn.text + view.observations[0].content
    finally:
        await pool.close()


def _conversation(exercise: Episode) -> list[Turn]:
    """What was said, whether it is to be imitated or only read."""
    none = np.zeros(0, np.float32)
    read = zip(exercise.prompt[1::2], exercise.prompt[2::2], strict=True)
    return [
        *(Turn(none, none, said.content, observations=[answer]) for said, answer in read),
        *exercise.turns,
    ]


async def _answers(editor: Editor, turn: Turn) -> bool:
    """Whether the editor does with each call of a message what the exercise says that it does."""
    answer = turn.observations[0].content
    for call in dialect("pythonic").parse(turn.text):
        try:
            shown = await editor.edit(**call.arguments)
        except ToolError as error:
            if answer:
                return answer == f"error: {error}"
            if "give the line" not in str(error):
                return False
        else:
            if answer and shown.split("\n")[0] != answer:
                return False
            await editor.undo()
    return True


def test_exercises_are_the_same_for_a_seed():
    folder = Path(__file__).parents[2] / "agentrl" / "core"
    once, again, other = (
        [[t.text for t in e.turns] for e in make_exercises(40, seed, folder)] for seed in (3, 3, 4)
    )
    assert once == again
    assert once != other


def test_the_script_is_the_same_for_a_seed_and_ends_by_submitting():
    replies = {"[view": VIEW, "[run_tests": "1 failed, 3 passed"}
    for seed in range(30):
        said = play(replies, seed)
        assert said == play(replies, seed)
        assert said[-1] == "[submit()]"
        assert "[view()]" in said[:2]


def test_the_script_submits_once_the_tests_pass():
    replies = {"[view": VIEW, "[run_tests": "4 passed", "[edit": "5|    changed"}
    habits = Habits(tries_nothing=0.0, submits_untested=0.0, gives_up=0.0)
    for seed in range(10):
        said = play(replies, seed, habits, careful=0.0)
        assert [text[:5] for text in said] == ["[view", "[edit", "[run_", "[subm"]


def test_the_script_mostly_tries_nothing_on_a_hasty_day():
    replies = {"[view": VIEW, "[run_tests": "1 failed"}
    said = [play(replies, seed, careful=0.0) for seed in range(100)]
    assert 60 <= said.count(["[view()]", "[submit()]"]) <= 90


def test_an_exercise_goes_on_with_another_edit_when_one_was_refused():
    exercises = make_exercises(40, 2, Path(__file__).parents[2] / "agentrl" / "core")
    refused = [e for e in exercises if len(e.prompt) > 1]
    assert len(refused) == 10
    for exercise in refused:
        read = [m.content for m in exercise.prompt if m.role == "assistant"]
        assert len(read) > 1
        assert exercise.turns[0].text not in read


def test_the_script_names_a_line_when_it_is_asked_for_one():
    replies = {"[view": VIEW, '[edit(old="+", new="-")]': "error: give the line"}
    said = [play(replies, seed) for seed in range(40)]
    assert any('[edit(old="+", new="-", line=8)]' in episode for episode in said)


def test_an_operator_is_one_token_wherever_it_stands(tmp_path):
    """Else the policy would have to learn each spelling of what it only has to repeat."""
    none = np.zeros(0, np.float32)
    turns = [
        Turn(none, none, text, observations=[Message("tool", VIEW)])
        for text in ("[view()]", '[edit(old="<=", new=">=")]', "[undo()]")
    ]
    episode = Episode(Task("t", "p"), prompt=[Message("user", "`clamp` fails")], turns=turns)
    size = make_policy([episode] * 4, tmp_path / "policy", seed=0)
    policy = load_policy(tmp_path / "policy")
    assert size == sum(p.numel() for p in policy.model.parameters())
    encode = policy.tokenizer.encode_plain
    for operator in REPAIRS:
        inside = encode(f"    if a {operator} b:")
        called = encode(f'[edit(old="{operator}", new="x")]')
        alone = encode(operator)
        for ids in (inside, called):
            assert any(ids[i : i + len(alone)] == alone for i in range(len(ids))), operator
    assert policy.tokenizer.decode(encode(VIEW)) == VIEW


def test_the_throw_away_tokenizer_spells_everything(tmp_path):
    make_speechless_policy(tmp_path / "bytes")
    tokenizer = load_policy(tmp_path / "bytes").tokenizer
    assert tokenizer.decode(tokenizer.encode_plain("é <|end|> 12\n")) == "é <|end|> 12\n"


def test_a_careful_day_begins_with_the_tests_and_tries_every_edit_once():
    replies = {"[view": VIEW, "[run_tests": "1 failed", "[edit": "5|    changed"}
    said = play(replies, 0, careful=1.0)
    tried = [text for text in said if text.startswith("[edit")]
    assert said[0] == "[run_tests()]"
    assert len(tried) == 6, "five edits, one of them on two lines"
    assert [text[:5] for text in said].count("[undo") == len(tried)
    assert said[-1] == "[submit()]"


def test_a_task_is_in_reach_when_one_edit_of_the_script_is_its_repair():
    def patch(bad: str, good: str) -> str:
        return f"--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def f(n):\n-{bad}\n+{good}\n"

    found = fault(patch("    return n < 1", "    return n > 1"))
    assert found == ("    return n < 1", "<", ">")
    assert fault(patch("    if a is not None:", "    if a is None:"))
    assert not fault(patch("    return n < 1", "    return n <= 1"))
    assert not fault(patch("    return a & b & c", "    return a | b & c"))
    assert not fault(patch("    return 1", "    return -1"))


async def test_the_hints_name_what_is_wrong_and_not_what_is_right():
    patch = "--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-    return n < 1\n+    return n > 1\n"
    ask = Ask(Task("t", "p", reference={"gold_patch": patch}), seed=0)
    hints = [await Fault().hint(ask, level) for level in (1, 2)]
    assert hints == ["the fault is in `return n < 1`.", "the fault is `<`."]
    assert await Fault().hint(Ask(Task("t", "p"), seed=0), 1) is None


def test_a_told_exercise_is_answered_by_the_edit_that_its_hint_is_about():
    told = make_told(40, 2, Path(__file__).parents[2] / "agentrl" / "core")
    for exercise in told:
        (hint,) = (m.content for m in exercise.prompt if m.hint)
        (turn,) = exercise.turns
        old = turn.text.partition('old="')[2].partition('"')[0]
        assert old in hint
        assert hint.startswith(("Hint: the fault is in `", f"Hint: {is_operator(old)}"))
    assert len({e.turns[0].text for e in told}) > 5


def test_the_hardest_third_is_what_was_solved_least_when_last_tried(tmp_path):
    tasks = [Task(f"t{n}", "repair") for n in range(7)]
    solved = {"t0": [1, 1], "t1": [0, 0], "t2": [0, 1], "t3": [1, 0], "t4": [0, 0], "t5": [1, 1]}
    write_tasks(tmp_path / "tasks.jsonl", tasks)
    with RunStore.create(tmp_path / "run", {}) as store:
        for step in (1, 2):
            # Before they were tried last, all of it was the other way round.
            episodes = [
                Episode(
                    task,
                    id=f"{task.id}-{step}-{n}",
                    status=Status.COMPLETED,
                    scores={"reward": Score(float(right == (step == 2)))},
                )
                for task in tasks[:6]
                for n, right in enumerate(solved[task.id])
            ]
            store.add_episodes(step, "train", episodes)
    options = argparse.Namespace(dir=tmp_path / "out", demo=tmp_path, seed=0, overrides=[])
    # t6 was never tried, and nobody knows how hard it is.
    assert [task.id for task in Hardest(options).hardest()] == ["t1", "t4"]
