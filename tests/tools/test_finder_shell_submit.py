import pytest

from agentrl.tools import Finder, Shell, Submit


@pytest.fixture
def finder(sandbox, root) -> Finder:
    return Finder(sandbox, str(root))


async def test_files_are_listed_in_order_without_what_is_no_source(call, finder, root):
    for folder in (".git", "calc/__pycache__"):
        (root / folder).mkdir()
        (root / folder / "x.py").write_text("clamp")
    every = (await call(finder, "list_files")).text.splitlines()
    assert every == sorted(every)
    assert "calc/numbers.py" in every
    assert not [path for path in every if "__pycache__" in path or ".git" in path]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("stack", "calc/stack.py\ntests/test_stack.py"),
        ("test_*.py", "tests/test_numbers.py\ntests/test_stack.py"),
        ("calc/*", "calc/__init__.py\ncalc/numbers.py\ncalc/stack.py"),
        ("nothing", "no such file"),
        ("[", "no such file"),
    ],
)
async def test_patterns(call, finder, pattern, expected):
    assert (await call(finder, "list_files", pattern=pattern)).text == expected


async def test_search_takes_text_literally(call, finder, root):
    assert (await call(finder, "search", text="clamp(")).text == (
        "calc/numbers.py:4: def clamp(x, low, high):\n"
        "tests/test_numbers.py:4: def test_clamp():\n"
        "tests/test_numbers.py:5: assert clamp(2, 0, 3) == 2\n"
        "tests/test_numbers.py:9: assert clamp(5, 0, 3) == 3"
    )
    for text in (".*", "'; touch hacked; '", "-e", "$(touch hacked)"):
        assert (await call(finder, "search", text=text)).text == "not found"
    assert not (root / "hacked").exists()
    assert (await call(finder, "search", text="a\nb")).text == "error: give a text of one line"


async def test_more_rows_than_fit_are_counted(call, sandbox, root):
    finder = Finder(sandbox, str(root), max_rows=2)
    (root / "many.txt").write_text("needle\n" * 5 + "needle " + "x" * 500 + "\n")
    text = (await call(finder, "search", text="needle")).text
    assert text == "many.txt:1: needle\nmany.txt:2: needle\n[4 more]"
    finder.max_rows = 9
    last = (await call(finder, "search", text="needle")).text.splitlines()[-1]
    assert last.endswith(" ...")
    assert len(last) == 200
    (root / "flood.txt").write_text("needle needle needle\n" * 50_000)
    text = (await call(finder, "search", text="needle")).text
    assert "or more more]" not in text
    assert text.splitlines()[-1].startswith("[at least ")


async def test_shell_shows_output_and_exit_code(call, sandbox, root):
    shell = Shell(sandbox, str(root))
    assert (await call(shell, "shell", command="cat calc/__init__.py; pwd")).text == str(root)
    assert (await call(shell, "shell", command="true")).text == "(no output)"
    failed = await call(shell, "shell", command="echo a; echo b >&2; exit 3")
    assert failed.text == "a\nb\n[exit code 3]"
    assert failed.ok


async def test_a_hanging_command_is_stopped_at_its_deadline(call, sandbox, root):
    shell = Shell(sandbox, str(root), timeout=0.5)
    result = await call(shell, "shell", command="echo begun; sleep 30 & sleep 30")
    assert result.text == "begun\nerror: stopped after its deadline of 0.5 s"
    assert result.error == "deadline"
    assert result.seconds < 5


async def test_a_hundred_megabytes_printed_are_clipped_in_bounded_memory(call, sandbox, root):
    shell = Shell(sandbox, str(root), max_output=1000)
    result = await call(shell, "shell", command="head -c 100000000 /dev/zero | tr '\\0' x")
    assert len(result.text) < 1200
    assert "characters cut ...]" in result.text
    assert result.text.endswith("[... more output was thrown away ...]")


async def test_submit_tells_its_environment(call):
    told = []
    assert (await call(Submit(lambda: told.append(1)), "submit")).text == "submitted"
    assert told == [1]
