"""Source distributions found, fetched and unpacked; no code of theirs runs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import AgentRLError

if TYPE_CHECKING:
    from unearth import Package as Found

_INDEX = "https://pypi.org/simple/"


class PackageError(AgentRLError):
    """A package cannot be had, or tasks cannot be made from it."""


def versions(name: str) -> list[str]:
    """Final releases that have a source distribution, newest first.

    The index is pip's: PIP_INDEX_URL and PIP_EXTRA_INDEX_URL, else PyPI. Raises PackageError.
    """
    named = dict.fromkeys(str(found.version) for found in _all(name))
    return [version for version in named if not _is_prerelease(version)]


def download(spec: str, folder: Path) -> Path:
    """Fetch `name` or `name==version` and unpack it into `folder`; returns where it lies.

    Raises PackageError.
    """
    name, _, version = (part.strip() for part in spec.partition("=="))
    known = _all(name)
    final = [found for found in known if not _is_prerelease(str(found.version))]
    chosen = [found for found in known if found.version == version] if version else final or known
    if not chosen:
        raise PackageError(
            f"there is no source distribution of {spec}",
            fix="give another version, or a folder with the unpacked source",
        )
    try:
        unpacked = _finder(name).download_and_unpack(chosen[0].link, folder)
    except Exception as error:
        raise PackageError(f"{chosen[0].link.filename} cannot be fetched: {error}") from error
    inside = [path for path in unpacked.iterdir() if not path.name.startswith(".")]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else unpacked


def _all(name: str) -> list[Found]:
    if any(mark in name for mark in "/\\ <>!~[];"):
        raise PackageError(
            f"not a package: {name!r}", fix="give a folder, a name on PyPI, or name==version"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of old releases' odd metadata
            found = list(_finder(name).find_all_packages(name))
    except Exception as error:
        raise PackageError(f"the index cannot be asked about {name}: {error}") from error
    sources = [package for package in found if not package.link.is_wheel]
    if not sources:
        raise PackageError(
            f"no source distribution of {name} is to be had",
            fix="check the name and the network, or give a folder with the unpacked source",
        )
    return sources


def _is_prerelease(version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).is_prerelease
    except InvalidVersion:
        return True


def _finder(name: str):  # type: ignore[no-untyped-def]
    from unearth import PackageFinder

    extra = os.environ.get("PIP_EXTRA_INDEX_URL", "").split()
    index = os.environ.get("PIP_INDEX_URL", _INDEX)
    return PackageFinder(index_urls=[index, *extra], no_binary=[name])
