"""The wheel: one top-level folder, real files behind the links, and it installs and runs."""

from __future__ import annotations

import stat
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq"]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of a command that must succeed."""
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def shipped() -> set[str]:
    """What git keeps of the package (and files about to be added), as paths inside the wheel."""
    folders = ("agentrl", "tools", "sandboxes", "rewards")
    listing = run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT
    )
    inside = set()
    for line in listing.splitlines():
        path = Path(line)
        if (ROOT / path).is_file() and not (ROOT / path).is_symlink():
            inside.add(line if path.parts[0] == "agentrl" else f"agentrl/{line}")
    return inside


def test_agentrl_is_the_only_top_level_folder(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"agentrl"}
    assert len(tops) == 2


def test_every_file_of_every_room_is_in_the_wheel_as_a_real_file(wheel):
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    assert shipped() - names == set()
    for room in ("tools", "sandboxes", "rewards"):
        assert f"agentrl/{room}/__init__.py" in names
    assert "agentrl/papers/papers.toml" in names
    links = [i.filename for i in archive.infolist() if stat.S_ISLNK(i.external_attr >> 16)]
    assert not links


def test_the_sdist_holds_what_it_takes_to_test_and_build_it_again(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "Dockerfile", "README.md", "LICENSE", "pyproject.toml"} <= names
    assert "tests/packaging/test_wheel.py" in names
    assert not {n for n in names if n.startswith((".venv", "runs", "dist"))}


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory, wheel) -> Path:
    """A virtual environment that holds agentrl and nothing else, not even pip."""
    folder: Path = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-index", "--no-deps", wheel)
    return folder


def test_it_imports_where_nothing_else_is_installed(empty_venv, tmp_path):
    code = (
        "import importlib.util as u, agentrl;"
        "assert not any(map(u.find_spec, ('torch', 'numpy', 'pydantic', 'docker')));"
        "print(agentrl.__version__, agentrl.__file__)"
    )
    version, file = run(empty_venv / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert version == "0.1.0"
    assert Path(file).is_relative_to(empty_venv)


def test_its_command_runs_on_the_dependencies_alone(empty_venv, tmp_path):
    """The dependencies are lent by path; the editable agentrl among them must not be what runs."""
    site = Path(run(empty_venv / "bin" / "python", "-c", _SITE).strip())
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    try:
        assert "0.1.0" in run(empty_venv / "bin" / "agentrl", "--version", cwd=tmp_path)
        papers = run(empty_venv / "bin" / "agentrl", "papers", "list", cwd=tmp_path)
        assert "gra" in papers
        where = run(empty_venv / "bin" / "python", "-c", _ROOMS, cwd=tmp_path).split()
        assert all(Path(file).is_relative_to(empty_venv) for file in where)
    finally:
        (site / "lent.pth").unlink()


_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
_ROOMS = (
    "import agentrl.tools as t, agentrl.rewards as r, agentrl.sandboxes as s;"
    "print(t.__file__, r.__file__, s.__file__)"
)
