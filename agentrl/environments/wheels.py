"""Packages installed into a folder from wheels: nothing of theirs runs on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agentrl.core import InfraError

IN_THE_IMAGE = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
"""Packages of every sandbox image; a second copy beside them would mix versions."""
_SECONDS = 600.0


def install_pins(requires: Sequence[str], folder: Path) -> None:
    """Install exactly the pins of a task into `folder`. Raises InfraError."""
    said = install(requires, folder, "--no-deps")
    if said:
        raise InfraError(
            "packages_missing", f"what the task needs cannot be installed: {said[-300:]}"
        )
    clean(folder)


def install(requirements: Sequence[str], folder: Path, *options: str) -> str:
    """The installer's complaint, "" when all went well."""
    folder.mkdir(parents=True, exist_ok=True)
    if not requirements:
        return ""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        for name in IN_THE_IMAGE:
            try:
                constraints.write(f"{name}=={importlib.metadata.version(name)}\n")
            except importlib.metadata.PackageNotFoundError:
                continue
        constraints.flush()
        command = [
            sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config",
            "--python", sys.executable, "--only-binary", ":all:", "--target", str(folder),
            "--constraint", constraints.name, *_index(), *options, *requirements,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"uv did not finish within {_SECONDS:g} s"
    if done.returncode == 0:
        return ""
    return " ".join((done.stderr.strip() or "uv failed").split())


def _index() -> list[str]:
    """The index that pip is told to use, where it is told to."""
    index = os.environ.get("PIP_INDEX_URL")
    return ["--index-url", index] if index else []


def clean(folder: Path) -> None:
    """Leave only what decides what the packages do, so that equal pins give equal images."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name in ("INSTALLER", "REQUESTED", "RECORD", "uv_cache.json", ".lock"):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
