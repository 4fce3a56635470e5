"""A warm pytest inside a sandbox: one request line in, one answer line out.

The source of this file and of `pytest_codes` is handed to `python -s -S -B -c`: it needs nothing
but the standard library (3.9 or newer) and pytest, and leaves no file behind that somebody could
change. The parent imports pytest and its installed plugins once, and never anything of the
repository under test: it runs without `site`, away from the repository, and forks a child for
each request. The child reports test by test, so that a deadline or a crash loses no outcome.

What it does not defend against: code under test runs in the process that reports on it, and
code written to deceive it can. What it can not do is to reach the next request.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import io
import json
import os
import random
import re
import resource
import select
import signal
import site
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentrl.tools.pytest_codes import Codes, loaded_from

MAX_EVENT_BYTES = 64 << 20
MAX_LINES, MAX_WIDTH = 8, 240
POLL_SECONDS = 0.05


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


class Installed:
    """A distribution with pytest plugins, as far as pytest wants to know it.

    It lists no files: pytest would rewrite the asserts of each, and hypothesis has hundreds.
    """

    files = ()

    def __init__(self, distribution: Any, entry_points: list[Any]) -> None:
        self.metadata, self.version = distribution.metadata, distribution.version
        self.entry_points = entry_points


def import_pytest() -> list[Any]:
    """Import pytest and what it would import at every start; the distributions with plugins."""
    import _pytest.config
    import pytest  # noqa: F401

    for name in (*_pytest.config.essential_plugins, *_pytest.config.default_plugins):
        importlib.import_module("_pytest." + name)
    importlib.import_module("pdb")
    found = []
    for distribution in importlib.metadata.distributions():
        entries = [e for e in distribution.entry_points if e.group == "pytest11"]
        if entries:
            found.append(Installed(distribution, entries))
        for entry in entries:
            # A broken plugin may raise anything; the child will say so.
            with contextlib.suppress(Exception):
                entry.load()
    return found


class Recorder:
    """The plugin in the child: every outcome becomes one line on the pipe, at once."""

    def __init__(
        self, pipe: int, max_failures: int, restore: Callable[[], None], targets: list[str]
    ) -> None:
        self.pipe, self.left, self.owner = pipe, max_failures, os.getpid()
        self.restore = restore
        self.root = os.getcwd()
        self.targets = {Path(os.path.abspath(target)) for target in targets}
        self.above = {folder for target in self.targets for folder in target.parents}

    def emit(self, **event: Any) -> None:
        if os.getpid() != self.owner:
            return  # a test forked and came back through pytest
        data = (json.dumps(event) + "\n").encode("ascii", "replace")
        while data:
            data = data[os.write(self.pipe, data) :]

    def pytest_configure(self, config: Any) -> None:
        self.restore()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """What lies beside the targets: pytest would ask every plugin about every neighbour."""
        wanted = (
            not self.targets or collection_path in self.targets or collection_path in self.above
        )
        if wanted or not self.targets.isdisjoint(collection_path.parents):
            return None
        return None if collection_path.name == "__init__.py" else True

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self.emit(start=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            outcome = report.outcome
            if report.failed and report.when != "call":
                outcome = "error"
            self.record(report, outcome)

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self.record(report, "error" if report.failed else "skipped")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Leave at once: summaries and farewells of plugins cost more than a short run."""
        if exitstatus not in (3, 4):
            self.emit(loaded=loaded_from(self.root))
            self.emit(end=int(exitstatus), error="")
            os._exit(0)

    def pytest_internalerror(self, excrepr: Any) -> None:
        self.emit(error="pytest failed: " + " | ".join(str(excrepr).splitlines()[-3:])[-500:])

    def record(self, report: Any, outcome: str) -> None:
        event = {"id": report.nodeid, "outcome": outcome}
        if report.failed and self.left > 0:
            self.left -= 1
            event["frames"], event["message"] = describe(report.longrepr)
            event["when"] = getattr(report, "when", None) or "collect"
        self.emit(**event)


