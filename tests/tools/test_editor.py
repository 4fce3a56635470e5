import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.tools import Editor, source
from agentrl.tools.files import bytes_of, text_of


@pytest.fixture
def editor(sandbox, root) -> Editor:
    return Editor(sandbox, str(root))


CLAMP = """\
calc/numbers.py
4|def clamp(x, low, high):
5|    if x <= low:
6|        return low
7|    if x > high:
8|        return low
9|    return x"""


@pytest.mark.parametrize(
    "target", ["clamp", "numbers.clamp", "calc.numbers.clamp", "calc/numbers.py:8"]
)
async def test_view_shows_the_function_however_it_is_named(call, editor, target):
    assert (await call(editor, "view", target=target)).text == CLAMP
    assert editor.open == "calc/numbers.py"


async def test_view_takes_a_line_absolute_paths_and_a_line_of_grep(call, editor, root):
    assert (await call(editor, "view", target="calc/numbers.py", line=5)).text == CLAMP
    assert (await call(editor, "view", target=f"{root}/calc/numbers.py:4")).text == CLAMP
    hit = "calc/numbers.py:7: if x > high:"
    assert (await call(editor, "view", target=hit)).text == CLAMP


async def test_view_finds_methods_and_lists_what_has_one_name_twice(call, editor):
    result = await call(editor, "view", target="Stack.push")
    assert result.text.splitlines()[:2] == ["calc/stack.py", "5|    def push(self, item):"]
    result = await call(editor, "view", target="push")
    assert result.text.splitlines() == [
        "2 definitions",
        "calc/stack.py:5: Stack.push",
        "calc/stack.py:15: Queue.push",
    ]
    decorated = await call(editor, "view", target="Stack.size")
    assert decorated.text.splitlines()[1] == "9|    @property"


async def test_tests_do_not_hide_the_code_they_test(call, editor, root):
    (root / "tests" / "test_x.py").write_text("def clamp():\n    pass\n")
    assert (await call(editor, "view", target="clamp")).text == CLAMP


async def test_view_of_a_long_file_is_an_outline_and_of_a_long_function_a_window(
    call, editor, root
):
    body = "".join(f"    x = {i}\n" for i in range(200))
    (root / "long.py").write_text(f"class A:\n    def m(self):\n        pass\n\ndef f():\n{body}")
    outline = (await call(editor, "view", target="long.py")).text
    assert outline == "long.py (205 lines)\n1|class A:\n2|    def m(self):\n5|def f():"
    window = (await call(editor, "view", target="long.py:100")).text.splitlines()
    assert "100|    x = 94" in window
    assert len(window) < 50
    by_name = (await call(editor, "view", target="f")).text.splitlines()
    assert by_name[1] == "5|def f():"
    assert by_name[-1] == "[141 more lines, from 65]"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nope", "no file, function or class is called nope"),
        ("no/such.py", "no such file: no/such.py"),
        ("calc", "calc is a folder"),
        ("../etc/passwd", "../etc/passwd is outside the repository"),
        ("/etc/passwd", "/etc/passwd is outside the repository"),
        ("", "give a target: a path, or the name of a function or class"),
        ("calc/numbers.py:99", "calc/numbers.py has 13 lines, no line 99"),
        ("calc/__init__.py:1", None),
        ("data.bin", "data.bin is not a text file"),
    ],
)
async def test_view_says_why_not(call, editor, root, target, message):
    (root / "data.bin").write_bytes(b"\0\1")
    result = await call(editor, "view", target=target)
    assert result.text == (f"error: {message}" if message else "calc/__init__.py is empty")


@pytest.mark.parametrize(
    ("line", "old", "new", "answer"),
    [
        (5, "<=", "<", "5|    if x < low:"),
        (5, "x", "y", "5|    if y <= low:"),
        (5, "low", "high", "5|    if x <= high:"),
        (5, "x <= low", "low > x", "5|    if low > x:"),
        (5, "lo", "hi", "5|    if x <= hiw:"),
        (8, "low", "high", "8|        return high"),
        (9, "return x", "", "9|    "),
    ],
)
async def test_edit_changes_the_one_place_that_is_meant(call, editor, root, line, old, new, answer):
    before = (root / "calc/numbers.py").read_text().splitlines()
    await call(editor, "view", target="clamp")
    result = await call(editor, "edit", line=line, old=old, new=new)
    assert result.text.splitlines()[0] == answer
    after = (root / "calc/numbers.py").read_text().splitlines()
    assert after[line - 1] == answer.partition("|")[2]
    assert [a for i, a in enumerate(after) if i != line - 1] == [
        b for i, b in enumerate(before) if i != line - 1
    ]


async def test_a_refused_edit_without_a_line_shows_again_what_it_could_have_meant(call, editor):
    _, *rows = (await call(editor, "view", target="clamp")).text.splitlines()
    absent = await call(editor, "edit", old="%", new="//")
    assert absent.text.splitlines() == ["error: '%' is not in the lines shown", *rows]
    several = (await call(editor, "edit", old="low", new="high")).text.splitlines()
    having = [row for row in rows if row.count("low") == 1]
    lines = ", ".join(row.partition("|")[0] for row in having)
    assert several == [f"error: 'low' is once on lines {lines}: give the line", *having]


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (5, "+", "-", "'+' is not in line 5\n5|    if x <= low:"),
        (4, "h", "x", "'h' is 2 times in line 4\n4|def clamp(x, low, high):"),
        (5, "", "x", "old is empty"),
        (5, "x", "x", "old and new are the same"),
        (0, "x", "y", "calc/numbers.py has 13 lines, no line 0"),
        (14, "x", "y", "calc/numbers.py has 13 lines, no line 14"),
    ],
)
async def test_edit_refuses_and_shows_the_line(call, editor, root, line, old, new, message):
    before = (root / "calc/numbers.py").read_bytes()
    result = await call(editor, "edit", line=line, old=old, new=new, path="calc/numbers.py")
    assert result.text == f"error: {message}"
    assert result.error == "refused"
    assert (root / "calc/numbers.py").read_bytes() == before


