"""Sending the supervisor into a sandbox as program text, over the stream it will then serve.

Not as an argument: the agent would see all of it in `ps`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "agentrl.sandboxes.inside"
MODULES = ("stream", "processes", "files", "calls", "agent", "zygote", "job", "spawning",
           "supervisor")  # fmt: skip
HIVE_MODULES = (*MODULES, "cgroups", "cell", "nursery", "hive")
READ_PROGRAM = (
    "import sys\n"
    "sys.path[:] = filter(None, sys.path)\n"
    "import os\n"
    "def take(n, t=b''):\n"
    "    while len(t) < n: t += os.read(0, n - len(t)) or exit(0)\n"
    "    return t\n"
    "modules = take(int(take(8)))\n"
    "exec(modules)\n"
    "exec(take(int(take(8))))"
)
# No site, no environment variables of the image.
INTERPRETER_OPTIONS = ["-I", "-S", "-u", "-c", READ_PROGRAM]

LOADER = """
import sys, types
name = ""
for part in {package!r}.split("."):
    name = name + "." + part if name else part
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
package = sys.modules[name]
for module, text in {sources!r}:
    loaded = types.ModuleType(name + "." + module)
    sys.modules[loaded.__name__] = loaded
    setattr(package, module, loaded)
    exec(compile(text, "<" + module + ">", "exec"), loaded.__dict__)
"""


@cache
def _modules(names: tuple[str, ...]) -> str:
    folder = Path(__file__).with_name("inside")
    sources = [(name, (folder / f"{name}.py").read_text()) for name in names]
    return LOADER.format(package=PACKAGE, sources=sources)


def program(config: dict[str, Any], modules: tuple[str, ...] = MODULES) -> bytes:
    """The first bytes to send to `python3 *INTERPRETER_OPTIONS`: two texts with their lengths,
    the modules (kept there, to start another Python with) and what to run, `main` of the last."""
    config = {**config, "boot": READ_PROGRAM}
    run = f"import json\nloaded.main(json.loads({json.dumps(config)!r}))"
    parts = (_modules(modules).encode(), run.encode())
    return b"".join(b"%08d" % len(part) + part for part in parts)
