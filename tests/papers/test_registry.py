"""The registry of papers: complete, findable, honest about what works, and its page current."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from agentrl.core import ConfigError
from agentrl.papers import CheckResult, Paper, check, get, list_papers, registry
from agentrl.papers.registry import markdown

ROOT = Path(__file__).parents[2]


def test_all_seventy_two_are_there_and_no_key_is_used_twice():
    papers = list_papers()
    assert [paper.number for paper in papers] == list(range(1, 73))
    assert len({paper.key for paper in papers}) == 72
    assert all(paper.becomes and paper.title and paper.rooms for paper in papers)


def test_only_papers_with_a_check_say_that_they_work():
    for paper in list_papers():
        has_check = find_spec(paper.where) is not None
        assert (paper.status == "works") is has_check


def test_a_paper_is_found_by_key_and_by_number():
    assert get("gra") is get("4")
    assert get("gra").training


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="no paper 'cm3'") as caught:
        get("cm3")
    assert "did you mean 'cm2'?" in str(caught.value)


def test_a_paper_without_a_check_says_so_and_names_those_that_have_one(monkeypatch):
    new = Paper(73, "new", "New", "A new paper", "nothing yet", ("core",), training=False)
    every = (*list_papers(), new)
    monkeypatch.setattr(registry, "list_papers", lambda: every)
    assert new.status == "not yet"
    with pytest.raises(ConfigError, match="has no check yet") as caught:
        check("new")
    assert "gra" in str(caught.value)


def test_the_table_of_a_result_is_markdown():
    result = CheckResult("k", "c", True, 1.0, ["mode", "rate"], [["gated", 0.5]])
    assert result.table().splitlines() == ["| mode | rate |", "| --- | --- |", "| gated | 0.500 |"]


def test_the_page_of_papers_is_current():
    page = (ROOT / "docs" / "papers.md").read_text("utf-8")
    assert page == markdown(), "run: python -m agentrl.papers > docs/papers.md"
