"""A release as its source distribution tells it."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agentrl.environments.swe.package import Package, lay_out
from agentrl.environments.swe.releases.changelog import Changelog, read_changelog
from agentrl.environments.swe.releases.requirements import Requirements, declared_requirements
from agentrl.environments.swe.releases.settings import ini_options
from agentrl.environments.swe.sdist import download


@dataclass(slots=True, frozen=True)
class Release:
    """One release, read from its source distribution.

    Attributes:
        requirements: what it declares to need, to run and to be tested.
        ini: options of its pytest configuration that decide which tests there are.
        repository: where its metadata says the source lives, "" when it does not.
    """

    package: Package
    changelog: Changelog
    requirements: Requirements
    ini: dict[str, str]
    repository: str


def fetch(package: str, version: str) -> Release:
    """Download and read one release. Raises PackageError."""
    with tempfile.TemporaryDirectory(prefix="agentrl-release-") as scratch:
        folder = download(f"{package}=={version}", Path(scratch))
        return read_release(folder, package)


def read_release(folder: Path, name: str) -> Release:
    """A release from its unpacked source distribution. Raises PackageError."""
    return Release(
        package=lay_out(folder, name, need_tests=False),
        changelog=read_changelog(folder),
        requirements=declared_requirements(folder),
        ini=ini_options(folder),
        repository=_repository(folder),
    )


def _repository(folder: Path) -> str:
    """The source repository that the metadata names: host/owner/name, in small letters."""
    try:
        text = (folder / "PKG-INFO").read_text("utf-8", "replace")
    except OSError:
        return ""
    head = text.partition("\n\n")[0]
    urls = re.findall(r"(?mi)^(?:Project-URL|Home-page|Download-URL): .*?(https?://\S+)", head)
    for url in urls:
        found = re.match(
            r"https?://((?:github|gitlab|bitbucket|codeberg)\.\w+/[^/\s]+/[^/\s#?]+)", url
        )
        if found:
            return found[1].removesuffix(".git").lower()
    return ""
