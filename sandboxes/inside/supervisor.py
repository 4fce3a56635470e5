"""The first process of a sandbox: runs commands for the host over one framed byte stream.

In a container it is PID 1 under uid 0, without capabilities except to become the agent's uid and
to kill it. What the agent runs has another uid, so it can neither kill the supervisor nor forge
what it reports, and `kill(-1)` from here ends every process of the agent at once. The same text
serves `ProcessSandbox`, where it is a plain child of the host process and finds what to end by
walking its descendants (it is their subreaper).

Why Python and not bash: binary-safe framing, deadlines and a change of uid need no helper
programs this way, and a command costs no more than waking a shell that is already waiting.

Frames (see `stream.py`; the number is the job's).
From the host: R run, D stdin data, E stdin end, K kill, Z reset, L list what runs.
To the host: S started, O output, X end of a job (JSON).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from agentrl.sandboxes.inside import processes
from agentrl.sandboxes.inside.calls import CALLS, filter_calls
from agentrl.sandboxes.inside.job import CHUNK, Job
from agentrl.sandboxes.inside.spawning import Shell, Spawner
from agentrl.sandboxes.inside.stream import HIGH, Stream, join

STDIN_LIMIT = 64 << 20
DISCARDED_PIPES = 64
# To start a shell takes longer than a short command and holds the supervisor up: it waits until
# nothing has come for a moment. A quick series of commands uses up all shells, and then as many are
# started side by side.
SHELLS = 3
PAUSE_MS = 1.0


class Supervisor:
    """Single-threaded: one poll loop over the channel and the pipes of all jobs."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.home = config.get("home")
        self.init = os.getpid() == 1
        self.spawner = Spawner(config)
        self.jobs: dict[int, Job] = {}
        self.survivors: dict[int, bytes | None] = {}
        self.discard: list[int] = []
        self.stream = Stream(self.handle, self.stop)
        self.warm: dict[int, Shell] = {}
        """Those that wait, by pid."""
        self.enough = 1
        """So many of them, one until there has been a command: many sandboxes only grade."""
        self.filling = True
        """Whether more are to be started when there is time."""
        self.wake, wake_writer = os.pipe()
        for fd in (self.wake, wake_writer):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if not self.init:
            # PID 1 without handlers is deaf to every signal from inside its namespace.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self.stop)
        else:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)

    def serve(self) -> NoReturn:
        self.stream.send(b"S", 0, json.dumps({"python": sys.version.split()[0]}).encode())
        while True:
            self.stream.flush()
            self.turn()

    def stop(self, *_: object) -> NoReturn:
        """The host is gone or says stop: take everything along."""
        self.kill_all()
        if self.home:
            os.chdir("/")
            os.spawnvp(os.P_WAIT, "rm", ["rm", "-rf", "--", self.home])
        os._exit(0)

    # The channel.

    def handle(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == b"R":
            self.run(number, json.loads(payload))
            return
        if kind == b"Z":
            self.reset(number)
            return
        if kind == b"L":
            self.tell(number)
            return
        job = self.jobs.get(number)
        if job is None:
            return
        if kind == b"K":
            self.kill_job(job)
        elif job.stdin >= 0:
            job.pending += payload
            job.stdin_ended = job.stdin_ended or kind == b"E"
            job.feed()
            if len(job.pending) > STDIN_LIMIT and job.deadline is None:
                self.kill_job(job)

    # Jobs.

    def run(self, number: int, spec: dict[str, Any]) -> None:
        job = self.jobs[number] = Job(number, spec)
        try:
            try:
                self.begin(job, spec)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOMEM):
                    raise
                # Earlier background programs have taken all processes or memory.
                self.kill_all()
                self.begin(job, spec)
        except OSError as error:
            job.tail = f"{error}\n{error.errno}".encode()
            job.code = 126

    def begin(self, job: Job, spec: dict[str, Any]) -> None:
        if spec["op"] == "program":
            pipes = self.spawner.program(spec["argv"], spec["cwd"])
            job.pid, job.out, job.err, job.stdin = pipes
        elif spec["op"] == "python":
            job.pid, job.out, job.err, job.stdin = self.spawner.python(spec)
        elif spec["op"] != "shell":
            pipes = self.spawner.operation(spec["op"], spec["path"])
            job.pid, job.out, job.err, job.stdin = pipes
        else:
            self.enough, self.filling = SHELLS, False
            # The oldest, which has had the most time to start.
            shell = self.warm.pop(next(iter(self.warm))) if self.warm else self.spawner.shell()
            shell.run(spec["command"].encode("utf-8", "surrogateescape"))
            job.pid, job.out = shell.pid, shell.out

    def fill(self) -> None:
        """Start shells that wait for their commands, until there are enough."""
        self.filling = False
        with contextlib.suppress(OSError):
            while len(self.warm) < self.enough:
                shell = self.spawner.shell()
                self.warm[shell.pid] = shell

    def cool(self) -> None:
        """No shell waits any more: what killed a command may have hit the shells as well, and one
        that is about to die would take the next command with it."""
        for shell in self.warm.values():
            processes.kill(shell.pid)
            shell.close()
        self.warm, self.filling = {}, True

    def pump(self, job: Job) -> bool:
        """Forward one chunk of output; False when there is none now."""
        try:
            data = os.read(job.out, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            os.close(job.out)
            job.out = -1
            return False
        if job.limit is not None and job.sent + len(data) > job.limit:
            data = data[: job.limit - job.sent]
            job.truncated = True
        job.sent += len(data)
        if data:
            self.stream.send(b"O", job.number, data)
        if job.truncated:
            self.kill_job(job)
        return not job.truncated

    def finish(self, job: Job) -> None:
        """Send what the pipes still hold (a survivor may keep them open) and the result."""
        for _ in range(64):
            if job.out < 0 or job.truncated or not self.pump(job):
                break
        for _ in range(4):
            if job.err < 0 or not job.read_errors():
                break
        del self.jobs[job.number]
        self.filling = True
        self.stream.send(b"X", job.number, job.result())
        self.stream.flush()
        if job.stdin >= 0:
            os.close(job.stdin)
        # A background program that goes on writing must not die of a closed pipe.
        self.discard += [fd for fd in (job.out, job.err) if fd >= 0]
        while len(self.discard) > DISCARDED_PIPES:
            os.close(self.discard.pop(0))
        self.survivors = dict(processes.tree(self.below(), {}))

    # Ending processes.

    def below(self, *, warm: bool = False) -> list[int]:
        """Children that run something of the agent's; with the waiting shells when asked."""
        keep = {self.spawner.zygote.pid, *(() if warm else self.warm)}
        return [pid for pid in processes.own_children() if pid not in keep]

    def kill_job(self, job: Job) -> None:
        """End all that the job started, wherever it moved to; older survivors stay."""
        keep = dict(self.survivors)
        keep.pop(job.pid, None)
        keep.update(
            {
                other.pid: processes.born(other.pid)
                for other in self.jobs.values()
                if other is not job
            }
        )
        until = time.monotonic() + 2.0
        while True:
            own = processes.tree([job.pid], {}) if job.code is None else {}
            victims = {**own, **processes.tree(self.below(), keep)}
            if not victims or time.monotonic() > until:
                break
            for pid in victims:
                processes.kill(pid)
            self.reap()
            time.sleep(0.0005)
        if victims and self.init:
            self.spawner.kill_all()
        if job.code is None:
            job.code = 137

    def kill_all(self) -> bool:
        """Kill every other process of the sandbox; True when none is left."""
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            if self.init:
                self.spawner.kill_all()
            for pid in [] if self.init else processes.tree(self.below(warm=True), {}):
                processes.kill(pid)
            self.reap()
            zygote = self.spawner.zygote.pid
            if not (processes.others(zygote) if self.init else self.below(warm=True)):
                return True
            time.sleep(0.0005)
        return False

    def tell(self, number: int) -> None:
        """What the agent left that is no file: its programs, but those kept for the host."""
        jobs = {job.pid for job in self.jobs.values()}
        left = processes.tree([pid for pid in self.below() if pid not in jobs], {})
        what = f"{len(left)} programs run" if left else processes.ipc_left() if self.init else ""
        if not what and self.init and os.path.isdir("/dev/mqueue") and os.listdir("/dev/mqueue"):
            what = "message queues are left"
        self.stream.send(b"X", number, json.dumps({"code": 0, "tail": what}).encode())
        self.stream.flush()

    def reap(self) -> None:
        """Collect the exit codes of the dead."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.spawner.zygote.pid:
                self.spawner.zygote.end()
            if pid in self.warm:
                self.warm.pop(pid).close()
            for job in self.jobs.values():
                if job.pid == pid and job.code is None:
                    killed = os.WIFSIGNALED(status)
                    job.code = 128 + os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
                    if killed:
                        self.cool()

    def reset(self, number: int) -> None:
        problem = "" if self.kill_all() else "processes are left"
        for job in self.jobs.values():
            self.discard += [fd for fd in (job.out, job.err, job.stdin) if fd >= 0]
            job.tail = b"the sandbox was reset"
            self.stream.send(b"X", job.number, job.result())
        for fd in self.discard:
            os.close(fd)
        self.jobs, self.discard, self.survivors = {}, [], {}
        problem = problem or self.spawner.wipe() or (processes.ipc_left() if self.init else "")
        self.stream.send(b"X", number, json.dumps({"code": 0, "tail": problem}).encode())
        self.stream.flush()
        self.filling = True

    # The loop.

    def watch(self) -> set[int]:
        """Wait for work; the descriptors that are ready."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        jobs = self.jobs.values()
        if not any(job.deadline and len(job.pending) > HIGH for job in jobs):
            poll.register(0, select.POLLIN)
        if self.stream.outbox:
            poll.register(1, select.POLLOUT)
        now = time.monotonic()
        times = [job.deadline for job in jobs if job.deadline is not None]
        for job in jobs:
            if job.heard_from > now:
                times.append(job.heard_from)
            elif len(self.stream.outbox) < HIGH:
                for fd in (job.out, job.err):
                    if fd >= 0:
                        poll.register(fd, select.POLLIN)
            if job.pending and job.stdin >= 0:
                poll.register(job.stdin, select.POLLOUT)
        for fd in self.discard:
            poll.register(fd, select.POLLIN)
        wait = (min(times) - now) * 1000 + 1 if times else None
        if self.filling:
            wait = PAUSE_MS if wait is None else min(wait, PAUSE_MS)
        return {fd for fd, _ in poll.poll(None if wait is None else max(0.0, wait))}

    def turn(self) -> None:
        if self.filling and not self.warm:
            self.fill()
        ready = self.watch()
        if not ready and self.filling:
            self.fill()
            return
        if 0 in ready:
            self.stream.receive()
        for job in list(self.jobs.values()):
            if job.stdin >= 0 and job.stdin in ready:
                job.feed()
            if job.out >= 0 and job.out in ready:
                self.pump(job)
            if job.err >= 0 and job.err in ready:
                job.read_errors()
        for fd in [fd for fd in self.discard if fd in ready]:
            if not _drained(fd):
                self.discard.remove(fd)
                os.close(fd)
        if self.wake in ready:
            os.read(self.wake, 4096)
            self.reap()
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.code is None and job.deadline is not None and now >= job.deadline:
                job.timed_out = True
                self.kill_job(job)
        for job in [job for job in self.jobs.values() if job.code is not None]:
            self.finish(job)


def _drained(fd: int) -> bool:
    """Throw away what a survivor of a finished job writes; False at its end."""
    try:
        return bool(os.read(fd, CHUNK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def main(config: dict[str, Any]) -> NoReturn:
    if os.getpid() != 1:
        import ctypes

        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    join(config.get("door"))
    if config.get("filter") and os.uname().machine in CALLS:
        filter_calls()
    Supervisor(config).serve()