def describe(longrepr: Any) -> tuple[list[list[Any]], list[str]]:
    """A failure as frames `[path, line, source]`, the test first, and its message lines."""
    frames: list[list[Any]] = []
    lines: list[str] = []
    traceback = getattr(longrepr, "reprtraceback", None)
    for entry in getattr(traceback, "reprentries", ()):
        place = getattr(entry, "reprfileloc", None)
        source = [x for x in entry.lines if x.startswith("    ") and x.strip(" ^~")]
        if place is not None:
            text = source[-1].strip()[:MAX_WIDTH] if source else ""
            frames.append([place.path, place.lineno, text])
        lines = [line for line in entry.lines if line.startswith("E")] or lines
    if not lines:
        every = str(longrepr).splitlines()
        lines = [line for line in every if line.startswith("E")] or every[-MAX_LINES:]
    # Addresses differ from run to run, and say nothing.
    lines = [re.sub(r" at 0x[0-9a-f]{4,}", "", line) for line in lines]
    message = [line[4:] if line.startswith("E   ") else line for line in lines]
    return frames, [line[:MAX_WIDTH] for line in message[:MAX_LINES]]


class Remembering(io.TextIOWrapper):
    """A text file over /dev/null that knows the last few thousand characters."""

    tail = ""

    def __init__(self) -> None:
        super().__init__(io.BufferedWriter(io.FileIO(os.devnull, "w")), "utf-8", "replace")

    def write(self, text: str) -> int:
        self.tail = (self.tail + text[-4000:])[-4000:]
        return super().write(text)


def child(
    request: dict[str, Any], pipe: int, plugins: list[Any], sites: list[str], codes: Codes
) -> None:
    """Run one request and never return."""
    code, error = 3, ""
    recorder = None
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout, sys.stderr = Remembering(), (stderr := Remembering())
        root = request["root"]
        os.chdir(root)
        if seconds := request["cpu"]:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        os.environ.update(request["env"])
        set_paths(root, sites)
        targets = [t.partition("::")[0] for t in request["targets"]]
        recorder = Recorder(pipe, request["max_failures"], only_these(plugins), targets)
        codes.install(root)
        random.seed(0)
        import pytest

        for first in (Recorder.pytest_sessionfinish, Recorder.pytest_ignore_collect):
            pytest.hookimpl(tryfirst=True)(first)
        code = int(pytest.main(arguments(request), plugins=[recorder]))
        if code in (3, 4):
            said = [line for line in stderr.tail.splitlines() if line.strip()]
            error = " | ".join([line for line in said if line.startswith("ERROR")] or said)
    except BaseException as exception:  # noqa: BLE001  (boundary: the repository's code)
        error = f"{type(exception).__name__}: {exception}"
    finally:
        try:
            (recorder or Recorder(pipe, 0, gc.enable, [])).emit(end=code, error=error[-1000:])
        finally:
            os._exit(0)


def arguments(request: dict[str, Any]) -> list[str]:
    """The repository's ini file, addopts and cache play no part; its conftest if allowed."""
    fixed = ["-c", os.devnull, "--rootdir", request["root"], "-o", "addopts="]
    fixed += ["-p", "no:cacheprovider", "--tb=short", "--capture=no", "--color=no"]
    fixed += ["-q", "--no-header", "--no-summary", "--continue-on-collection-errors"]
    if request["noconftest"]:
        fixed.append("--noconftest")
    return [*fixed, *request["args"], *request["targets"]]


def set_paths(root: str, sites: list[str]) -> None:
    """What `python -m pytest` in the repository would see, .pth files included."""
    for directory in sites:
        site.addsitedir(directory)
    extra = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    source = os.path.join(root, "src")
    sys.path[:0] = [root, *([source] if os.path.isdir(source) else []), *extra]
    importlib.invalidate_caches()


def only_these(plugins: list[Any]) -> Callable[[], None]:
    """Let pytest find the plugins that the parent found, and spare it the search.

    Metadata in the repository itself (an .egg-info with entry points) is not looked at.
    """
    found = importlib.metadata.distributions

    def distributions(**context: Any) -> Any:
        return found(**context) if context else iter(plugins)

    def restore() -> None:
        importlib.metadata.distributions = found

    importlib.metadata.distributions = distributions
    return restore


