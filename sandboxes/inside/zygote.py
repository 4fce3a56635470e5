"""A Python that has imported what programs need: each program is a fork of it.

It is a process of its own under uid 0, so that no process of the agent can touch it, and it lives
through resets. Its memory stays clean: it is told programs of the host and nothing else. A fork
carries all of its parent's memory, and the supervisor's has seen what other episodes did.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import site
import socket
import struct
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NoReturn

from agentrl.sandboxes.inside.agent import become_agent

LENGTH = struct.Struct(">I")
PID = struct.Struct(">i")
DESCRIPTORS = 3
ANSWER_SECONDS = 60.0
SERVE = "from agentrl.sandboxes.inside import {role} as role; role.serve(0)"
OWN = "agentrl"


class Zygote:
    """The other end. It starts with the first program and again when it is gone.

    Args:
        config: of the first process, with `boot`, see `bootstrap`.
        role: the module whose `serve` it runs.
    """

    def __init__(self, config: dict[str, Any], env: dict[str, str], role: str = "zygote") -> None:
        self.pid = 0
        self._config, self._env, self._role = config, env, role
        self._socket: socket.socket | None = None

    def fork(self, spec: dict[str, Any], descriptors: tuple[int, ...]) -> int:
        """A program with these as stdin, stdout and stderr; its pid, a child of this process."""
        if self._socket is None:
            self.spawn()
        known = {key: spec[key] for key in ("source", "preload", "cwd")}
        return self.ask(known, descriptors)

    def ask(self, spec: dict[str, Any], descriptors: tuple[int, ...] = (0,) * DESCRIPTORS) -> int:
        """Send a request, return the answer. Raises OSError."""
        assert self._socket is not None
        data = json.dumps(spec).encode()
        try:
            rights = struct.pack(f"{DESCRIPTORS}i", *descriptors)
            head = LENGTH.pack(len(data))
            self._socket.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            self._socket.sendall(data)
            pid = int(PID.unpack(receive(self._socket, PID.size))[0])
        except (OSError, EOFError) as error:
            self.end()
            raise OSError(5, f"the waiting Python is gone: {error}") from error
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def spawn(self) -> None:
        ours, theirs = socket.socketpair()
        # No -I: it would ignore the hash seed, and with it the order of sets would be random.
        argv = [sys.executable, "-s", "-S", "-u", "-c", self._config["boot"]]
        env = {"PATH": self._env.get("PATH", os.defpath), "PYTHONHASHSEED": "0"}
        channel = (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)
        null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0)
        self.pid = os.posix_spawn(
            sys.executable, argv, env, file_actions=[channel, null], setsid=True
        )
        theirs.close()
        modules = sys.modules["__main__"].__dict__["modules"]
        serve = SERVE.format(role=self._role).encode()
        ours.sendall(b"".join(b"%08d" % len(part) + part for part in (modules, serve)))
        self._begin(ours)

    def inherit(self, preloaded: str) -> None:
        """Be a fork of this process, which is clean still and has run that preload."""
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(theirs.fileno(), 0)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.closerange(3, 1 << 16)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            serve(0, preloaded)
        theirs.close()
        self._begin(ours)

    def end(self) -> None:
        """Forget it; it leaves when its socket closes."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self.pid = None, 0

    def _begin(self, channel: socket.socket) -> None:
        channel.settimeout(ANSWER_SECONDS)
        start = json.dumps({"config": self._config, "env": self._env}).encode()
        channel.sendall(LENGTH.pack(len(start)) + start)
        self._socket = channel


def receive(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise EOFError("its socket closed")
        data += part
    return data


def serve(descriptor: int, preloaded: str = "") -> NoReturn:
    """The waiting Python: fork a program for every request."""
    done = {preloaded}

    def run(spec: dict[str, Any], descriptors: tuple[int, ...], start: dict[str, Any]) -> int:
        if spec["preload"] not in done:
            preload(spec["preload"])
            done.add(spec["preload"])
        return fork(lambda: None, lambda: program(spec, descriptors, start))

    answer(descriptor, run)


def answer(
    descriptor: int, make: Callable[[dict[str, Any], tuple[int, ...], dict[str, Any]], int]
) -> NoReturn:
    """Answer requests with pids until the other end is gone."""
    channel = socket.socket(fileno=descriptor)
    start = json.loads(receive(channel, LENGTH.unpack(receive(channel, LENGTH.size))[0]))
    sys.path.extend(path for path in site_directories() if path not in sys.path)
    while True:
        space = socket.CMSG_SPACE(DESCRIPTORS * 4)
        head, ancillary, _, _ = channel.recvmsg(LENGTH.size, space)
        if len(head) < LENGTH.size:
            os._exit(0)
        descriptors = struct.unpack(f"{DESCRIPTORS}i", ancillary[0][2])
        spec = json.loads(receive(channel, LENGTH.unpack(head)[0]))
        channel.sendall(PID.pack(make(spec, descriptors, start)))
        for each in descriptors:
            os.close(each)


def preload(source: str) -> None:
    """Failures show when the program itself imports what cannot be imported."""
    import gc

    gc.disable()
    with contextlib.suppress(Exception):
        exec(compile(source, "<preload>", "exec"), {"__name__": "preload"})
    gc.enable()
    gc.collect()
    gc.freeze()


def fork(first: Callable[[], None], then: Callable[[], NoReturn]) -> int:
    """Run `first` in a fork and `then` in a fork of that, which becomes a child of the parent's
    parent (its init, or subreaper); its pid, or -errno."""
    reader, writer = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return -(error.errno or 5)
    if middle == 0:
        try:
            first()
            pid = os.fork()
            if pid == 0:
                then()
            os.write(writer, PID.pack(pid))
        except OSError as error:
            os.write(2, f"{error}\n".encode())
            os.write(writer, PID.pack(-(error.errno or 5)))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(middle, 0)
    answer = os.read(reader, PID.size)
    os.close(reader)
    return int(PID.unpack(answer)[0]) if answer else -5


def program(spec: dict[str, Any], descriptors: tuple[int, ...], start: dict[str, Any]) -> NoReturn:
    """In the fork: become the agent and run the source as `python -s -c` would."""
    code = 1
    try:
        for target, source in enumerate(descriptors):
            os.dup2(source, target)
        os.closerange(3, 1 << 16)
        env = {k: v for k, v in start["env"].items() if not k.startswith("PYTHON")}
        become_agent(start["config"], {**env, "PYTHONHASHSEED": "0"})
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(spec["cwd"])
        # A repository may hold packages of the same names.
        for name in [name for name in sys.modules if name.split(".")[0] == OWN]:
            del sys.modules[name]
        sys.argv = ["-c"]
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(spec["source"], "<string>", "exec"), main.__dict__)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  (boundary: the program's own code)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def site_directories() -> list[str]:
    """Where packages are installed, as `site` would find it, but without running .pth files."""
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    config = os.path.join(prefix, "pyvenv.cfg")
    if not os.path.exists(config):
        return site.getsitepackages([sys.prefix, sys.exec_prefix])
    with open(config, encoding="utf-8") as file:
        shared = "include-system-site-packages = true" in file.read().lower()
    base = [sys.prefix] if shared else []
    sys.prefix = sys.exec_prefix = prefix
    return site.getsitepackages([prefix, *base])
