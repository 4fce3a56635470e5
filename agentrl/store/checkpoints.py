"""Checkpoints that are whole or absent: safetensors and JSON, no pickle.

checkpoints/latest                     name of the newest one
checkpoints/step-000120/model.safetensors
checkpoints/step-000120/state.safetensors   tensors of the state (optimiser, generators)
checkpoints/step-000120/state.json          the rest of it
checkpoints/step-000120/manifest.json       size and SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentrl.store.errors import (
    DamagedCheckpointError,
    StoreError,
    disk_full,
    readable_errors,
)
from agentrl.store.files import sync, write_atomic
from agentrl.store.tree import flatten, unflatten

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(\d+)$")
_DATA = ("model.safetensors", "state.safetensors", "state.json")


@dataclass(slots=True)
class Checkpoint:
    """What a checkpoint holds: the model's tensors by name, and any further state."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; one process writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        if not self.directory.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        return self.directory / f"step-{step:06d}"

    def latest(self) -> int | None:
        """The newest checkpoint's step. The pointer wins while what it names is there."""
        steps = self.steps()
        try:
            match = _NAME.fullmatch((self.directory / "latest").read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError):
            match = None
        if match and int(match[1]) in steps:
            return int(match[1])
        return steps[-1] if steps else None

    def save(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        state: Mapping[str, Any],
        *,
        keep: int = 3,
    ) -> Path:
        """Write a checkpoint in one step of the file system, then drop all but the last `keep`.

        Raises:
            DiskFullError: nothing has changed; the earlier checkpoints are all there.
        """
        temporary = self.directory / f".writing-{step:06d}-{os.getpid()}"
        with readable_errors(self.directory, f"saving the checkpoint of step {step}"):
            self.directory.mkdir(parents=True, exist_ok=True)
            self.clean()
            try:
                temporary.mkdir()
                _write(temporary, step, tensors, state)
                self._publish(temporary, step)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        for old in self.steps()[: -max(keep, 1)]:
            if old != step:
                self._drop(old)
        return self.path(step)

    def _publish(self, temporary: Path, step: int) -> None:
        final = self.path(step)
        if final.exists():
            # A step is saved twice when a run was resumed from before it.
            self._drop(step)
        os.rename(temporary, final)
        sync(self.directory)
        write_atomic(self.directory / "latest", final.name.encode())

    def _drop(self, step: int) -> None:
        """Remove one checkpoint; it stops counting before its files go."""
        path = self.path(step)
        doomed = path.with_name(f".removing-{path.name}-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._drop(later)

    def clean(self) -> None:
        """Remove what a killed writer left. Only the process that writes the run may call."""
        for pattern in (".writing-*", ".removing-*", ".latest.*.tmp"):
            for path in self.directory.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def load(
        self, step: int | Literal["latest"] = "latest", *, fall_back: bool = False
    ) -> Checkpoint:
        """Read a checkpoint, every byte of it checked.

        Args:
            step: which one.
            fall_back: when it is damaged, take the newest sound one before it (with a warning).

        Raises:
            DamagedCheckpointError: it is not what was written.
            StoreError: there is none.
        """
        wanted = self.latest() if step == "latest" else step
        if wanted is None or wanted not in self.steps():
            have = ", ".join(map(str, self.steps())) or "none"
            raise StoreError(
                f"no checkpoint of step {wanted}" if wanted is not None else "no checkpoint yet",
                where=str(self.directory),
                fix=f"checkpoints of these steps exist: {have}",
            )
        older = [s for s in reversed(self.steps()) if s < wanted] if fall_back else []
        for candidate in (wanted, *older):
            try:
                return _read(self.path(candidate), candidate)
            except DamagedCheckpointError as error:
                if candidate == (older[-1] if older else wanted):
                    raise
                _log.warning("%s; trying the one before it", error.what)
        raise AssertionError("unreachable")


def _write(
    directory: Path, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
) -> None:
    state_tensors: dict[str, Any] = {}
    try:
        plain = {key: flatten(value, state_tensors) for key, value in state.items()}
    except TypeError as error:
        raise StoreError(str(error), where=str(directory)) from error
    model_aliases = _save_tensors(directory / "model.safetensors", tensors)
    state_aliases = _save_tensors(directory / "state.safetensors", state_tensors)
    (directory / "state.json").write_text(json.dumps(plain), "utf-8")
    manifest = {
        "format": 1,
        "step": step,
        "aliases": {"model": model_aliases, "state": state_aliases},
        "files": {
            name: {"bytes": (directory / name).stat().st_size, "sha256": _digest(directory / name)}
            for name in _DATA
        },
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
    for name in (*_DATA, "manifest.json"):
        sync(directory / name)
    sync(directory)


def _save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Write tensors; those that are one and the same (tied weights) once, the rest as aliases."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    distinct: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach()
        key = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and key in first:
            aliases[name] = first[key]
            continue
        first[key] = name
        storage = value.untyped_storage().data_ptr()
        # safetensors refuses views that share memory: all but the first are copied.
        shared = value.numel() > 0 and storage in storages
        storages.add(storage)
        distinct[name] = value.clone().contiguous() if shared else value.cpu().contiguous()
    try:
        save_file(distinct, path)
    except SafetensorError as error:
        # The Rust side reports every failure as one type; a full disk is told by its text.
        text = str(error)
        if any(sign in text for sign in ("os error 28", "os error 27", "os error 122")):
            raise disk_full(path, "writing tensors") from error
        raise StoreError(f"writing tensors failed: {text}", where=str(path)) from error
    return aliases


def _load_tensors(path: Path, aliases: Mapping[str, str]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors = load_file(path)
    for name, same in aliases.items():
        tensors[name] = tensors[same]
    return tensors


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, why: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"the checkpoint {path.name} is damaged: {why}",
        where=str(path),
        fix="resume from an earlier checkpoint, or remove this directory",
    )


def _verify(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        files = {name: (manifest["files"][name]) for name in _DATA}
        for name, expected in files.items():
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                raise _damaged(path, f"{name} has {size} bytes, not {expected['bytes']}")
            if _digest(path / name) != expected["sha256"]:
                raise _damaged(path, f"{name} does not have the content that was written")
    except FileNotFoundError as error:
        raise _damaged(path, f"{Path(error.filename).name} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "manifest.json cannot be read") from error
    return manifest


def _read(path: Path, step: int) -> Checkpoint:
    with readable_errors(path, "reading a checkpoint"):
        manifest = _verify(path)
        aliases = manifest["aliases"]
        tensors = _load_tensors(path / "model.safetensors", aliases["model"])
        state_tensors = _load_tensors(path / "state.safetensors", aliases["state"])
        plain = json.loads((path / "state.json").read_text("utf-8"))
        state = {key: unflatten(value, state_tensors) for key, value in plain.items()}
        return Checkpoint(step, tensors, state)
