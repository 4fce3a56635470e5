"""The tools of published scaffolds: their names, their arguments, and how they answer."""

import pytest

from agentrl.core import ConfigError, ToolCall
from agentrl.tools import PRESETS, ReplaceEditor, preset, run_calls

NAMES = {
    "mini-swe-agent": {"bash": ["command"]},
    "swe-agent": {
        "bash": ["command", "restart"],
        "str_replace_editor": [
            "command", "path", "file_text", "old_str", "new_str", "insert_line", "view_range",
        ],
        "submit": [],
    },
    "openhands": {
        "execute_bash": ["command", "is_input"],
        "think": ["thought"],
        "finish": ["message"],
        "str_replace_editor": [
            "command", "path", "file_text", "old_str", "new_str", "insert_line", "view_range",
        ],
    },
}  # fmt: skip


@pytest.fixture
def tools(sandbox, root):
    told = []

    def of(name):
        found = preset(name, sandbox, str(root), lambda: told.append(name))

        async def run(tool, **arguments):
            return (await run_calls(found, [ToolCall(tool, arguments)]))[0]

        return run, told

    return of


@pytest.mark.parametrize("name", PRESETS)
def test_names_and_arguments_are_those_of_the_scaffold(name, sandbox, root):
    found = preset(name, sandbox, str(root), lambda: None)
    assert {t: list(found[t].parameters["properties"]) for t in found} == NAMES[name]


def test_an_unknown_preset_names_those_there_are(sandbox, root):
    with pytest.raises(ConfigError, match="'sweagent'") as caught:
        preset("sweagent", sandbox, str(root), lambda: None)
    assert "swe-agent" in caught.value.fix


async def test_mini_swe_agent_answers_and_submits_in_its_way(tools, root):
    run, told = tools("mini-swe-agent")
    await run("bash", command="cd /; export X=1")
    result = await run("bash", command='echo "[$X]"; pwd; exit 3')
    assert result.text == f"<returncode>3</returncode>\n<output>\n[]\n{root}\n</output>"
    await run("bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; exit 1")
    await run("bash", command="echo first; echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
    assert told == []
    done = await run("bash", command="echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && echo patch")
    assert (done.text, told) == ("patch\n", ["mini-swe-agent"])


async def test_openhands_keeps_state_thinks_and_finishes(tools, root):
    run, told = tools("openhands")
    await run("execute_bash", command="cd calc; X=1")
    assert (await run("execute_bash", command="echo $X; pwd")).text == f"1\n{root}/calc"
    assert "deadline" in (await run("execute_bash", command="C-c", is_input="true")).text
    assert (await run("think", thought="hm")).text == "noted"
    assert (await run("finish", message="all done")).text == "submitted"
    assert told == ["openhands"]


async def test_swe_agent_submits(tools):
    run, told = tools("swe-agent")
    await run("submit")
    assert told == ["swe-agent"]


@pytest.fixture
def edit(call, sandbox, root):
    editor = ReplaceEditor(sandbox, str(root))

    async def run(command, path, **arguments):
        return (
            await call(editor, "str_replace_editor", command=command, path=path, **arguments)
        ).text

    return run


async def test_view_numbers_lines_and_lists_folders(edit, root):
    assert (await edit("view", "calc/stack.py", view_range=[5, 6])) == (
        "calc/stack.py\n     5\t    def push(self, item):\n     6\t        self.items.append(item)"
    )
    assert (await edit("view", f"{root}/calc/stack.py", view_range=[16, -1])).endswith("pass")
    assert (await edit("view", ".")).splitlines() == [
        "calc/", "calc/__init__.py", "calc/numbers.py", "calc/stack.py",
        "tests/", "tests/test_numbers.py", "tests/test_stack.py",
    ]  # fmt: skip
    (root / "calc/long.txt").write_text("x\n" * 1000)
    assert "[600 more lines" in await edit("view", "calc/long.txt")


async def test_replace_insert_create_and_undo(edit, root):
    path = root / "calc/numbers.py"
    before = path.read_text()
    said = await edit(
        "str_replace", "calc/numbers.py", old_str="    if x <= low:\n", new_str="    if x < low:\n"
    )
    assert "     5\t    if x < low:" in said
    assert path.read_text() == before.replace("<= low", "< low")
    said = await edit("insert", "calc/numbers.py", insert_line=0, new_str="# top")
    assert path.read_text().startswith('# top\n"""Numbers."""\n')
    await edit("undo_edit", "calc/numbers.py")
    await edit("undo_edit", "calc/numbers.py")
    assert path.read_text() == before
    assert await edit("create", "new/deep.py", file_text="x = 1\n") == "created new/deep.py"
    assert (root / "new/deep.py").read_text() == "x = 1\n"
    await edit("undo_edit", "new/deep.py")
    assert not (root / "new/deep.py").exists()


WRONG = {
    "no such file": ("view", "clac/numbers.py", {}, "is it calc/numbers.py?"),
    "only the name": ("view", "numbers.py", {}, "is it calc/numbers.py?"),
    "outside": ("view", "../x", {}, "outside the repository"),
    "exists": ("create", "calc/stack.py", {"file_text": ""}, "exists; change it with str_replace"),
    "argument missing": ("create", "a.py", {}, "create needs file_text"),
    "text missing": ("str_replace", "calc/stack.py", {"new_str": "x"}, "needs old_str"),
    "not there": (
        "str_replace", "calc/numbers.py", {"old_str": "if y <= low:", "new_str": "x"},
        "the most similar line is\n     5\t    if x <= low:",
    ),
    "indentation": (
        "str_replace", "calc/numbers.py",
        {"old_str": "if x <= low:\n    return low", "new_str": "x"},
        "only with other white space, at line 5:\n     5\t    if x <= low:\n     6\t",
    ),
    "twice": (
        "str_replace", "calc/numbers.py", {"old_str": "return low", "new_str": "x"},
        "more than once, at lines 6, 8",
    ),
    "same": ("str_replace", "calc/stack.py", {"old_str": "self", "new_str": "self"}, "the same"),
    "line": ("insert", "calc/stack.py", {"insert_line": 99, "new_str": "x"}, "0 (before all)"),
    "range": ("view", "calc/stack.py", {"view_range": [50, 60]}, "has 16 lines"),
    "half a range": ("view", "calc/stack.py", {"view_range": [5]}, "two numbers"),
    "undo": ("undo_edit", "calc/stack.py", {}, "no change of calc/stack.py"),
    "command": ("edit", "calc/stack.py", {}, "bad arguments"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "path", "arguments", "words"), WRONG.values(), ids=WRONG.keys()
)
async def test_small_errors_are_told_with_the_way_out(edit, root, command, path, arguments, words):
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    said = await edit(command, path, **arguments)
    assert said.startswith("error: ")
    assert words in said
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


async def test_line_numbers_that_were_copied_along_do_no_harm(edit, root):
    said = await edit(
        "str_replace",
        "calc/numbers.py",
        old_str="     5\t    if x <= low:\n     6\t        return low",
        new_str="     5\t    if x < low:\n     6\t        return low",
    )
    assert "     5\t    if x < low:\n     6\t        return low" in said
    assert "5\t" not in (root / "calc/numbers.py").read_text()


async def test_a_change_that_breaks_the_syntax_is_told(edit):
    said = await edit(
        "str_replace", "calc/numbers.py", old_str="    return x\n", new_str="    return (\n"
    )
    assert "warning: no longer parses, line 9" in said
