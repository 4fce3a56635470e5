import sys

import pytest

from agentrl.tools import PytestRunner


@pytest.fixture
async def runner(sandbox, root):
    made = PytestRunner(sandbox, str(root), python=sys.executable)
    yield made
    await made.close()


ALL = """\
2 failed, 2 passed, 2 skipped
tests/test_numbers.py::test_clamp_high
tests/test_numbers.py:9| assert clamp(5, 0, 3) == 3
E assert 0 == 3
E +  where 0 = clamp(5, 0, 3)
tests/test_numbers.py::test_div
tests/test_numbers.py:13| assert div(1, 0) == 0
calc/numbers.py:13| return a / b
E ZeroDivisionError: division by zero"""


async def test_the_answer_is_compact_and_the_same_every_time(call, runner):
    assert (await call(runner, "run_tests")).text == ALL
    assert (await call(runner, "run_tests")).text == ALL
    assert runner.last.counts["failed"] == 2


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("tests/test_stack.py", "1 passed, 2 skipped"),
        ("tests/test_numbers.py::test_clamp", "1 passed"),
        ("test_div", "1 failed"),
        ("clamp and not high", "1 passed"),
        ("tests", "2 failed, 2 passed, 2 skipped"),
        ("nothing_called_this", "no tests ran"),
    ],
)
async def test_targets_are_files_ids_or_names(call, runner, target, first):
    assert (await call(runner, "run_tests", target=target)).text.splitlines()[0] == first


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "tests/none.py",
            "no tests ran\nerror: ERROR: file or directory not found: ./tests/none.py",
        ),
        ("../x.py", "error: ../x.py is outside the repository"),
        ("-p evil", "error: '-p evil' is not a file, a test id or a test name"),
        ("a; rm -rf x", "error: 'a; rm -rf x' is not a file, a test id or a test name"),
        ("--pdb", "error: '--pdb' is not a file, a test id or a test name"),
        ("-x.py", "no tests ran\nerror: ERROR: file or directory not found: ./-x.py"),
    ],
)
async def test_a_target_is_never_an_option(call, runner, target, message):
    result = await call(runner, "run_tests", target=target)
    assert result.text == message


async def test_only_the_first_failures_are_told_and_their_text_is_clipped(call, runner, root):
    (root / "tests" / "test_zz.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', range(9))\n"
        "def test_x(n):\n    assert 'x' * 900 == [n] * 900\n"
    )
    text = (await call(runner, "run_tests", target="test_zz")).text
    assert text.startswith("9 failed\n")
    assert text.count("test_zz.py::test_x") == 3
    assert max(map(len, text.splitlines())) <= 160
    assert len(text) < 2500


async def run_file(call, runner, root, text):
    (root / "tests" / "test_zz.py").write_text(text)
    return await call(runner, "run_tests", target="tests/test_zz.py")


async def test_an_endless_loop_ends_when_its_processor_time_is_used_up(call, sandbox, root):
    runner = PytestRunner(sandbox, str(root), python=sys.executable, timeout=250.0, cpu=1.0)
    text = "def test_ok(): pass\ndef test_x():\n    while True:\n        pass\n"
    result = await run_file(call, runner, root, text)
    assert result.text.splitlines() == [
        "1 error, 1 passed",
        "error: stopped; its processor time was used up in tests/test_zz.py::test_x",
    ]
    assert result.error == "deadline"
    assert runner.last.seconds < 200
    (root / "tests" / "test_zz.py").write_text("def test_ok(): pass\n")
    assert (await call(runner, "run_tests", target="tests/test_zz.py")).text == "1 passed"
    await runner.close()


async def test_tests_that_stop_the_server_meet_the_deadline_too(call, sandbox, root):
    runner = PytestRunner(sandbox, str(root), python=sys.executable, timeout=1.0)
    text = "import os, signal\ndef test_x():\n    os.kill(os.getppid(), signal.SIGSTOP)\n"
    result = await run_file(call, runner, root, text)
    assert result.text.splitlines() == [
        "no tests ran",
        "error: stopped after its deadline of 1 s; the test server did not answer in time",
    ]
    assert result.error == "deadline"


async def test_a_deadline_is_told_with_what_was_found(call, sandbox, root):
    runner = PytestRunner(sandbox, str(root), python=sys.executable, timeout=4.0)
    (root / "tests" / "test_zz.py").write_text(
        "import time\ndef test_ok(): pass\ndef test_x():\n    time.sleep(300)\n"
    )
    result = await call(runner, "run_tests", target="tests/test_zz.py")
    lines = result.text.splitlines()
    assert lines[0] == "1 error, 1 passed"
    assert lines[1] == (
        "error: stopped after its deadline of 4 s; the deadline passed in tests/test_zz.py::test_x"
    )
    assert result.error == "deadline"
    await runner.close()
