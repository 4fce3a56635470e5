"""Becoming the agent."""

from __future__ import annotations

import os
import signal
from typing import Any


def become_agent(config: dict[str, Any], env: dict[str, str]) -> None:
    """In a forked child, for good."""
    signal.set_wakeup_fd(-1)
    for name in ("PIPE", "XFSZ", "CHLD", "TERM", "INT", "HUP"):
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL)
    os.setsid()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    uid = config["uid"]
    if uid is not None:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.environ.clear()
    os.environ.update(env)
