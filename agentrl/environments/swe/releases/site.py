"""The packages that a release's tests need, installed into a folder and pinned."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agentrl.environments.swe.releases.requirements import Requirements
from agentrl.environments.swe.sdist import PackageError
from agentrl.environments.wheels import IN_THE_IMAGE, clean, install


@dataclass(slots=True, frozen=True)
class Site:
    """What was installed.

    Attributes:
        requires: `name==version`, sorted.
        plugins: modules of the pytest plugins among them.
        left_out: declared for tests or development, but not to be had as wheels.
    """

    requires: list[str]
    plugins: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def resolve(package: str, declared: Requirements, folder: Path) -> Site:
    """Install what a package declares into `folder`, from wheels only: no code of theirs runs.

    What it needs to run must install; of what it needs to be tested, as much as installs. Names
    for development alone are taken only when none are given for tests.

    Raises PackageError when the former do not.
    """
    own = canonicalize_name(package)
    extra = declared.test or declared.develop
    have = {canonicalize_name(Requirement(r).name) for r in declared.run}
    wanted = [r for r in extra if canonicalize_name(Requirement(r).name) not in {*have, own}]
    run = [r for r in declared.run if canonicalize_name(Requirement(r).name) != own]
    said = install([*run, *wanted], folder)
    left_out: list[str] = []
    if said:
        _emptied(folder)
        said = install(run, folder) if run else ""
        if said:
            raise PackageError(
                f"what {package} needs to run cannot be installed from wheels: {said[-300:]}"
            )
        kept: list[str] = []
        for requirement in wanted:
            with tempfile.TemporaryDirectory(prefix="agentrl-site-") as scratch:
                if install([*run, *kept, requirement], Path(scratch)):
                    left_out.append(requirement)
                else:
                    kept.append(requirement)
        _emptied(folder)
        install([*run, *kept], folder)
    return _pinned(folder, own, left_out)


def _pinned(folder: Path, own: str, left_out: list[str]) -> Site:
    requires: list[str] = []
    plugins: list[str] = []
    for found in _distributions(folder):
        name = canonicalize_name(found.metadata["Name"])
        if name == own or name in IN_THE_IMAGE:
            _remove(found, folder)
            continue
        requires.append(f"{name}=={found.version}")
        plugins += [e.value.partition(":")[0] for e in found.entry_points if e.group == "pytest11"]
    clean(folder)
    return Site(sorted(requires), sorted(set(plugins)), left_out)


def _distributions(folder: Path) -> list[importlib.metadata.Distribution]:
    return list(importlib.metadata.distributions(path=[str(folder)]))


def _remove(found: importlib.metadata.Distribution, folder: Path) -> None:
    for file in found.files or []:
        path = folder / file
        if ".." not in file.parts and path.is_file():
            path.unlink()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
