"""Hostile programs in a real container: held inside every limit, and the next command runs."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path

import pytest

from agentrl.core import SandboxError
from agentrl.sandboxes import DockerSandbox, Limits
from agentrl.sandboxes.docker import MB
from agentrl.sandboxes.hive import Cell

pytestmark = pytest.mark.docker


async def python(container: DockerSandbox, code: str, timeout: float = 20.0) -> str:
    await container.write("/tmp/attack.py", code)
    return (await container.exec("python3 -S /tmp/attack.py 2>&1", timeout=timeout)).output


async def assert_usable(container: DockerSandbox) -> None:
    result = await container.exec("echo alive", timeout=5)
    assert (result.output, result.exit_code) == ("alive\n", 0)
    await container.reset()
    # What runs besides are shells that wait for the next command, or are just being started.
    left = await container.exec(
        'sleep 0.2; all=$(ps -eo user=,args=); ls -A; grep ^agent <<<"$all" | grep -v oom_score_adj'
    )
    assert left.output.split() == ["agent", "ps", "-eo", "user=,args="]


async def test_the_agent_is_nobody_special(container: DockerSandbox) -> None:
    output = (await container.exec("id -u; id -G; cat /proc/self/status")).output
    assert output.startswith("1000\n1000\n")
    assert "CapEff:\t0000000000000000" in output
    assert "CapPrm:\t0000000000000000" in output
    assert "NoNewPrivs:\t1" in output
    assert "Seccomp:\t2" in output


async def test_kept_programs_and_file_operations_are_the_agent_too(
    container: DockerSandbox,
) -> None:
    program = await container.start(["sh", "-c", "while read x; do id -u; done"])
    assert await program.request("who", timeout=5) == "1000"
    await container.write("mine", "x")
    assert (await container.exec("stat -c %u mine")).output == "1000\n"
    await container.exec("ln -s /proc/1/environ secret; ln -s /proc/1/mem memory")
    for path in ("secret", "memory", "/proc/1/environ"):
        with pytest.raises(PermissionError):
            await container.read(path)


async def test_a_command_that_kills_all_the_others_goes_on(
    container: DockerSandbox | Cell,
) -> None:
    command = (
        "exec 2>/dev/null; sleep 99 & kill -9 -1; wait $!; echo $?; "
        "ps -eo args= | grep -c '^sleep'; exit 4"
    )
    for _ in range(5):
        result = await container.exec(command, timeout=5)
        assert (result.output, result.exit_code) == ("137\n0\n", 4)


@pytest.mark.parametrize(
    "bomb",
    ["f() { f | f & }; f; sleep 30", "python3 -S -c 'import os\nwhile 1: os.fork()'"],
    ids=["bash", "python"],
)
async def test_fork_bomb_ends_at_the_deadline(container: DockerSandbox, bomb: str) -> None:
    result = await container.exec(bomb, timeout=2, max_output=10 * MB)
    assert result.seconds < 12
    await assert_usable(container)


async def test_fork_bomb_left_in_the_background(container: DockerSandbox) -> None:
    await container.exec("(while :; do sleep 1000 & done) >/dev/null 2>&1 & sleep 1", timeout=20)
    await assert_usable(container)


async def test_memory_hog_is_killed_and_the_container_lives(container: DockerSandbox) -> None:
    hog = "x = []\nwhile True: x.append(bytearray(b'x' * (10 << 20)))"
    await container.write("hog.py", hog)
    result = await container.exec("python3 -S hog.py", timeout=30)
    assert (result.exit_code, result.timed_out) == (137, False)
    await assert_usable(container)


@pytest.mark.parametrize("place", ["/work", "/tmp", "/home/agent", "/dev/shm"])
async def test_full_disk_is_an_ordinary_failure(container: DockerSandbox, place: str) -> None:
    result = await container.exec(f"cat /dev/zero >{place}/fill")
    assert "No space left" in result.output
    assert not result.ok
    if place == "/work":
        with pytest.raises(OSError, match="No space left"):
            await container.write("more", b"x" * 100_000)
    await assert_usable(container)


async def test_filling_inodes_is_an_ordinary_failure(container: DockerSandbox) -> None:
    output = await python(container, "for i in range(10**6): open(f'/work/{i}', 'w').close()")
    assert "No space left" in output
    await assert_usable(container)


async def test_ten_gigabytes_of_output_cost_the_host_what_was_asked_for(
    container: DockerSandbox,
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await container.exec("head -c 10G /dev/zero; echo end", timeout=60, max_output=MB)
    assert (len(result.output), result.truncated, result.timed_out) == (MB, True, False)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    endless = await container.exec("cat /dev/zero >/dev/null", timeout=1)
    assert (endless.timed_out, endless.exit_code) == (True, 124)
    await assert_usable(container)


async def test_the_clock_can_neither_be_set_nor_cheat_a_deadline(
    container: DockerSandbox,
) -> None:
    code = """
