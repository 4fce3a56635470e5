"""Weights in memory that other processes map: one copy out of the learner, none in between."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Names of the safetensors format (https://github.com/huggingface/safetensors, "Format").
_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}
_ALIGN = 64
_PREFIX = "agentrl-weights-"
# Folders may be shared between machines, process ids are not.
_HOST = re.sub(r"[^0-9A-Za-z]", "_", socket.gethostname())


def shared_memory() -> Path:
    """Where files live in memory, when there is such a place."""
    here = Path("/dev/shm")
    return here if here.is_dir() and os.access(here, os.W_OK) else Path(tempfile.gettempdir())


def _sweep(folder: Path) -> None:
    """Delete what processes of this machine that were killed have left: it takes up memory."""
    for path in folder.glob(f"{_PREFIX}{_HOST}-*.safetensors"):
        owner = path.name.removeprefix(f"{_PREFIX}{_HOST}-").partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class SharedWeights:
    """A safetensors file whose values are written in place, update after update.

    The file is laid out once; `write` is one copy of each tensor into mapped memory. Whoever reads
    it must be done before the next `write`.

    Args:
        folder: on a file system that the readers share; None: in this machine's memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or shared_memory()
        _sweep(folder)
        handle, name = tempfile.mkstemp(
            prefix=f"{_PREFIX}{_HOST}-{os.getpid()}-", suffix=".safetensors", dir=folder
        )
        os.close(handle)
        self.path = Path(name)
        self._layout: dict[str, tuple[str, tuple[int, ...]]] | None = None
        self._views: dict[str, torch.Tensor] = {}

    def write(self, weights: Mapping[str, Any]) -> None:
        """Copy all tensors into the file."""
        layout = {
            n: (str(w.dtype).removeprefix("torch."), tuple(w.shape)) for n, w in weights.items()
        }
        if layout != self._layout:
            self._lay_out(layout, weights)
        for name, view in self._views.items():
            view.copy_(weights[name].detach())

    def close(self) -> None:
        """Delete the file; who has it mapped keeps what is mapped."""
        self._views.clear()
        self.path.unlink(missing_ok=True)

    def _lay_out(
        self, layout: dict[str, tuple[str, tuple[int, ...]]], weights: Mapping[str, Any]
    ) -> None:
        import torch

        entries: dict[str, Any] = {}
        end = 0
        for name, (dtype, shape) in layout.items():
            size = math.prod(shape) * weights[name].element_size()
            entries[name] = {
                "dtype": _DTYPES[dtype],
                "shape": list(shape),
                "data_offsets": [end, end + size],
            }
            end += size
        header = json.dumps(entries).encode("utf-8")
        header += b" " * (-(len(header) + 8) % _ALIGN)
        with self.path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + end)
        whole = torch.from_file(
            str(self.path), shared=True, size=8 + len(header) + end, dtype=torch.uint8
        )
        data = whole[8 + len(header) :]
        for name, (_, shape) in layout.items():
            start, stop = entries[name]["data_offsets"]
            self._views[name] = data[start:stop].view(weights[name].dtype).view(shape)
        self._layout = layout
