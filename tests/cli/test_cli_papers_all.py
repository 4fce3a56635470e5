"""`agentrl papers check all` runs every check and goes on after one that does not hold."""

from __future__ import annotations

import pytest

from agentrl.cli import main
from agentrl.core import ConfigError
from agentrl.papers import CheckResult, list_papers


@pytest.mark.parametrize(("broken", "code"), [(None, 0), ("nsr", 1)])
def test_each_paper_has_a_line_and_one_failure_fails_all(monkeypatch, capsys, broken, code):
    def check(key, seeds):
        if key == "agnostics" and broken:
            raise ConfigError("no Docker", fix="start it")
        return CheckResult(key, "", key != broken, 0.1, [], [])

    monkeypatch.setattr("agentrl.papers.check", check)
    assert main(["papers", "check", "all", "--seeds", "0"]) == code
    said = capsys.readouterr().out
    works = [p.key for p in list_papers() if p.status == "works"]
    assert [line.split()[2] for line in said.splitlines() if line.split()[1].isdigit()] == works
    if broken:
        assert "not there: agnostics, nsr" in said