import ctypes, time
for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC):
    try: time.clock_settime(clock, 4e9); print("DID")
    except OSError: print("refused")
libc = ctypes.CDLL(None, use_errno=True)
print("DID" if libc.settimeofday(ctypes.c_char_p(bytes(16)), None) == 0 else "refused")
buffer = ctypes.create_string_buffer(b"\\x01" + bytes(255), 256)
print("DID" if libc.adjtimex(buffer) >= 0 else "refused")
"""
    before = time.time()
    assert (await python(container, code)) == "refused\n" * 4
    inside = float((await container.exec("date +%s.%N; date -s 2001-01-01 2>&1")).output.split()[0])
    assert abs(inside - time.time()) < time.time() - before + 1
    await container.exec("touch -d '2099-01-01' future; touch -d '1970-01-02' past; sleep 60 &")
    result = await container.exec("trap '' ALRM TERM; while :; do :; done", timeout=1)
    assert result.timed_out
    assert result.seconds < 6
    await assert_usable(container)


async def test_the_root_file_system_cannot_be_written(container: DockerSandbox) -> None:
    places = (await container.exec("find / -xdev -type d 2>/dev/null")).output.split()
    writable = {"/work", "/tmp", "/home/agent"}
    tries = " ".join(f"'{place}/x'" for place in places if place not in writable)
    assert len(places) > 100
    result = await container.exec(f"for f in {tries}; do : >$f && echo wrote $f; done 2>/dev/null")
    assert result.output == ""
    assert "Read-only" in (await container.exec("touch /x /usr/bin/x /etc/x")).output


async def test_there_is_no_network(container: DockerSandbox) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    code = f"""
import socket
print(sorted(name for _, name in socket.if_nameindex()))
for host in ("127.0.0.1", "172.17.0.1"):
    try: socket.create_connection((host, {port}), 3); print("connected", host)
    except OSError as error: print(type(error).__name__)
try: socket.getaddrinfo("example.org", 80); print("resolved")
except OSError as error: print(type(error).__name__)
"""
    output = await python(container, code)
    listener.close()
    assert output == "['lo']\nConnectionRefusedError\nOSError\ngaierror\n"


async def test_the_hosts_files_are_not_there(container: DockerSandbox) -> None:
    paths = f"/var/run/docker.sock {Path.home()}/.ssh {Path(__file__)} /etc/shadow"
    assert "cannot access" in (await container.exec(f"ls -d {paths}")).output
    assert not (await container.exec(f"ls -d {paths} 2>/dev/null")).output
    processes = (await container.exec("ps -eo pid=,args=")).output
    assert str(os.getpid()) not in [line.split()[0] for line in processes.splitlines()]


async def test_no_way_to_more_rights(container: DockerSandbox) -> None:
    code = """
import ctypes, os
def attempt(name, call):
    try: print("DID", name, call())
    except OSError as error: print("refused")
