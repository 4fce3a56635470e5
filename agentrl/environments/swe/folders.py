"""Trees on the host's disk, ready to be copied into sandboxes."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agentrl.core import Task
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import write_folder

_KEPT = 64


class Folders:
    """Resolved tasks and their folders, made once for all episodes of a task.

    A package's pristine tree is written once; the folders of its tasks share the unchanged files
    by hard links.
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="agentrl-swe-")
        self._root = Path(self._temporary.name)
        self._tasks: OrderedDict[str, SweTask] = OrderedDict()
        self._agents: OrderedDict[str, Path] = OrderedDict()
        self._used: Counter[str] = Counter()
        self._lock = asyncio.Lock()
        self._made = 0

    def task(self, task: Task) -> SweTask:
        """The task resolved. Raises TaskFileError."""
        known = self._tasks.get(task.id)
        if known is None or known.task.payload != task.payload:
            known = self._tasks[task.id] = SweTask(task)
        self._tasks.move_to_end(task.id)
        if len(self._tasks) > _KEPT:
            self._tasks.popitem(last=False)
        return known

    async def pristine(self, swe: SweTask) -> Path:
        """The folder of the task's pristine tree; it stays until `close`."""
        async with self._lock:
            return await self._pristine(swe)

    @asynccontextmanager
    async def agent(self, swe: SweTask) -> AsyncIterator[Path]:
        """The folder of what the agent gets, which holds nothing of the solution."""
        payload = swe.payload
        key = f"{swe.task.id}\0{payload.bug}\0{payload.hidden}\0{payload.shown}"
        async with self._lock:
            if key not in self._agents:
                pristine = await self._pristine(swe)
                self._made += 1
                folder = self._root / f"agent-{self._made}"
                await asyncio.to_thread(_linked, swe, pristine, folder)
                self._agents[key] = folder
            self._agents.move_to_end(key)
            folder = self._agents[key]
            self._used[key] += 1
        try:
            yield folder
        finally:
            self._used[key] -= 1
            await self._evict()

    def close(self) -> None:
        self._temporary.cleanup()

    async def _pristine(self, swe: SweTask) -> Path:
        folder = self._root / swe.payload.repo
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            await asyncio.to_thread(write_folder, swe.pristine, partial)
            partial.rename(folder)
        return folder

    async def _evict(self) -> None:
        async with self._lock:
            unused = [key for key in self._agents if not self._used[key]]
            for key in unused[: max(0, len(self._agents) - _KEPT)]:
                await asyncio.to_thread(shutil.rmtree, self._agents.pop(key))


def _linked(swe: SweTask, pristine: Path, folder: Path) -> None:
    changed = {p: data for p, data in swe.base.items() if swe.pristine.get(p) != data}
    for path in swe.base.keys() - changed.keys():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(pristine / path, target)
    write_folder(changed, folder)