async def test_edit_without_an_open_file(call, editor):
    result = await call(editor, "edit", line=1, old="a", new="b")
    assert result.text == "error: no file is open; view one first, or give a path"


async def test_a_change_that_breaks_the_syntax_is_warned_of_once(call, editor):
    await call(editor, "view", target="clamp")
    broken = await call(editor, "edit", line=5, old=":", new="")
    assert broken.text == "5|    if x <= low\nwarning: no longer parses, line 5: expected ':'"
    again = await call(editor, "edit", line=7, old="x", new="y")
    assert again.text == "7|    if y > high:"


async def test_undo_takes_back_every_change_in_turn(call, editor, root):
    path = root / "calc/numbers.py"
    states = [path.read_bytes()]
    await call(editor, "view", target="clamp")
    await call(editor, "edit", line=5, old="<=", new="<")
    states.append(path.read_bytes())
    await call(editor, "replace_lines", first=7, last=8, text="    # gone")
    states.append(path.read_bytes())
    await call(editor, "create", path="calc/new.py", text="x = 1\n")
    assert (root / "calc/new.py").read_text() == "x = 1\n"

    assert (await call(editor, "undo")).text == "removed calc/new.py"
    assert not (root / "calc/new.py").exists()
    assert path.read_bytes() == states[2]
    assert (await call(editor, "undo")).text == "7|    if x > high:"
    assert path.read_bytes() == states[1]
    assert (await call(editor, "undo")).text == "5|    if x <= low:"
    assert path.read_bytes() == states[0]
    assert (await call(editor, "undo")).text == "error: nothing to undo"


async def test_undo_does_not_destroy_what_somebody_else_wrote(call, editor, root):
    path = root / "calc/numbers.py"
    await call(editor, "edit", line=5, old="<=", new="<", path="calc/numbers.py")
    path.write_text("rewritten\n")
    result = await call(editor, "undo")
    assert "was changed by something else" in result.text
    assert path.read_text() == "rewritten\n"


@pytest.mark.parametrize(
    ("first", "last", "text", "expected"),
    [
        (1, 1, "A", "A\nb\nc\n"),
        (2, 3, "B\nC\nD\n", "a\nB\nC\nD\n"),
        (2, 2, "", "a\nc\n"),
        (1, 0, "top", "top\na\nb\nc\n"),
        (4, 3, "end", "a\nb\nc\nend\n"),
    ],
)
async def test_replace_lines_replaces_deletes_and_inserts(
    call, editor, root, first, last, text, expected
):
    (root / "t.txt").write_text("a\nb\nc\n")
    await call(editor, "replace_lines", first=first, last=last, text=text, path="t.txt")
    assert (root / "t.txt").read_text() == expected


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 9), (5, 5), (3, 1)])
async def test_replace_lines_out_of_range_changes_nothing(call, editor, root, first, last):
    (root / "t.txt").write_text("a\nb\nc\n")
    result = await call(editor, "replace_lines", first=first, last=last, text="", path="t.txt")
    assert result.error == "refused"
    assert (root / "t.txt").read_text() == "a\nb\nc\n"


async def test_create_does_not_overwrite(call, editor, root):
    result = await call(editor, "create", path="calc/numbers.py", text="")
    assert result.text.startswith("error: calc/numbers.py exists")
    outside = await call(editor, "create", path="../x.py", text="")
    assert outside.text == "error: ../x.py is outside the repository"


async def test_windows_line_ends_and_foreign_bytes_survive(call, editor, root):
    (root / "w.txt").write_bytes(b"a = 1\r\nb = '\xff'\r\n")
    assert (await call(editor, "edit", line=1, old="1", new="2", path="w.txt")).text == "1|a = 2"
    await call(editor, "replace_lines", first=1, last=1, text="a = 3\nc = 4", path="w.txt")
    assert (root / "w.txt").read_bytes() == b"a = 3\r\nc = 4\r\nb = '\xff'\r\n"


async def test_a_repository_that_is_gone_is_told(call, editor, root):
    shutil.rmtree(root / "calc")
    assert (await call(editor, "view", target="clamp")).text.startswith("error: no file, function")


@given(st.text("ab<=>+-*/ .1e_xf('\"", max_size=30), st.data())
def test_a_token_match_never_splits_a_token(line, data):
    start = data.draw(st.integers(0, max(len(line) - 1, 0)))
    old = line[start : data.draw(st.integers(start, len(line)))]
    if not old:
        return
    tokens = source._TOKEN.findall(line)
    assert "".join(tokens) == line
    for at in source.token_matches(line, old):
        assert line[at : at + len(old)] == old
        assert line[:at] == "" or line[:at] in ["".join(tokens[:i]) for i in range(len(tokens))]


@given(st.binary(max_size=200))
def test_bytes_survive_a_round_trip(data):
    if b"\0" not in data:
        assert bytes_of(text_of(data, "x")) == data