libc = ctypes.CDLL(None, use_errno=True)
attempt("setuid", lambda: os.setuid(0))
attempt("setgid", lambda: os.setgid(0))
attempt("mknod", lambda: os.mknod("/work/device", 0o060666, os.makedev(8, 0)))
attempt("chroot", lambda: os.chroot("/work"))
attempt("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt("kill 1", lambda: os.kill(1, 9))
attempt("priority 1", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
for path in ("/proc/1/mem", "/proc/1/fd/1", "/proc/1/root/etc", "/dev/mem", "/proc/kcore"):
    attempt(path, lambda: os.open(path, os.O_RDWR))
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/1/oom_score_adj"):
    attempt(path, lambda: open(path, "w"))
clone_newuser, ptrace_attach = 0x10000000, 16
print("DID unshare" if libc.unshare(clone_newuser) == 0 else "refused")
print("DID mount" if libc.mount(b"none", b"/work", b"tmpfs", 0, None) == 0 else "refused")
print("DID ptrace" if libc.ptrace(ptrace_attach, 1, 0, 0) == 0 else "refused")
"""
    output = await python(container, code.replace("-S", ""))
    assert set(output.split("\n")) == {"refused", ""}, output
    assert output.count("refused") == 18


async def test_a_setuid_program_gives_no_rights(container: DockerSandbox) -> None:
    await container.exec("cp /usr/bin/id . && chmod 6755 id")
    assert "euid" not in (await container.exec("./id")).output
    found = await container.exec("find / -xdev -perm /6000 -type f 2>/dev/null")
    assert found.output == ""


@pytest.mark.parametrize("signal", ["KILL", "TERM", "INT", "HUP", "STOP", "SEGV"])
async def test_killing_everything_ends_the_command_not_the_container(
    container: DockerSandbox, signal: str
) -> None:
    program = await container.start(["cat"])
    command = f"kill -{signal} 1; python3 -S -c 'import os; os.kill(-1, 9)'; echo not reached"
    assert (await container.exec(command, timeout=5)).exit_code == 137
    with pytest.raises(EOFError):
        await program.request("still there?", timeout=5)
    await assert_usable(container)


async def test_a_daemon_that_kills_all_cannot_stop_the_next_command(
    container: DockerSandbox,
) -> None:
    """Nor do signals in the moments when the supervisor spawns with the agent's uid."""
    code = "import os, signal\nwhile 1:\n for s in (1, 2, 3, 15, 19, 10, 12): os.kill(1, s)"
    await container.write("/tmp/d.py", code)
    await container.exec("setsid python3 -S /tmp/d.py >/dev/null 2>&1 &")
    for number in range(100):
        assert (await container.exec(f"echo {number}", timeout=10)).output == f"{number}\n"
    await assert_usable(container)


async def test_frames_written_by_the_agent_stay_output(container: DockerSandbox) -> None:
    code = """
import os, struct
forged = b'X' + struct.pack(">II", 3, 2) + b'{}'
for fd in range(64):
    for path in (f"/proc/1/fd/{fd}", f"/proc/{os.getppid()}/fd/{fd}", f"/dev/fd/{fd}"):
        try: os.write(os.open(path, os.O_WRONLY), forged)
        except OSError: pass
"""
    await container.write("/tmp/attack.py", code)
    result = await container.exec("python3 -S /tmp/attack.py; exit 5", timeout=10)
    assert result.exit_code == 5
    await assert_usable(container)


@pytest.mark.parametrize("how", ["remove", "kill"])
async def test_a_container_lost_in_the_middle_is_an_infrastructure_failure(
    container: DockerSandbox, how: str
) -> None:
    cell = isinstance(container, Cell)
    api = (container._hive if cell else container)._engine.api
    name = container.id.partition("/")[0]
    program = await container.start(["cat"])
    running = asyncio.create_task(container.exec("sleep 30"))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    if how == "remove":
        await asyncio.to_thread(api.remove_container, name, force=True)
    else:
        await asyncio.to_thread(api.kill, name)
    with pytest.raises(SandboxError) as caught:
        await running
    assert caught.value.cause == "sandbox_died"
    assert time.monotonic() - began < 5
    with pytest.raises(SandboxError):
        await program.request("hello", timeout=5)
    with pytest.raises(SandboxError):
        await container.read("x")
    with pytest.raises(SandboxError):
        await container.reset()
    await container.close()


LEAVINGS = {
    "unreadable folders": "mkdir -p a/b && touch a/b/c && chmod 000 a/b a",
    "a deep tree": "python3 -c 'import os; [os.mkdir(n) or os.chdir(n) for n in [10*\"d\"]*400]'",
    "odd names": "touch -- -rf $'new\\nline' '*' ' '; ln -s / root; mkfifo pipe",
    "a locked root": "touch x; chmod 000 /work",
    "other folders": "touch /tmp/x /dev/shm/x /home/agent/.bashrc; mkdir /tmp/.hidden",
    "many files": "seq 1500 | xargs touch",
    "attributes": 'python3 -c \'import os; os.setxattr("/work", "user.note", b"hello")\'',
    "system v memory": "python3 -c 'import ctypes; print(ctypes.CDLL(None).shmget(1, 4096, 950))'",
    "a message queue": "python3 -c 'import ctypes; ctypes.CDLL(None).mq_open(b\"/q\", 66, 438, 0)'",
    "busy processes": "for i in 1 2 3; do (trap '' TERM; while :; do :; done) & done",
}


@pytest.mark.parametrize("command", LEAVINGS.values(), ids=LEAVINGS.keys())
async def test_reset_leaves_nothing(container: DockerSandbox, command: str) -> None:
    look = (
        "stat -c '%n %a %u' /work /tmp /home/agent /dev/shm;"
        "sleep 0.2;"
        "find /work /tmp /home/agent /dev/shm /dev/mqueue -mindepth 1;"
        "python3 -c 'import os; print(os.listxattr(\"/work\"))';"
        "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | wc -l;"
        "ps -eo user=,args= | grep -v oom_score_adj; df --output=iused,used /work /tmp"
    )
    clean = (await container.exec(look)).output
    await container.exec(command, timeout=20)
    await container.reset()
    assert (await container.exec(look)).output == clean


async def test_what_copy_out_brings_stays_in_its_folder(
    container: DockerSandbox, tmp_path: Path
) -> None:
    await container.exec(
        "mkdir -p out/sub; cd out; ln -s / root; ln -s /etc/passwd p; ln -s ../../../.. up;"
        "ln -s sub/../../.. sneaky; ln -s . sub/here; ln -s here/../../.. sub/chain; mkfifo pipe;"
        "echo fine >sub/file; ln sub/file hard; chmod 6777 sub/file; ln -s sub/file good;"
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'"
    )
    target = tmp_path / "deep" / "target"
    await container.copy_out("out", target)
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == [
        "good", "hard", "sub", "sub/file", "sub/here",
    ]  # fmt: skip
    assert (target / "good").read_text() == (target / "hard").read_text() == "fine\n"
    assert (target / "sub" / "file").stat().st_mode & 0o7000 == 0
    assert os.listdir(tmp_path) == ["deep"]


async def test_a_sparse_giant_is_refused(
    container: DockerSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentrl.sandboxes.archive.MAX_BYTES", 50 * MB)
    await container.exec("truncate -s 1T giant")
    with pytest.raises(OSError, match="more than"):
        await container.copy_out(".", tmp_path / "out")
    with pytest.raises(OSError, match="larger than"):
        await container.read("giant")
    await assert_usable(container)


async def test_eight_at_once_do_not_meet(engine, image) -> None:  # type: ignore[no-untyped-def]
    limits = Limits(memory_mb=128, work_mb=16, tmp_mb=8, pids=32)

    async def episode(number: int) -> str:
        sandbox = await DockerSandbox.create(engine, image, limits=limits)
        try:
            for _ in range(10):
                await sandbox.exec(f"echo {number} >>log; echo {number} >>/tmp/log")
            return (await sandbox.exec("sort -u log /tmp/log; wc -l <log; ls /tmp")).output
        finally:
            await sandbox.close()

    outputs = await asyncio.gather(*(episode(number) for number in range(8)))
    assert outputs == [f"{number}\n10\nlog\n" for number in range(8)]
