"""The contenders of `sandbox.py`, run by the Python of an environment that has them.

PYTHON sandbox_peers.py mini-swe-agent|swe-rex IMAGE [brief]
"""

import asyncio
import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time

PARALLEL, COMMANDS = 16, 10
PAUSE = 0.005
BRIEF = sys.argv[3:] == ["brief"]
SINGLE, REPEATS = (1, 30) if BRIEF else (5, 100)


def timed(action, count, pause=0.0):
    times = []
    for _ in range(count):
        time.sleep(pause)
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def memory_mb(container):
    """Proportional set size of a container's processes and of the shim that keeps it."""

    def docker(*words):
        return subprocess.run(["docker", *words], capture_output=True, text=True).stdout

    first = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    with open(f"/proc/{first}/stat") as file:
        pids = [file.read().rpartition(")")[2].split()[1]]
    pids += docker("top", container, "-eo", "pid").split()[1:]
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            total += next(int(row.split()[1]) for row in file if row.startswith("Pss:"))
    return total / 1024


def in_threads(episode):
    """Seconds for all of them, or None when one did not end."""
    failures = []

    def guarded():
        try:
            episode()
        except Exception as error:  # noqa: BLE001  (a peer's own errors)
            failures.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=guarded) for _ in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        print(f"{len(failures)} of {PARALLEL} failed: {failures[0]!r}", file=sys.stderr)
        return None
    return time.perf_counter() - began


def mini(image):
    from minisweagent.environments.docker import DockerEnvironment

    made = []

    def start():
        run_args = ["--rm", "--network=none"]
        made.append(DockerEnvironment(image=image, cwd="/work", run_args=run_args))
        made[-1].execute({"command": "true"})

    def stop(environment):
        subprocess.run(["docker", "rm", "-f", environment.container_id], capture_output=True)
        environment.container_id = None

    row = {"ready_ms": timed(start, SINGLE)}
    row["exec_ms"] = timed(lambda: made[0].execute({"command": "echo hi"}), REPEATS, PAUSE)
    row["memory_mb"] = memory_mb(made[0].container_id)
    row["close_ms"] = timed(lambda: stop(made.pop()), SINGLE)

    def episode():
        environment = DockerEnvironment(image=image, cwd="/work", run_args=["--rm"])
        for _ in range(COMMANDS):
            environment.execute({"command": "echo hi"})
        stop(environment)

    if not BRIEF:
        row["parallel_16_s"] = in_threads(episode)
    return row


def rex(image):
    from swerex.deployment.docker import DockerDeployment
    from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest

    loop = asyncio.new_event_loop()
    run = loop.run_until_complete
    made = []
    how = {"pull": "never", "startup_timeout": 120}
    bridged = not subprocess.run(
        ["docker", "network", "inspect", "bridge"], capture_output=True
    ).returncode
    if not bridged:
        # Its server is reached over a port; without a bridge that can be the host's, for one.
        how |= {"port": 8000, "docker_args": ["--network=host"]}

    async def opened():
        deployment = DockerDeployment(image=image, **how)
        await deployment.start()
        await deployment.runtime.create_session(CreateBashSessionRequest(startup_timeout=10))
        return deployment

    def start():
        made.append(run(opened()))

    count = SINGLE if bridged else 1
    row = {"ready_ms": timed(start, count)}
    runtime = made[0].runtime
    action = BashAction(command="echo hi", timeout=10)
    row["session_ms"] = timed(lambda: run(runtime.run_in_session(action)), REPEATS, PAUSE)
    command = Command(command=["sh", "-c", "echo hi"], timeout=10)
    row["exec_ms"] = timed(lambda: run(runtime.execute(command)), REPEATS, PAUSE)
    row["memory_mb"] = memory_mb(made[0]._container_name)
    row["close_ms"] = timed(lambda: run(made.pop().stop()), count)

    def episode():
        async def whole():
            deployment = await opened()
            for _ in range(COMMANDS):
                await deployment.runtime.execute(command)
            await deployment.stop()

        asyncio.run(whole())

    if bridged and not BRIEF:
        row["parallel_16_s"] = in_threads(episode)
    return row


def main():
    logging.disable(logging.CRITICAL)
    os.environ["MSWEA_SILENT_STARTUP"] = "1"
    os.environ["SWE_REX_LOG_STREAM_LEVEL"] = "CRITICAL"
    with contextlib.redirect_stdout(io.StringIO()):
        row = {"mini-swe-agent": mini, "swe-rex": rex}[sys.argv[1]](sys.argv[2])
    print(json.dumps({key: value for key, value in row.items() if value is not None}))


if __name__ == "__main__":
    main()
