"""Runs tests inside a sandbox and says honestly what came of them.

This file is sent into the sandbox and run there by `python3 -c`; it imports nothing of agentrl.
It reads one JSON request a line and writes one JSON answer a line. pytest is imported once, before
any code of the repository; each request forks, and only the child sees the repository, so that
runs cannot affect each other.

The code under test runs in the child and may be hostile. What keeps it from lying:

- The answer is written by the parent, whose memory and descriptors the child cannot open (the
  process is made undumpable), and only from a message that carries a key the child's recorder
  holds. A child that leaves early, with whatever exit code, has sent none.
- A child in which pytest's own functions were replaced, or which grew a plugin that does not come
  from a conftest.py, says so instead of giving results.
- Nothing is read from ini files, PYTEST_* variables, the user's site or entry points.

Request: `root` (absolute), `paths` (put first on sys.path), `files` (test files, relative),
`tests` (ids to run, null: all), `write` ({path: text} put into place for this run only), `trace`
(folder or file prefixes whose functions are recorded by test, null: none), `timeout` (seconds of
processor time, so that a busy machine does not change results; ten times that on the clock),
`plugins` (modules of the image to be loaded as pytest plugins), `ini` ({pytest option: value}).

Answer: `status` ("finished", "timeout", "died", "tampered"), `tests` ({id: outcome}), `seconds`
({id: processor time, or a quarter of what passed on the clock}), `failures` ({id: {"message",
"frames": [[path, line], ..]}}), `errors` (of collection), `touched` ({id: [[path, line], ..]}, ""
for what ran at import).
"""

import contextlib
import ctypes
import gc
import json
import math
import os
import random
import resource
import secrets
import select
import signal
import sys
import time
import types
from typing import Any

# Below the sandbox's own limit, so that a runaway allocation is an error of the test that made it.
MEMORY = 768 << 20
ORIGINAL: dict = {}
EARLY: dict = {}
_CLOCK = [1_000_000_000]


def main() -> None:
    """Answer requests until stdin ends."""
    sys.path[:] = filter(None, sys.path)
    for name in [n for n in os.environ if n.startswith(("PYTEST_", "PYTHON"))]:
        del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    warm_up()
    answers = os.dup(1)
    os.set_inheritable(answers, False)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = "pong" if request == "ping" else run(request, answers)
        write_all(answers, (json.dumps(answer) + "\n").encode())


def warm_up() -> None:
    """Import all of pytest and run it once on nothing, so that a fork is ready to collect."""
    import importlib

    import pytest

    for name in ("doctest", "unittest.mock", "_pytest.unittest"):
        importlib.import_module(name)
    saved = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(null, fd)
    pytest.main(["-c", os.devnull, "-p", "no:cacheprovider", os.devnull], plugins=[Warmth()])
    sys.stdout.flush()
    sys.stderr.flush()
    for fd, kept in zip((1, 2), saved, strict=True):
        os.dup2(kept, fd)
        os.close(kept)
    gc.collect()
    gc.freeze()


def run(request: dict, answers: int) -> dict:
    """Fork, let the child run the tests, and collect its message until the deadline."""
    undo = put_files(request["root"], request.get("write") or {})
    reader, writer = os.pipe()
    key = secrets.token_hex(16)
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.close(answers)
        try:
            run_child(request, key, writer)
        finally:
            os._exit(1)
    os.close(writer)
    deadline = time.monotonic() + 10 * request["timeout"]
    text, in_time = read_until(reader, deadline)
    os.close(reader)
    status = end_group(child)
    put_files(request["root"], undo)
    if not in_time or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"status": "timeout"}
    head, _, body = text.partition(b"\n")
    if head != key.encode() or not body.endswith(b"\n" + key.encode()):
        return {"status": "died"}
    return json.loads(body[: -len(key) - 1])