class Run:
    """The parent's side of one request: collects events until end, crash or deadline."""

    def __init__(self, pid: int, pipe: int, timeout: float, codes: Codes) -> None:
        self.pid, self.pipe, self.codes = pid, pipe, codes
        self.begin = time.monotonic()
        self.deadline = self.begin + timeout
        self.buffer, self.size = b"", 0
        self.outcomes: dict[str, str] = {}
        self.failures: list[dict[str, Any]] = []
        self.current = self.error = ""
        self.code: int | None = None
        self.timed_out = False

    def collect(self, requests: int) -> None:
        """Until the child is done. A closed `requests` ends everything: nobody is left to ask."""
        hangup = select.poll()
        hangup.register(requests, 0)
        while self.code is None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self.timed_out, self.code = True, 124
                return
            ready, _, _ = select.select([self.pipe], [], [], min(left, POLL_SECONDS))
            if ready and not self.take():
                break
            if not ready:
                if hangup.poll(0):
                    os.killpg(self.pid, signal.SIGKILL)
                    os._exit(0)
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    while select.select([self.pipe], [], [], 0)[0] and self.take():
                        pass
                    break

    def take(self) -> bool:
        data = os.read(self.pipe, 1 << 16)
        self.size += len(data)
        if self.size > MAX_EVENT_BYTES:
            self.error, self.code = "the tests reported too much", 3
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            try:
                self.event(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # something else wrote to the pipe
        return bool(data)

    def event(self, event: dict[str, Any]) -> None:
        if "start" in event:
            self.current = str(event["start"])
        elif "id" in event:
            self.outcomes[str(event["id"])] = str(event["outcome"])
            if "message" in event:
                self.failures.append(event)
            if event["id"] == self.current:
                self.current = ""
        elif "loaded" in event:
            self.codes.name(event["loaded"])
        elif "end" in event:
            self.code, self.error = int(event["end"]), self.error or str(event["error"])
        elif "error" in event:
            self.error = str(event["error"])

    def finish(self) -> dict[str, Any]:
        """Kill what is left, and say what was found."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if self.code is None:
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            how = f"signal {number}" if number else "it left with os._exit"
            self.code, self.error = 128 + number, f"the test process ended early ({how})"
            if number == signal.SIGXCPU:
                self.timed_out, self.code, self.error = True, 124, "its processor time was used up"
        if self.current and self.code >= 124:
            self.outcomes[self.current] = "error"
            self.error = self.error or "the deadline passed"
            self.error += f" in {self.current}"
        counts = Counter(self.outcomes.values())
        return {
            "exit_code": self.code,
            "counts": counts,
            "outcomes": self.outcomes,
            "failures": self.failures,
            "seconds": time.monotonic() - self.begin,
            "timed_out": self.timed_out,
            "error": self.error,
        }


def answer(
    request: dict[str, Any], known: tuple[list[Any], list[str], Codes], requests: int, replies: int
) -> dict[str, Any]:
    """Fork, follow the child to its end, and leave nothing of it but its files' names."""
    if not os.path.isdir(request["root"]):
        return {"exit_code": 4, "error": f"no such folder: {request['root']}"}
    codes = known[-1]
    codes.refresh()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        for descriptor in (reading, requests, replies):
            os.close(descriptor)
        child(request, writing, *known)
    os.close(writing)
    os.setpgid(pid, pid)
    run = Run(pid, reading, request["timeout"], codes)
    try:
        run.collect(requests)
    finally:
        result = run.finish()
        os.close(reading)
    return result


def main() -> None:
    """Serve until stdin closes; fds 0, 1 and 2 become /dev/null, so that no print reaches ours."""
    requests, replies = os.dup(0), os.dup(1)
    sites = site_directories()
    sys.path.extend(d for d in sites if d not in sys.path)
    os.chdir("/")
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        del os.environ[name]
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    plugins, codes = import_pytest(), Codes()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    gc.collect()
    gc.freeze()
    with os.fdopen(requests, "rb", closefd=False) as lines:
        for line in lines:
            request = json.loads(line)
            if "root" in request:
                reply = answer(request, (plugins, sites, codes), requests, replies)
            else:
                reply = {"modules": sorted(sys.modules)}
            data = (json.dumps(reply) + "\n").encode()
            while data:
                data = data[os.write(replies, data) :]
