"""The pytest options of a release that decide which tests there are.

Nothing else of its configuration is taken over: options such as `addopts` or `-p` would let what
lies in the repository run the judge.
"""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path
from typing import Any

TAKEN = (
    "asyncio_mode", "asyncio_default_fixture_loop_scope", "python_files", "python_classes",
    "python_functions", "usefixtures", "xfail_strict", "anyio_mode",
)  # fmt: skip


def ini_options(folder: Path) -> dict[str, str]:
    """Options among `TAKEN`, from the file that pytest would read."""
    for name, section in (
        ("pytest.ini", "pytest"),
        ("pyproject.toml", ""),
        ("tox.ini", "pytest"),
        ("setup.cfg", "tool:pytest"),
    ):
        found = _toml(folder / name) if not section else _ini(folder / name, section)
        if found:
            return {key: _text(found[key]) for key in TAKEN if key in found}
    return {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    found = data.get("tool", {}).get("pytest", {}).get("ini_options", {})
    return found if isinstance(found, dict) else {}


def _ini(path: Path, section: str) -> dict[str, Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text("utf-8"))
        return dict(parser[section])
    except (OSError, ValueError, KeyError, configparser.Error):
        return {}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