def put_files(root: str, files: dict) -> dict:
    """Write files (None: remove); returns what undoes it.

    Every write gets a time stamp of its own: Python trusts a cached .pyc by whole seconds and
    size, and two mutants of one file often agree in both.
    """
    undo: dict = {}
    for path, text in files.items():
        full = os.path.join(root, path)
        try:
            with open(full, encoding="utf-8", newline="") as file:
                undo[path] = file.read()
        except FileNotFoundError:
            undo[path] = None
        if text is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(full)
            continue
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        _CLOCK[0] += 1
        os.utime(full, (_CLOCK[0], _CLOCK[0]))
    return undo


def read_until(fd: int, deadline: float) -> tuple:
    """All bytes up to end of file; (bytes, whether the end came before the deadline)."""
    parts: list = []
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([fd], [], [], max(left, 0))
        if not ready:
            return b"".join(parts), False
        part = os.read(fd, 1 << 20)
        if not part:
            return b"".join(parts), True
        parts.append(part)


def end_group(child: int) -> int:
    """Kill what the child left in its process group and wait for the child; its wait status.

    A child that has closed the pipe is ending by itself: the signal that does it is its own.
    """
    for _ in range(20):
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended:
            break
        time.sleep(0.001)
    for kill, target in ((os.killpg, child), (os.kill, child)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(target, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def run_child(request: dict, key: str, writer: int) -> None:
    """Run pytest in this process and send its record between two copies of the key."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    seconds = math.ceil(request["timeout"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    root = request["root"]
    os.chdir(root)
    random.seed(0)
    sys.path[:0] = [os.path.normpath(os.path.join(root, p)) for p in request["paths"]]
    import pytest

    recorder = Recorder(request, lambda record: send(record, key, writer))
    options = ["-c", os.devnull, "--rootdir", root, "-p", "no:cacheprovider", "-q"]
    options.append("--continue-on-collection-errors")
    for name in request.get("plugins") or []:
        options += ["-p", name]
    for option, value in (request.get("ini") or {}).items():
        options += ["-o", f"{option}={value}"]
    if recorder.trace:
        sys.setprofile(recorder.trace)
    pytest.main([*options, *request["files"]], plugins=[recorder])


def send(record: dict, key: str, writer: int) -> None:
    """The record between two copies of the key, and nothing after it."""
    write_all(writer, f"{key}\n{json.dumps(record)}\n{key}".encode())
    os._exit(0)


def fingerprint() -> dict:
    """The code of every function of the test machinery, by where it is found."""
    found: dict = {}
    for name in [n for n in sys.modules if n.split(".")[0] in ("pytest", "_pytest", "pluggy")]:
        for key, value in list(vars(sys.modules[name]).items()):
            if isinstance(value, types.FunctionType):
                found[name, key] = id(value.__code__)
            elif isinstance(value, type) and value.__module__.startswith(("_pytest", "pluggy")):
                for attribute, member in list(vars(value).items()):
                    member = getattr(member, "__func__", member)
                    if isinstance(member, types.FunctionType):
                        found[value.__module__, value.__qualname__, attribute] = id(member.__code__)
    return found


class Warmth:
    """Notes what pytest is made of inside a session: it changes a few of its methods there."""

    def pytest_load_initial_conftests(self) -> None:
        EARLY.update(fingerprint())

    def pytest_sessionfinish(self) -> None:
        ORIGINAL.update(fingerprint())


class Recorder:
    """A pytest plugin that runs only the wanted tests and writes down what happens."""

    def __init__(self, request: dict, send: Any) -> None:
        wanted = request.get("tests")
        self.wanted = None if wanted is None else set(wanted)
        self.prefixes = {prefix for test in wanted or () for prefix in prefixes(test)}
        self.root = request["root"] + os.sep
        self.send = send
        self.trace: FunctionTrace | None = None
        if request.get("trace"):
            self.trace = FunctionTrace(request["root"], request["trace"])
        self.strangers: list = []
        named = [name.split(".")[0] for name in request.get("plugins") or []]
        self.image = {"_pytest", "pluggy", *named}
        self.config: Any = None
        self.known: set = set()
        self.expected = ORIGINAL
        self.began = (0.0, 0.0)
        self.record: dict = {"tests": {}, "seconds": {}, "failures": {}, "errors": {}}

    def pytest_load_initial_conftests(self, early_config: Any) -> None:
        """What is there before any code of the repository, conftest.py included, has run."""
        self.known = {id(p) for p in early_config.pluginmanager.get_plugins()} | {id(self)}
        if early_config.known_args_namespace.plugins:
            now = fingerprint()
            changed = {place: code for place, code in now.items() if EARLY.get(place) != code}
            self.expected = {**ORIGINAL, **changed}

    def pytest_configure(self, config: Any) -> None:
        self.config = config

    def pytest_pycollect_makeitem(self, collector: Any, name: str) -> Any:
        """Nothing is made of what is not wanted: making items is most of the work of a run."""
        if self.wanted is not None and f"{collector.nodeid}::{name}" not in self.prefixes:
            return []
        return None

    def pytest_collection_modifyitems(self, items: list) -> None:
        if self.wanted is not None:
            items[:] = [item for item in items if item.nodeid in self.wanted]

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.record["errors"][report.nodeid] = str(report.longrepr)[-2000:]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.began = (time.process_time(), time.monotonic())
        if self.trace:
            self.trace.test = nodeid

    def pytest_runtest_logreport(self, report: Any) -> None:
        tests, name = self.record["tests"], report.nodeid
        used, passed = time.process_time() - self.began[0], time.monotonic() - self.began[1]
        self.record["seconds"][name] = max(used, passed / 4)
        if report.when == "call" and name not in tests:
            odd = "xfail" if hasattr(report, "wasxfail") else report.outcome
            tests[name] = odd
        elif report.outcome != "passed":
            tests[name] = "skipped" if report.outcome == "skipped" else "error"
        if report.failed and name not in self.record["failures"]:
            self.record["failures"][name] = self.failure(report.longrepr)

    def failure(self, representation: Any) -> dict:
        """The error, its message, and the frames inside the repository, outermost first."""
        crash = getattr(representation, "reprcrash", None)
        message = crash.message if crash else str(representation)
        frames = []
        for entry in getattr(getattr(representation, "reprtraceback", None), "reprentries", []):
            place = getattr(entry, "reprfileloc", None)
            if place is not None:
                path = os.path.abspath(place.path)
                if path.startswith(self.root):
                    frames.append([path[len(self.root) :], place.lineno])
        return {"message": message[:2000], "frames": frames}

    def pytest_sessionfinish(self) -> None:
        """Leave at once: what pytest does after the last test costs more than a short run."""
        sys.setprofile(None)
        for plugin in self.config.pluginmanager.get_plugins():
            path = getattr(plugin, "__file__", None) or ""
            module = type(plugin).__module__
            if isinstance(plugin, types.ModuleType):
                module = plugin.__name__
            own = module.split(".")[0] in self.image
            if id(plugin) not in self.known and not own and os.path.basename(path) != "conftest.py":
                self.strangers.append(repr(plugin))
        now = fingerprint()
        if self.strangers or any(now.get(p) != code for p, code in self.expected.items()):
            self.send({"status": "tampered"})
        if self.trace:
            touched = self.trace.touched
            self.record["touched"] = {test: sorted(where) for test, where in touched.items()}
        self.send({"status": "finished", **self.record})


def prefixes(test: str) -> list:
    """The ids of the classes and the function that a test is found in."""
    path, _, rest = test.partition("::")
    found = []
    for part in rest.partition("[")[0].split("::"):
        path += "::" + part
        found.append(path)
    return found


class FunctionTrace:
    """A profile function that notes which functions of the repository each test enters."""

    def __init__(self, root: str, prefixes: list) -> None:
        self.root = root + os.sep
        self.prefixes = tuple(os.path.join(root, p) for p in prefixes)
        self.test = ""
        self.touched: dict = {}
        self.paths: dict = {}

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        name = code.co_filename
        path = self.paths.get(name)
        if path is None:
            full = os.path.abspath(name)
            path = full[len(self.root) :] if full.startswith(self.prefixes) else ""
            self.paths[name] = path
        if path and code.co_name != "<module>":
            self.touched.setdefault(self.test, set()).add((path, code.co_firstlineno))


if __name__ == "__main__":
    main()
