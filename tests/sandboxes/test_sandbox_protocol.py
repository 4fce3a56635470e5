"""What every sandbox promises, shown with the real ones."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shlex
import time
from pathlib import Path

import pytest

from agentrl.core import Process, Sandbox, SandboxError
from agentrl.sandboxes.base import SupervisedSandbox


async def test_both_kinds_are_sandboxes_of_core(sandbox: SupervisedSandbox) -> None:
    assert isinstance(sandbox, Sandbox)
    assert isinstance(await sandbox.start(["cat"]), Process)


async def test_streams_interleave_and_the_exit_code_is_the_commands(
    sandbox: SupervisedSandbox,
) -> None:
    result = await sandbox.exec("echo one; echo two >&2; echo three; exit 7")
    assert result.output == "one\ntwo\nthree\n"
    assert (result.exit_code, result.ok) == (7, False)
    assert (await sandbox.exec("kill -SEGV $$")).exit_code == 128 + 11


async def test_shell_state_does_not_carry_over(sandbox: SupervisedSandbox) -> None:
    await sandbox.exec("cd /; export LEFT=1; umask 077; function ls { echo fooled; }")
    result = await sandbox.exec('pwd; echo "[$LEFT]"; umask; type -t ls')
    assert result.output == f"{sandbox.workdir}\n[]\n0022\nfile\n"


@pytest.mark.parametrize(
    "spoil",
    [
        "set -eu; shopt -s nullglob; trap 'echo bye' EXIT TERM; readonly c",
        "ulimit -n 50; umask 0; cd /tmp; unset PATH",
        "exec 0</dev/null 1>&- 2>&- 3</dev/null 4>/dev/null",
        "break; continue; return 3",
        "exec true",
        "exec sleep 0.01 & disown",
        "kill -9 $BASHPID",
        "kill -TERM 0",
    ],
)
async def test_whatever_a_command_does_to_its_shell_the_next_one_is_as_the_first(
    sandbox: SupervisedSandbox, spoil: str
) -> None:
    plain = "pwd; umask; set -o; shopt; ulimit -a; trap; declare -F; ls /proc/self/fd; exit 5"
    first = await sandbox.exec(plain)
    await sandbox.exec(spoil)
    await asyncio.sleep(0.1)
    for _ in range(4):
        again = await sandbox.exec(plain)
        assert (again.output, again.exit_code) == (first.output, 5)


async def test_a_command_finds_what_a_new_bash_would(sandbox: SupervisedSandbox) -> None:
    look = (
        'echo "$0" "$#" "$-" "$?" "$!" "$BASH_SUBSHELL" "$OLDPWD" "$IFS"\n'
        "test $$ = $BASHPID && ps -o sid=,pgid= -p $$ | grep -cw $$\n"
        "shopt; set -o; ulimit -a; umask; trap; jobs; alias; declare -F; ls /proc/self/fd; exit 5"
    )
    within = await sandbox.exec(look)
    new = await sandbox.exec(f"setsid -w bash -c {shlex.quote(look)} bash </dev/null")
    assert (within.output, within.exit_code) == (new.output, 5)
    # Nor is it another process that its signals reach.
    command = "trap 'echo caught' USR1; kill -USR1 $$; kill -USR1 0; sleep 0.01; echo on; exit 4"
    result = await sandbox.exec(command)
    assert (result.output, result.exit_code) == ("caught\ncaught\non\n", 4)


async def test_commands_of_every_length_arrive_whole(sandbox: SupervisedSandbox) -> None:
    start, end = "printf %s '", "\udcff' | wc -c; exit 3"
    size = len((start + end).encode("utf-8", "surrogateescape"))
    for length in (299, 300, 301, 4096, 65536, 65537):
        text = "ü" * ((length - size) // 2) + "x" * ((length - size) % 2)
        result = await sandbox.exec(start + text + end)
        assert (result.output, result.exit_code) == (f"{length - size + 1}\n", 3)


async def test_directory_and_variables_reach_the_command(sandbox: SupervisedSandbox) -> None:
    await sandbox.write("a b/x", "")
    value = "quote ' newline\n$HOME `id`"
    result = await sandbox.exec('ls; printf %s "$V"', cwd="a b", env={"V": value})
    assert result.output == "x\n" + value
    assert (await sandbox.exec("echo no", cwd="nowhere")).exit_code == 1
    with pytest.raises(ValueError, match="variable"):
        await sandbox.exec("true", env={"A;rm -rf": ""})


async def test_python_errors_and_shell_errors_look_as_in_a_terminal(
    sandbox: SupervisedSandbox,
) -> None:
    assert "bash: line 1: nope: command not found" in (await sandbox.exec("nope")).output
    assert "syntax error" in (await sandbox.exec("if true; fi")).output


async def test_binary_output_is_kept_apart_from_the_protocol(sandbox: SupervisedSandbox) -> None:
    data = bytes(range(256)) * 300
    await sandbox.write("data", data)
    assert await sandbox.read("data") == data
    result = await sandbox.exec("cat data; printf 'X\\0\\0\\0\\1\\0\\0\\0\\2{}'")
    assert result.output == (data + b"X\0\0\0\1\0\0\0\2{}").decode("utf-8", "replace")


async def test_output_streams_while_the_command_runs(sandbox: SupervisedSandbox) -> None:
    came: list[tuple[float, bytes]] = []
    command = "echo first; sleep 1; echo second; exit 3"
    result = await sandbox.stream(command, lambda data: came.append((time.monotonic(), data)))
    assert (result.output, result.exit_code) == ("", 3)
    assert [data for _, data in came] == [b"first\n", b"second\n"]
    assert came[1][0] - came[0][0] > 0.5

    def full(data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        await sandbox.stream("echo x", full)
    assert (await sandbox.exec("echo next")).output == "next\n"


async def test_a_command_may_be_a_megabyte_long(sandbox: SupervisedSandbox) -> None:
    text = "x" * (1 << 20)
    assert (await sandbox.exec(f"printf %s {text} | wc -c")).output.strip() == str(1 << 20)


HIDING = {
    "plain": "sleep 77.7",
    "ignores signals": "trap '' TERM INT HUP; while true; do sleep 77.7; done",
    "own session": "setsid sleep 77.7 & setsid setsid sleep 77.7; wait",
    "double fork": "(setsid sh -c 'sleep 77.7 & sleep 77.7 &' &) ; sleep 77.7",
}


@pytest.mark.parametrize("command", HIDING.values(), ids=HIDING.keys())
async def test_nothing_outlives_the_deadline(sandbox: SupervisedSandbox, command: str) -> None:
    result = await sandbox.exec(command, timeout=0.5)
    assert (result.timed_out, result.exit_code) == (True, 124)
    assert result.seconds < 3
    assert (await sandbox.exec("ps -eo args= | grep -c '^sleep 77[.]7'")).output == "0\n"


async def test_a_deadline_spares_what_an_earlier_command_left_running(
    sandbox: SupervisedSandbox,
) -> None:
    await sandbox.exec("nohup sleep 55.5 >/dev/null 2>&1 &")
    program = await sandbox.start(["cat"])
    assert (await sandbox.exec("sleep 77.7", timeout=0.3)).timed_out
    assert (await sandbox.exec("ps -eo args= | grep -c '^sleep 55[.]5'")).output == "1\n"
    assert await program.request("still here", timeout=5) == "still here"


async def test_a_background_program_neither_blocks_nor_dies_when_it_writes(
    sandbox: SupervisedSandbox,
) -> None:
    command = "(while echo tick; do sleep 0.01; done; echo dead > died) & echo started"
    result = await sandbox.exec(command, timeout=5)
    assert "started" in result.output
    assert not result.timed_out
    await asyncio.sleep(0.3)
    assert (await sandbox.exec("cat died")).exit_code == 1


@pytest.mark.parametrize("command", ["yes flooding", "head -c 100000001 /dev/zero"])
async def test_too_much_output_is_cut_and_its_producer_ended(
    sandbox: SupervisedSandbox, command: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await sandbox.exec(command, timeout=30, max_output=200_000)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert result.truncated
    assert not result.timed_out
    assert len(result.output) == 200_000
    assert (after - before) < 20_000
    assert (await sandbox.exec(f"ps -ef | grep -v grep | grep -c '{command}'")).output == "0\n"


async def test_a_hundred_megabytes_come_through_when_allowed(sandbox: SupervisedSandbox) -> None:
    result = await sandbox.exec("head -c 100000000 /dev/zero", timeout=60, max_output=200_000_000)
    assert len(result.output) == 100_000_000
    assert not result.truncated


@pytest.mark.parametrize("command", ["kill -9 $$", "kill -9 0"])
async def test_a_command_that_kills_its_shell_is_only_a_failed_command(
    sandbox: SupervisedSandbox, command: str
) -> None:
    assert (await sandbox.exec(command, timeout=5)).exit_code == 137
    assert (await sandbox.exec("echo alive")).output == "alive\n"


async def test_concurrent_calls_do_not_mix(sandbox: SupervisedSandbox) -> None:
    async def one(number: int) -> str:
        await sandbox.write(f"f{number}", f"file {number}")
        return (await sandbox.exec(f"for i in 1 2 3; do cat f{number}; done")).output

    outputs = await asyncio.gather(*(one(number) for number in range(20)))
    assert outputs == [f"file {number}" * 3 for number in range(20)]


async def test_a_cancelled_command_is_ended_and_the_next_one_runs(
    sandbox: SupervisedSandbox,
) -> None:
    task = asyncio.create_task(sandbox.exec("sleep 66.6"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await sandbox.exec("ps -eo args= | grep -c '^sleep 66[.]6'", timeout=5)
    assert result.output == "0\n"


async def test_file_errors_are_the_usual_ones(sandbox: SupervisedSandbox) -> None:
    await sandbox.write("deep/er/file", "text")
    await sandbox.exec("mkfifo pipe; ln -s nowhere dangling")
    with pytest.raises(FileNotFoundError):
        await sandbox.read("missing")
    with pytest.raises(FileNotFoundError):
        await sandbox.read("dangling")
    with pytest.raises(IsADirectoryError):
        await sandbox.read("deep")
    with pytest.raises(NotADirectoryError):
        await sandbox.read("deep/er/file/x")
    with pytest.raises(OSError, match="Invalid"):
        await sandbox.read("pipe")
    with pytest.raises(OSError, match="larger than 3 bytes") as caught:
        await sandbox.read("deep/er/file", max_bytes=3)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(IsADirectoryError):
        await sandbox.write("deep", "text")


@pytest.mark.parametrize("name", ["-rf", "new\nline", "späce ☃", "$(id)", "a'b\"c"])
async def test_any_file_name_works(sandbox: SupervisedSandbox, name: str, tmp_path: Path) -> None:
    await sandbox.write(f"d/{name}", "content")
    assert await sandbox.read(f"d/{name}") == b"content"
    await sandbox.copy_out(f"d/{name}", tmp_path / "one")
    assert (tmp_path / "one").read_text() == "content"
    await sandbox.copy_out("d", tmp_path / "all")
    assert os.listdir(tmp_path / "all") == [name]


async def test_folders_survive_the_way_in_and_out(
    sandbox: SupervisedSandbox, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "sub" / "empty").mkdir(parents=True)
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    (source / "sub" / "data").write_bytes(os.urandom(3 << 20))
    (source / "sub" / "link").symlink_to("../run.sh")
    await sandbox.copy_in(source, "copy")
    assert (await sandbox.exec("copy/sub/link && ls -d copy/sub/empty")).ok
    await sandbox.copy_out("copy", tmp_path / "back")
    back = tmp_path / "back"
    assert (back / "sub" / "data").read_bytes() == (source / "sub" / "data").read_bytes()
    assert os.access(back / "run.sh", os.X_OK)
    assert os.readlink(back / "sub" / "link") == "../run.sh"
    assert (back / "sub" / "empty").is_dir()
    await sandbox.copy_in(source / "run.sh", "x/renamed.sh")
    assert (await sandbox.exec("x/renamed.sh")).output == "ran\n"
    with pytest.raises(FileNotFoundError):
        await sandbox.copy_out("missing", tmp_path / "never")


async def test_a_program_answers_line_by_line(sandbox: SupervisedSandbox) -> None:
    code = "import sys\nfor l in sys.stdin: print(l.strip()[::-1], flush=True)"
    program = await sandbox.start(["python3", "-c", code])
    assert await program.request("abc", timeout=10) == "cba"
    big = "x" * (3 << 20)
    assert len(await program.request(big, timeout=20)) == len(big)
    await program.close()
    with pytest.raises(EOFError):
        await program.request("again", timeout=1)


async def test_a_silent_or_dead_program_is_noticed(sandbox: SupervisedSandbox) -> None:
    silent = await sandbox.start(["sleep", "44.4"])
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        await silent.request("hello", timeout=0.2)
    assert (await sandbox.exec("sleep 0.1; ps -eo args= | grep -c '^sleep 44[.]4'")).output == "0\n"
    dead = await sandbox.start(["sh", "-c", "read x; echo why >&2; exit 3"])
    with pytest.raises(EOFError, match="ended with 3: why"):
        await dead.request("hello", timeout=5)
    absent = await sandbox.start(["no-such-program"])
    with pytest.raises(EOFError, match="not found"):
        await absent.request("hello", timeout=5)


async def test_a_flood_from_a_program_ends_it_not_the_host(sandbox: SupervisedSandbox) -> None:
    flood = await sandbox.start(["sh", "-c", "read x; tr '\\0' x </dev/zero"])
    with pytest.raises(EOFError):
        await flood.request("go", timeout=60)
    assert (await sandbox.exec("echo alive")).ok


async def test_reset_leaves_no_file_and_no_process(sandbox: SupervisedSandbox) -> None:
    look = (
        "ls -lAn . $HOME $TMPDIR | grep -v '^total'; stat -c %a .;"
        "ps -eo args= | grep -c '^sleep 33[.]3'"
    )
    clean = (await sandbox.exec(look)).output
    program = await sandbox.start(["cat"])
    await sandbox.exec(
        "mkdir -p a/b .hidden; touch a/b/c .hidden/x $HOME/h $TMPDIR/t;"
        "setsid nohup sleep 33.3 >/dev/null 2>&1 & (setsid sleep 33.3 &); chmod 700 ."
    )
    assert (await sandbox.exec(look)).output != clean
    await sandbox.reset()
    assert (await sandbox.exec(look)).output == clean
    with pytest.raises(EOFError, match="reset"):
        await program.request("anybody?", timeout=5)


async def test_a_closed_sandbox_says_so_and_closes_twice(sandbox: SupervisedSandbox) -> None:
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.exec("true")
    with pytest.raises(SandboxError):
        await sandbox.reset()


async def test_the_event_loop_never_waits_for_a_sandbox(sandbox: SupervisedSandbox) -> None:
    worst, stop = 0.0, False

    async def watch() -> None:
        nonlocal worst
        while not stop:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            worst = max(worst, time.perf_counter() - before)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(sandbox.exec("sleep 0.2; echo x") for _ in range(3)))
    stop = True
    await watcher
    assert worst < 0.15
