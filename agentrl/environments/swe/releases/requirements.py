"""What a source distribution declares to need: to run, and to be tested.

Nothing is guessed from the names of missing modules: a guessed name on a package index can belong
to anybody.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_TESTING = ("test", "tests", "testing", "unittest", "pytest")
_DEVELOPMENT = ("dev", "develop", "development")
_FILES = re.compile(
    r"(?:requirements?[-_./]?(?:.*[-_./])?(test|tests|testing|dev|development)"
    r"|(test|tests|testing|dev|development)[-_]requirements?)(?:\.\w+)?\.(?:txt|in|pip)$"
)


@dataclass(slots=True, frozen=True)
class Requirements:
    """PEP 508 texts: to run, to test, and (mostly tools) to develop."""

    run: list[str]
    test: list[str]
    develop: list[str]


def declared_requirements(folder: Path) -> Requirements:
    """From metadata, requires.txt, pyproject.toml, setup.cfg, tox.ini and requirement files."""
    found: dict[str, list[str]] = {"run": [], "test": [], "develop": []}
    for group, texts in _sources(folder):
        found[_kind(group)].extend(texts) if _kind(group) else None
    return Requirements(*(_usable(found[kind]) for kind in ("run", "test", "develop")))


def _kind(group: str) -> str:
    name = group.lower()
    if not name:
        return "run"
    if name in _TESTING:
        return "test"
    return "develop" if name in _DEVELOPMENT else ""


def _sources(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(group, requirements); the group "" is what the package needs to run."""
    yield from _metadata(folder)
    for path in sorted(folder.rglob("*.egg-info/requires.txt")):
        yield from _requires_txt(path.read_text("utf-8", "replace"))
    yield from _pyproject(folder / "pyproject.toml")
    yield from _setup_cfg(folder / "setup.cfg")
    for path in sorted(folder.rglob("*")):
        match = _FILES.search(path.relative_to(folder).as_posix().lower())
        if match and path.is_file():
            lines = path.read_text("utf-8", "replace").splitlines()
            yield match[1] or match[2], [line.split(" #")[0].strip() for line in lines]
    yield "test", _tox(folder / "tox.ini")


def _metadata(folder: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        text = (folder / "PKG-INFO").read_text("utf-8", "replace").partition("\n\n")[0]
    except OSError:
        return
    for line in re.findall(r"(?m)^Requires-Dist: (.+)$", text):
        match = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", line)
        yield (match[1] if match else ""), [_without_extra(line)]


def _without_extra(line: str) -> str:
    """The requirement without `extra == "..."` in its marker."""
    text = re.sub(r"\s*(and\s+)?extra\s*==\s*['\"][\w.-]+['\"]", "", line)
    text = re.sub(r";\s*and\s+", "; ", text)
    return text.rstrip().removesuffix(";").rstrip()


def _requires_txt(text: str) -> Iterator[tuple[str, list[str]]]:
    group, marker = "", ""
    for line in text.splitlines():
        if head := re.fullmatch(r"\[([^:\]]*)(?::(.*))?\]", line.strip()):
            group, marker = head[1], head[2] or ""
        elif line.strip():
            yield group, [f"{line.strip()}; {marker}" if marker else line.strip()]


def _pyproject(path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return
    project = data.get("project", {})
    groups = {"": project.get("dependencies", [])}
    yield from groups.items()
    for table in (project.get("optional-dependencies", {}), data.get("dependency-groups", {})):
        for group, texts in table.items():
            yield group, [text for text in texts if isinstance(text, str)]
    poetry = data.get("tool", {}).get("poetry", {})
    yield "", _poetry(poetry.get("dependencies", {}))
    yield "dev", _poetry(poetry.get("dev-dependencies", {}))
    for group, table in poetry.get("group", {}).items():
        yield group, _poetry(table.get("dependencies", {}))


def _poetry(table: dict[str, Any]) -> list[str]:
    """Names alone: Poetry's version language is its own, and the newest mostly serves."""
    optional = {n for n, v in table.items() if isinstance(v, dict) and v.get("optional")}
    return [name for name in table if name != "python" and name not in optional]


def _setup_cfg(path: Path) -> Iterator[tuple[str, list[str]]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, ValueError, configparser.Error):
        return
    if parser.has_section("options"):
        yield "", parser["options"].get("install_requires", "").splitlines()
        yield "test", parser["options"].get("tests_require", "").splitlines()
    if parser.has_section("options.extras_require"):
        for group, text in parser["options.extras_require"].items():
            yield group, text.splitlines()


def _tox(path: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text("utf-8"))
        lines = parser["testenv"].get("deps", "").splitlines()
    except (OSError, ValueError, KeyError, configparser.Error):
        return []
    return [line.strip() for line in lines if ":" not in line.split(";")[0]]


def _usable(texts: Iterable[str]) -> list[str]:
    """Requirements that are valid, apply to this Python and come from the index; one a name."""
    found: dict[str, str] = {}
    for text in texts:
        text = text.strip().strip("'\",")
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if requirement.url is None and applies:
            requirement.marker = None
            found.setdefault(canonicalize_name(requirement.name), str(requirement))
    return list(found.values())
