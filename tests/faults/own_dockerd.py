"""A Docker engine of the test's own, which may be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from agentrl.sandboxes import docker_available

# No --bridge=none: it would take the bridge of the machine's own engine away.
OPTIONS = (
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
    "--shutdown-timeout=1",
)


class OwnEngine:
    """`dockerd` with its own data, without a network, on a socket and on a loop-back port."""

    def __init__(self, port: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agentrl-dockerd-"))
        self.host = f"unix://{self.folder}/sock"
        self.tcp = f"tcp://127.0.0.1:{port}" if port else ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> OwnEngine:
        hosts = [word for host in (self.host, self.tcp) if host for word in ("-H", host)]
        folders = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        places = [f"--{option}={self.folder}/{name}" for option, name in folders.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", *OPTIONS, *places, *hosts],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 60
        while not docker_available(self.host)[0]:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, "dockerd did not come up"
            time.sleep(0.2)
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the engine, and as a service manager would, what a killed one leaves running."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        for proc in Path("/proc").iterdir():
            try:
                arguments = (proc / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if str(self.folder).encode() in arguments and proc.name.isdigit():
                os.kill(int(proc.name), signal.SIGKILL)
        # Where nobody collects the dead, a killed engine's pid files name "running" processes.
        for name in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / name).unlink(missing_ok=True)

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()

    def close(self) -> None:
        self.stop()
        mounts = Path("/proc/mounts").read_text().splitlines()
        for place in sorted((line.split()[1] for line in mounts), reverse=True):
            if place.startswith(str(self.folder)):
                subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
