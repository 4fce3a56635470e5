"""Becoming the agent: children with another uid, their own session and their own pipes.

Shells are spawned without forking Python (`posix_spawn`, which copies no memory): for that moment
the supervisor takes the agent's real and effective uid and keeps 0 as saved uid, which exec drops
in the child. Meanwhile the agent could only signal the supervisor, and PID 1 is deaf to that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from agentrl.sandboxes.inside import processes
from agentrl.sandboxes.inside.agent import become_agent
from agentrl.sandboxes.inside.files import OPERATIONS, wipe
from agentrl.sandboxes.inside.zygote import Zygote

# The OOM killer must choose the agent's processes, not the supervisor.
PREFIX = "echo 500 >/proc/self/oom_score_adj; "
# A script comes through a pipe, where it is waited for, or (a long one: bash reads a pipe byte by
# byte, 0.3 us each) has been put into a file when that pipe ends with nothing in it.
READ_SCRIPT = PREFIX + (
    'IFS= read -r -d "" -u 3 c; [[ $c ]] || IFS= read -r -d "" -u 4 c; exec 3<&- 4<&-; eval "$c"'
)
LONG_SCRIPT = 300
EXEC_PROGRAM = PREFIX + 'exec "$@"'
SH_READ_SCRIPT = 'exec sh -c "$(cat <&3; cat <&4)" 3<&- 4<&-'


class Shell(NamedTuple):
    """One that waits for its script, which it reads from `pipe`, or from `file` when it is long."""

    pid: int
    out: int
    pipe: int
    file: int

    def run(self, script: bytes) -> None:
        """Raises OSError: there is no memory for the script. One that died says so by dying."""
        try:
            if len(script) <= LONG_SCRIPT:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self.pipe, script)
            elif os.pwrite(self.file, script, 0) < len(script):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        except OSError:
            os.close(self.out)
            raise
        finally:
            os.close(self.file)
            os.close(self.pipe)

    def close(self) -> None:
        for fd in self[1:]:
            os.close(fd)


class Spawner:
    """Starts children as the agent.

    Args:
        config: `uid` (None: stay who we are), `env`, `workdir`, `rlimits`, `writable`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.env = {**os.environ, **config["env"]}
        shells = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash")
        self.bash = next((path for path in shells if os.path.exists(path)), None)
        self.zygote = Zygote(config, self.env)
        os.umask(0o022)
        for name, value in config["rlimits"].items():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), (value, value))
        if config["uid"] is not None:
            os.setgroups([])
            self._open_folders()

    def shell(self) -> Shell:
        out, out_writer = os.pipe()
        reader, pipe = os.pipe()
        file = os.memfd_create("script")
        null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        argv = ["bash", "-c", READ_SCRIPT, "bash"] if self.bash else ["sh", "-c", SH_READ_SCRIPT]
        theirs = _dup((out_writer, 1), (out_writer, 2), (reader, 3), (file, 4))
        with _pipes((out, pipe, file), (out_writer, reader)):
            pid = self._spawn(argv, None, [null, *theirs])
        return Shell(pid, out, pipe, file)

    def program(self, argv: list[str], cwd: str | None) -> tuple[int, int, int, int]:
        """A program that stays: (pid, stdout, stderr, stdin)."""
        out, out_writer = os.pipe()
        err, err_writer = os.pipe()
        stdin_reader, stdin = os.pipe()
        if self.bash:
            argv = ["bash", "-c", EXEC_PROGRAM, "bash", *argv]
        else:
            argv = ["sh", "-c", 'exec "$@"', "sh", *argv]
        with _pipes((out, err, stdin), (out_writer, err_writer, stdin_reader)):
            pid = self._spawn(argv, cwd, _dup((stdin_reader, 0), (out_writer, 1), (err_writer, 2)))
        return pid, out, err, stdin

    def python(self, spec: dict[str, Any]) -> tuple[int, int, int, int]:
        """A fork of the waiting Python: (pid, stdout, stderr, stdin)."""
        out, out_writer = os.pipe()
        err, err_writer = os.pipe()
        stdin_reader, stdin = os.pipe()
        with _pipes((out, err, stdin), (out_writer, err_writer, stdin_reader)):
            spec = {**spec, "cwd": spec["cwd"] or self.config["workdir"]}
            pid = self.zygote.fork(spec, (stdin_reader, out_writer, err_writer))
        return pid, out, err, stdin

    def kill_all(self) -> None:
        """End every process of the agent's uid, and of no other."""
        with self._disguise("/"):
            processes.kill(-1)

    def operation(self, name: str, path: str) -> tuple[int, int, int, int]:
        """A file operation: (pid, stdout, stderr, stdin); a failure's errno ends its stderr."""
        out, out_writer = os.pipe()
        err, err_writer = os.pipe()
        stdin_reader, stdin = os.pipe()
        with _pipes((out, err, stdin), (out_writer, err_writer, stdin_reader)):
            pid = os.fork()
            if pid == 0:
                try:
                    for source, target in ((stdin_reader, 0), (out_writer, 1), (err_writer, 2)):
                        os.dup2(source, target)
                    # Other pipes' ends left open here would hide the end of the data.
                    os.closerange(3, 1 << 16)
                    become_agent(self.config, self.env)
                    OPERATIONS[name](path)
                    os._exit(0)
                except OSError as error:
                    os.write(2, f"{error}\n{error.errno}".encode())
                finally:
                    os._exit(126)
        return pid, out, err, stdin

    def wipe(self) -> str:
        """Empty the writable folders; what went wrong, '' when nothing."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(30)
                become_agent(self.config, self.env)
                os.chdir("/")
                wipe(self.config["writable"])
                os._exit(0)
            except OSError as error:
                os.write(writer, str(error).encode()[:1000])
            finally:
                os._exit(1)
        os.close(writer)
        text = os.read(reader, 1000).decode("utf-8", "replace")
        os.close(reader)
        status = os.waitpid(pid, 0)[1]
        return text or (f"wiping ended with status {status}" if status else "")

    def _open_folders(self) -> None:
        """Give the agent the folders that an engine could give to nobody but root."""
        for path, mode in self.config["writable"]:
            if os.path.isdir(path):
                status = os.stat(path)
                if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) != mode:
                    os.chmod(path, mode)

    def _spawn(self, argv: list[str], cwd: str | None, actions: list[tuple]) -> int:
        shell = self.bash or "/bin/sh"
        with self._disguise(cwd or self.config["workdir"]):
            return os.posix_spawn(
                shell, argv, self.env, file_actions=actions, setsid=True, setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )  # fmt: skip

    @contextlib.contextmanager
    def _disguise(self, cwd: str) -> Iterator[None]:
        """The agent's directory and uid, for one spawn."""
        uid = self.config["uid"]
        if uid is None:
            os.chdir(cwd)
            yield
            return
        try:
            os.setresgid(uid, uid, 0)
            os.setresuid(uid, uid, 0)
            os.chdir(cwd)
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.chdir("/")


def _dup(*pairs: tuple[int, int]) -> list[tuple]:
    return [(os.POSIX_SPAWN_DUP2, source, target) for source, target in pairs]


@contextlib.contextmanager
def _pipes(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Iterator[None]:
    """Close the child's ends afterwards, and ours too when it could not be started."""
    try:
        yield
    except OSError:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    for fd in ours:
        os.set_blocking(fd, False)
