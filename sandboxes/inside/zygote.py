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
from typing import Any, NoReturn

from agentrl.sandboxes.inside.agent import become_agent

LENGTH = struct.Struct(">I")
PID = struct.Struct(">i")
DESCRIPTORS = 3
ANSWER_SECONDS = 60.0
SERVE = b"from agentrl.sandboxes.inside import zygote; zygote.serve(0)"
OWN = "agentrl"


class Zygote:
    """The supervisor's end. It starts with the first program and again when it is gone.

    Args:
        config: the supervisor's, with `boot`, see `bootstrap`.
    """

    def __init__(self, config: dict[str, Any], env: dict[str, str]) -> None:
        self.pid = 0
        self._config, self._env = config, env
        self._socket: socket.socket | None = None

    def fork(self, spec: dict[str, Any], descriptors: tuple[int, ...]) -> int:
        """A program with these as stdin, stdout and stderr; its pid, a child of the supervisor."""
        if self._socket is None:
            self.spawn()
        assert self._socket is not None
        data = json.dumps({key: spec[key] for key in ("source", "preload", "cwd")}).encode()
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
        ours.settimeout(ANSWER_SECONDS)
        # No -I: it would ignore the hash seed, and with it the order of sets would be random.
        argv = [sys.executable, "-s", "-S", "-u", "-c", self._config["boot"]]
        env = {"PATH": self._env.get("PATH", os.defpath), "PYTHONHASHSEED": "0"}
        channel = (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)
        null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0)
        self.pid = os.posix_spawn(
            sys.executable, argv, env, file_actions=[channel, null], setsid=True
        )
        theirs.close()
        self._socket = ours
        modules = sys.modules["__main__"].__dict__["modules"]
        start = json.dumps({"config": self._config, "env": self._env}).encode()
        ours.sendall(b"".join(b"%08d" % len(part) + part for part in (modules, SERVE)))
        ours.sendall(LENGTH.pack(len(start)) + start)

    def end(self) -> None:
        """Forget it; it leaves when its socket closes."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self.pid = None, 0


def receive(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise EOFError("its socket closed")
        data += part
    return data


def serve(descriptor: int) -> NoReturn:
    """The waiting Python: fork for every request until the supervisor is gone."""
    channel = socket.socket(fileno=descriptor)
    start = json.loads(receive(channel, LENGTH.unpack(receive(channel, LENGTH.size))[0]))
    sys.path.extend(path for path in site_directories() if path not in sys.path)
    preloaded: set[str] = set()
    while True:
        space = socket.CMSG_SPACE(DESCRIPTORS * 4)
        head, ancillary, _, _ = channel.recvmsg(LENGTH.size, space)
        if len(head) < LENGTH.size:
            os._exit(0)
        descriptors = struct.unpack(f"{DESCRIPTORS}i", ancillary[0][2])
        spec = json.loads(receive(channel, LENGTH.unpack(head)[0]))
        if spec["preload"] not in preloaded:
            preload(spec["preload"])
            preloaded.add(spec["preload"])
        channel.sendall(PID.pack(fork(spec, descriptors, start)))
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


def fork(spec: dict[str, Any], descriptors: tuple[int, ...], start: dict[str, Any]) -> int:
    """Fork twice, so that the program becomes a child of the supervisor; its pid or -errno."""
    reader, writer = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return -(error.errno or 5)
    if middle == 0:
        try:
            pid = os.fork()
            if pid == 0:
                program(spec, descriptors, start)
            os.write(writer, PID.pack(pid))
        except OSError as error:
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
        for source, target in zip(descriptors, range(3)):
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
