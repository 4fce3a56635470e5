"""The doctor finds what is missing and says what mends it."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from agentrl.cli import main
from agentrl.training import doctor
from agentrl.training.doctor import Finding, core_works, examine


def row(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Pretend versions of packages; None is not installed."""
    given: dict[str, str | None] = {}
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in given:
            if given[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return str(given[name])
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    return given


def test_the_core_works_where_the_tests_run() -> None:
    findings = examine()
    assert core_works(findings)
    assert row(findings, "torch").detail.startswith(__import__("torch").__version__)
    for finding in findings:
        assert finding.ok == (not finding.fix), finding


@pytest.mark.docker
def test_docker_is_found_where_it_runs() -> None:
    findings = examine()
    assert row(findings, "docker engine").ok
    assert "unix://" in row(findings, "docker engine").detail


def test_a_dead_docker_is_no_obstacle_to_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    findings = examine()
    engine = row(findings, "docker engine")
    assert not engine.ok
    assert "start it" in engine.fix or "install it" in engine.fix
    assert not [f for f in findings if f.name == "sandbox image"]
    assert core_works(findings)


def test_missing_packages_name_their_command(versions: dict[str, str | None]) -> None:
    versions |= dict.fromkeys(["vllm", "matplotlib", "playwright", "litellm", "docker"])
    findings = examine()
    for name, fix in [
        ("vllm", "pip install 'agentrl[vllm]'"),
        ("matplotlib", "pip install 'agentrl[plots]'"),
        (
            "playwright",
            "pip install 'agentrl[gui]'; apt-get install chromium, or playwright install chromium",
        ),
        ("litellm", "pip install 'litellm>=1.80,!=1.107.0'"),
        ("docker client", "pip install docker"),
    ]:
        assert row(findings, name).fix == fix
    assert core_works(findings)
    versions["transformers"] = None
    assert not core_works(examine())


def test_the_bad_litellm_is_known(versions: dict[str, str | None]) -> None:
    versions["litellm"] = "1.107.0"
    finding = row(examine(), "litellm")
    assert not finding.ok
    assert "known to be bad" in finding.detail


def test_playwright_without_its_browser(
    versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    versions["playwright"] = "1.60.0"
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    fix = "apt-get install chromium, or playwright install --with-deps chromium"
    assert row(examine(), "playwright").fix == fix
    (tmp_path / "chromium-1234").mkdir()
    assert row(examine(), "playwright").ok
    (tmp_path / "chromium-1234").rmdir()
    program = tmp_path / "chromium"
    program.touch(0o755)
    assert row(examine(), "playwright").detail == f"1.60.0, {program}"


def test_a_broken_torch_is_a_row_and_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules makes the import fail, as a missing shared library would.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    finding = row(examine(), "torch")
    assert not finding.ok
    assert finding.detail.startswith("does not work: ")
    assert finding.fix == "pip install torch"


def test_a_full_disk_and_little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1, 1, 1 << 20))
    monkeypatch.setattr(doctor, "_available_memory", lambda: 1 << 28)
    findings = examine(tmp_path / "not" / "made" / "yet")
    assert str(tmp_path) in row(findings, "disk").detail
    assert "0.2 GiB available" in row(findings, "memory").detail
    assert not core_works(findings)


def test_the_command_prints_a_table_or_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert data["core_works"] is True
    assert {"name", "ok", "core", "purpose", "detail", "fix"} == set(data["findings"][0])
    monkeypatch.setattr(doctor, "_available_memory", lambda: 1)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "NO  memory" in out
    assert "memory: close something" in out
    assert out.endswith("The core does not work yet.\n")
