"""Becoming the agent: children with another uid, their own session and their own pipes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from typing import Any

from agentrl.sandboxes.inside.files import OPERATIONS, wipe

READ_SCRIPT = 'IFS= read -r -d "" -u 3 c; exec 3<&-; eval "$c"'
NICE = 10


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

    def shell(self) -> tuple[int, int, int]:
        """A shell waiting for its script on descriptor 3: (pid, output, script)."""
        out, out_writer = os.pipe()
        script_reader, script = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                null = os.open(os.devnull, os.O_RDONLY)
                _place([(null, 0), (out_writer, 1), (out_writer, 2), (script_reader, 3)])
                self._become_agent(None)
                if self.bash:
                    os.execv(self.bash, ["bash", "-c", READ_SCRIPT, "bash"])
                os.execv("/bin/sh", ["sh", "-c", 'exec sh -c "$(cat <&3)" 3<&-'])
            finally:
                os._exit(126)
        _ours(out, script, theirs=(out_writer, script_reader))
        return pid, out, script

    def program(self, spec: dict[str, Any]) -> tuple[int, int, int, int]:
        """A program or a file operation: (pid, stdout, stderr, stdin).

        When it cannot be done, the last line on its stderr is the errno.
        """
        out, out_writer = os.pipe()
        err, err_writer = os.pipe()
        stdin_reader, stdin = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _place([(stdin_reader, 0), (out_writer, 1), (err_writer, 2)])
                self._become_agent(spec.get("cwd"))
                if spec["op"] == "program":
                    os.execvp(spec["argv"][0], spec["argv"])
                # The other pipes' ends would keep their readers from seeing the end.
                os.closerange(3, 1 << 16)
                OPERATIONS[spec["op"]](spec["path"])
                os._exit(0)
            except OSError as error:
                os.write(2, f"{error}\n{error.errno}".encode())
            finally:
                os._exit(126)
        _ours(out, err, stdin, theirs=(out_writer, err_writer, stdin_reader))
        return pid, out, err, stdin

    def wipe(self) -> str:
        """Empty the writable folders; what went wrong, '' when nothing."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(30)
                self._become_agent("/")
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

    def _become_agent(self, cwd: str | None) -> None:
        signal.set_wakeup_fd(-1)
        for name in ("PIPE", "XFSZ", "CHLD", "TERM", "INT", "HUP"):
            signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL)
        os.setsid()
        # A fork bomb must not starve the supervisor, nor the OOM killer choose it.
        os.nice(NICE)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
        for name, value in self.config["rlimits"].items():
            resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), (value, value))
        uid = self.config["uid"]
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        os.umask(0o022)
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(cwd or self.config["workdir"])


def _place(pairs: list[tuple[int, int]]) -> None:
    """dup2 every (from, to) even where the numbers overlap; all others close at exec."""
    moved = [(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 64), target) for source, target in pairs]
    for source, target in moved:
        os.dup2(source, target)


def _ours(*fds: int, theirs: tuple[int, ...]) -> None:
    for fd in theirs:
        os.close(fd)
    for fd in fds:
        with contextlib.suppress(OSError):
            os.set_blocking(fd, False)
