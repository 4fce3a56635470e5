"""Where the answer of a task stands that the agent could read."""

from __future__ import annotations

import json
import re

from agentrl.core import Sandbox
from agentrl.environments.swe.task import SweTask

_SHORT = 16
_SHARE = 0.5
# Looks, from outside the repository, for installed copies of the files that the fix changes.
_LOOK = """
import json, os, sys
asked = json.loads(sys.argv[1])
for place in sys.path:
    for path, lines in asked.items():
        full = os.path.join(place, path)
        try:
            text = {" ".join(line.split()) for line in open(full, encoding="utf-8")}
        except (OSError, UnicodeDecodeError):
            continue
        found = [line for line in lines if line in text]
        if len(found) * 2 >= len(lines):
            print(json.dumps([full, found[0]]))
"""


def added_lines(swe: SweTask) -> dict[str, list[str]]:
    """By file, lines that only the gold patch has: long enough to be told from chance, no
    imports and no comments. White space is folded."""
    base = {" ".join(line.split()) for path in swe.base for line in _lines(swe.base[path])}
    found: dict[str, list[str]] = {}
    path = ""
    for line in swe.reference.gold_patch.splitlines():
        if line.startswith("+++ "):
            path = line[4:].removeprefix("b/")
        elif line.startswith("+"):
            text = " ".join(line[1:].split())
            telling = len(text) >= _SHORT and not text.startswith(("#", "import ", "from "))
            if telling and re.search(r"\w\W+\w", text) and text not in base:
                found.setdefault(path, []).append(text)
    return found


def leaks_in_files(swe: SweTask) -> list[str]:
    """In the issue, in the agent's copy outside the source, in history that came with it."""
    added = added_lines(swe)
    lines = [line for some in added.values() for line in some]
    found = []
    issue = " ".join(swe.task.prompt.split())
    told = [line for line in lines if line in issue]
    if told:
        found.append(f"the issue tells a line of the fix: {told[0]}")
    history = ""
    for path, data in sorted(swe.base.items()):
        if swe.is_source(path):
            continue
        if path.startswith(".git/") or "/.git/" in path or path.startswith((".hg/", ".svn/")):
            history = history or path
            continue
        there = {" ".join(line.split()).lstrip("+ ") for line in _lines(data)}
        copied = [line for line in lines if line in there]
        if lines and len(copied) >= max(1, _SHARE * len(lines)):
            found.append(f"{path} holds the fix: {copied[0]}")
    if history:
        found.append(f"the agent's copy holds version history: {history}")
    return found


async def leaks_in_sandbox(swe: SweTask, sandbox: Sandbox, python: str) -> list[str]:
    """Installed copies of the fixed files, in the image that the agent works in."""
    asked: dict[str, list[str]] = {}
    for path, lines in added_lines(swe).items():
        for base in swe.payload.paths:
            prefix = "" if base == "." else f"{base}/"
            if path.startswith(prefix):
                asked[path.removeprefix(prefix)] = lines
    if not asked:
        return []
    await sandbox.write("/tmp/look.py", _LOOK)
    await sandbox.write("/tmp/asked.json", json.dumps(asked))
    result = await sandbox.exec(
        f'cd / && {python} -c "$(cat /tmp/look.py)" "$(cat /tmp/asked.json)"', timeout=60.0
    )
    rows = [json.loads(line) for line in result.output.splitlines() if line.startswith('["')]
    return [f"an installed package holds the fix: {path}: {line}" for path, line in rows]


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
