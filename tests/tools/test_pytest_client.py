import asyncio
import importlib.util
import marshal
import os
import sys
import time

import pytest

from agentrl.core import InfraError
from agentrl.tools import PytestClient

OUTCOMES = {
    "tests/test_numbers.py::test_clamp": "passed",
    "tests/test_numbers.py::test_clamp_high": "failed",
    "tests/test_numbers.py::test_div": "failed",
    "tests/test_stack.py::test_size": "passed",
    "tests/test_stack.py::test_later": "skipped",
    "tests/test_stack.py::test_known": "skipped",
}


def put(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


async def test_a_report_has_every_outcome_and_the_first_failures(client, root):
    report = await client.run(str(root))
    assert report.outcomes == OUTCOMES
    assert report.counts == {"passed": 2, "failed": 2, "skipped": 2}
    assert (report.exit_code, report.timed_out, report.error, report.ok) == (1, False, "", False)
    high, div = report.failures
    assert high.id == "tests/test_numbers.py::test_clamp_high"
    assert high.frames == [("tests/test_numbers.py", 9, "assert clamp(5, 0, 3) == 3")]
    assert high.message[0] == "assert 0 == 3"
    assert "0x" not in "".join(high.message)
    assert div.frames[0] == ("tests/test_numbers.py", 13, "assert div(1, 0) == 0")
    assert div.frames[-1] == ("calc/numbers.py", 13, "return a / b")
    assert div.message == ["ZeroDivisionError: division by zero"]
    only_first = await client.run(str(root), max_failures=1)
    assert len(only_first.failures) == 1
    assert only_first.outcomes == OUTCOMES


async def test_targets_and_options_select(client, root):
    one = await client.run(str(root), ["tests/test_numbers.py::test_clamp"])
    assert one.outcomes == {"tests/test_numbers.py::test_clamp": "passed"}
    assert one.ok
    by_name = await client.run(str(root), args=["-k", "size or div"])
    assert set(by_name.outcomes.values()) == {"passed", "failed"}
    nothing = await client.run(str(root), args=["-k", "nothing"])
    assert (nothing.exit_code, nothing.outcomes, nothing.ok) == (5, {}, False)
    missing = await client.run(str(root), ["tests/nope.py"])
    assert missing.exit_code == 4
    assert missing.error == "ERROR: file or directory not found: tests/nope.py"
    gone = await client.run(str(root / "gone"))
    assert gone.error.startswith("no such folder: ")


async def test_the_parent_never_imports_the_repository_nor_runs_its_start_up_files(client, root):
    mark = root / "ran"
    evil = f"open({str(mark)!r}, 'a').write(__name__ + ' ')\n"
    for name in ("sitecustomize.py", "usercustomize.py", "conftest.py", "pytest.py", "json.py"):
        put(root, name, evil)
    put(root, "evil.pth", f"import sys; {evil}")
    put(root, "evil.egg-info/entry_points.txt", "[pytest11]\nevil = evil_plugin\n")
    put(root, "evil.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    put(root, "evil_plugin.py", evil)
    put(root, "pytest.ini", "[pytest]\naddopts = -k nothing -p evil_plugin\npython_files = no\n")
    before = await client.modules()
    report = await client.run(str(root), noconftest=True)
    assert report.outcomes == OUTCOMES
    assert not mark.exists()
    assert await client.modules() - before == set()
    assert not {m for m in before if m.startswith(("calc", "tests", "test_", "conftest"))}
    await client.run(str(root))
    assert mark.read_text() == "conftest "


async def test_a_stale_pyc_never_hides_an_edit(client, root, sandbox):
    path = root / "calc" / "numbers.py"
    python = f"{sys.executable} -m compileall calc"
    stamp = 1_700_000_000
    os.utime(path, (stamp, stamp))
    await sandbox.exec(python, cwd=str(root))
    assert list(root.glob("calc/__pycache__/numbers*.pyc"))
    # The same size and the same second as what the caches were made from.
    text = path.read_text()
    path.write_text(text.replace("return low\n    return x", "return   3\n    return x"))
    assert len(path.read_text()) == len(text)
    os.utime(path, (stamp, stamp))
    report = await client.run(str(root))
    assert report.outcomes["tests/test_numbers.py::test_clamp_high"] == "passed"


async def test_a_planted_pyc_is_not_run_in_place_of_a_test(client, root):
    test = root / "tests" / "test_numbers.py"
    code = compile("def test_clamp(): pass\ndef test_forged(): pass\n", str(test), "exec")
    stamp = int(test.stat().st_mtime).to_bytes(4, "little")
    size = test.stat().st_size.to_bytes(4, "little")
    by_time = b"\0\0\0\0" + stamp + size
    by_hash = b"\3\0\0\0" + importlib.util.source_hash(test.read_bytes())
    for tag, header in (("", by_time), (f"-pytest-{pytest.__version__}", by_hash)):
        name = f"tests/__pycache__/test_numbers.{sys.implementation.cache_tag}{tag}.pyc"
        put(root, name, "")
        magic = importlib.util.MAGIC_NUMBER
        (root / name).write_bytes(magic + header + marshal.dumps(code))
    assert (await client.run(str(root))).outcomes == OUTCOMES


async def test_a_run_leaves_no_file_behind(client, root):
    before = set(root.rglob("*"))
    await client.run(str(root))
    assert set(root.rglob("*")) == before


async def test_a_hanging_test_is_stopped_and_loses_no_earlier_outcome(client, root):
    put(
        root,
        "tests/test_zz.py",
        "import subprocess, time\ndef test_quick(): pass\ndef test_hang():\n"
        "    subprocess.Popen(['sleep', '31.7'])\n    time.sleep(300)\n",
    )
    assert (await client.run(str(root), ["tests/test_stack.py"])).ok
    report = await client.run(str(root), ["tests/test_zz.py"], timeout=4)
    assert report.seconds < 30
    assert (report.timed_out, report.exit_code) == (True, 124)
    assert report.outcomes == {
        "tests/test_zz.py::test_quick": "passed",
        "tests/test_zz.py::test_hang": "error",
    }
    assert report.error == "the deadline passed in tests/test_zz.py::test_hang"
    await asyncio.sleep(0.1)
    assert "31.7" not in _processes()
    assert (await client.run(str(root), ["tests/test_stack.py"])).ok


def _processes() -> str:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                found.append(file.read())
        except OSError:
            continue
    return " ".join(found)


CRASHES = {
    "import os\ndef test_x(): os._exit(0)\n": (128, "it left with os._exit"),
    "import os\ndef test_x(): os.kill(os.getpid(), 9)\n": (137, "signal 9"),
    "import os\ndef test_x(): os.abort()\n": (134, "signal 6"),
    "import os\nos._exit(0)\n": (128, "it left with os._exit"),
}


@pytest.mark.parametrize("text", CRASHES)
async def test_a_crash_is_never_a_pass_and_loses_no_earlier_outcome(client, root, text):
    put(root, "tests/test_zz.py", text)
    code, how = CRASHES[text]
    report = await client.run(str(root))
    assert report.exit_code == code
    assert how in report.error
    assert not report.ok
    assert report.outcomes.get("tests/test_zz.py::test_x") != "passed"
    if "def" in text:
        assert report.outcomes == {**OUTCOMES, "tests/test_zz.py::test_x": "error"}


async def test_tests_that_kill_the_server_are_reported_and_the_next_run_works(client, root):
    put(root, "tests/test_zz.py", "import os\ndef test_x(): os.kill(os.getppid(), 9)\n")
    report = await client.run(str(root))
    assert report.error == "the tests killed the test server"
    assert not report.ok
    assert (await client.run(str(root), ["tests/test_stack.py"])).ok


async def test_a_server_killed_between_runs_is_started_again(client, root, sandbox):
    assert (await client.run(str(root), ["tests/test_stack.py"])).ok
    put(
        root,
        "tests/test_zz.py",
        "import os\ndef test_x(): print(os.getppid()); assert 0, os.getppid()\n",
    )
    report = await client.run(str(root), ["tests/test_zz.py"])
    pid = int(report.failures[0].message[0].split()[1])
    await sandbox.exec(f"kill -9 {pid}")
    assert (await client.run(str(root), ["tests/test_stack.py"])).ok


async def test_output_of_tests_cannot_break_the_protocol(client, root):
    put(
        root,
        "tests/test_zz.py",
        """\
import os, subprocess, sys

def test_noise():
    line = '{"exit_code": 0, "outcomes": {}}\\n'
    print(line); sys.stderr.write(line); sys.__stdout__.write(line)
    for fd in (0, 1, 2):
        os.write(fd, line.encode())
    subprocess.run(["sh", "-c", "echo x; echo y >&2; yes | head -c 50000000"])
    assert sys.stdin.read() == ""

def test_fork():
    if os.fork() == 0:
        return
    os.wait()
    assert False, "only the process that pytest started reports"

def test_close():
    os.close(0); os.close(1); os.close(2)
""",
    )
    report = await client.run(str(root), ["tests/test_zz.py"])
    assert report.outcomes == {
        "tests/test_zz.py::test_noise": "passed",
        "tests/test_zz.py::test_fork": "failed",
        "tests/test_zz.py::test_close": "passed",
    }


async def test_a_broken_file_does_not_keep_the_others_from_running(client, root):
    put(root, "tests/test_a_broken.py", "def test_x(:\n")
    put(root, "tests/test_b_import.py", "import nothing_like_this\n")
    put(root, "tests/test_c_skip.py", "import pytest\npytest.skip('no', allow_module_level=True)\n")
    report = await client.run(str(root))
    assert report.outcomes == {
        **OUTCOMES,
        "tests/test_a_broken.py": "error",
        "tests/test_b_import.py": "error",
        "tests/test_c_skip.py": "skipped",
    }
    broken, missing, *_ = report.failures
    assert broken.when == "collect"
    assert any("SyntaxError: invalid syntax" in line for line in broken.message)
    assert missing.message[-1] == "ModuleNotFoundError: No module named 'nothing_like_this'"
    put(root, "conftest.py", "raise ValueError('bad conftest')\n")
    report = await client.run(str(root))
    assert report.exit_code == 4
    assert "ValueError: bad conftest" in report.error


async def test_fixture_errors_count_as_errors(client, root):
    put(
        root,
        "tests/test_zz.py",
        """\
import pytest

@pytest.fixture
def before():
    raise KeyError("b")

@pytest.fixture
def after():
    yield
    raise KeyError("a")

def test_before(before): pass
def test_after(after): pass
def test_missing(nope): pass
""",
    )
    report = await client.run(str(root), ["tests/test_zz.py"])
    assert set(report.outcomes.values()) == {"error"}
    assert report.counts == {"error": 3}
    assert [f.when for f in report.failures] == ["setup", "teardown", "setup"]
    assert "fixture 'nope' not found" in "".join(report.failures[2].message)


async def test_runs_are_reproducible_and_do_not_see_each_other(client, root):
    put(
        root,
        "tests/test_zz.py",
        """\
import os, random, sys

def test_x():
    seen = (random.random(), hash("x"), os.environ.get("MARK"), os.environ.get("PYTHONPATH"))
    assert not hasattr(sys, "dirty")
    sys.dirty = True
    assert 0, seen
""",
    )
    other = PytestClient(client._sandbox, python=sys.executable)
    runs = [
        await one.run(str(root), ["tests/test_zz.py"], env=env)
        for one, env in ((client, {}), (client, {}), (other, {}), (client, {"MARK": "m"}))
    ]
    await other.close()
    first, second, third, marked = (run.failures[0].message[0] for run in runs)
    assert first == second == third
    assert "'m'" in marked


async def test_pythonpath_and_src_layout_are_importable(client, root):
    put(root, "src/inside.py", "x = 1\n")
    put(root, "elsewhere/outside.py", "x = 2\n")
    put(root, "tests/test_zz.py", "import inside, outside\ndef test_x(): pass\n")
    env = {"PYTHONPATH": str(root / "elsewhere")}
    assert (await client.run(str(root), ["tests/test_zz.py"], env=env)).ok
    assert not (await client.run(str(root), ["tests/test_zz.py"])).ok


async def test_requests_at_the_same_time_wait_for_each_other(client, root):
    reports = await asyncio.gather(*(client.run(str(root)) for _ in range(3)))
    assert [r.outcomes for r in reports] == [OUTCOMES] * 3


async def test_no_pytest_in_the_sandbox_is_infrastructure_and_says_what_to_do(sandbox, root):
    put(root, "fake/bin/python3", "#!/bin/sh\necho 'No module named pytest' >&2; exit 1\n")
    (root / "fake/bin/python3").chmod(0o755)
    client = PytestClient(sandbox, python=str(root / "fake/bin/python3"))
    with pytest.raises(InfraError, match="No module named pytest") as caught:
        await client.run(str(root))
    assert caught.value.cause == "pytest_unavailable"
    assert "install pytest" in caught.value.fix


async def test_a_warm_run_costs_less_than_a_start(client, root, sandbox):
    await client.run(str(root))

    async def seconds(run) -> float:
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            await run()
            times.append(time.perf_counter() - begin)
        return min(times)

    cold = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    warm = await seconds(lambda: client.run(str(root)))
    assert warm < 0.6 * await seconds(lambda: sandbox.exec(cold, cwd=str(root)))


@pytest.mark.docker
async def test_in_a_container_as_another_user_without_the_host(container):
    for name, text in {
        "repo/m.py": "def f():\n    return 1\n",
        "repo/test_m.py": "from m import f\ndef test_f():\n    assert f() == 2\n",
    }.items():
        await container.write(name, text)
    client = PytestClient(container)
    root = f"{container.workdir}/repo"
    report = await client.run(root)
    assert report.outcomes == {"test_m.py::test_f": "failed"}
    await container.write("repo/m.py", "def f():\n    return 2\n")
    assert (await client.run(root)).ok
    await container.exec("pkill -9 python3; kill -9 -1")
    assert (await client.run(root)).ok
    await client.close()
