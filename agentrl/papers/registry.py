"""The papers behind agentrl: what each becomes here, and checks of their claims."""

from __future__ import annotations

import difflib
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec

from agentrl.core import ConfigError

WORKS, NOT_YET = "works", "not yet"


@dataclass(slots=True, frozen=True)
class Paper:
    """One paper.

    Attributes:
        name: what people call it; `title` is the full one.
        becomes: what it is in agentrl.
        rooms: where that lives, or will live.
        training: the check is a short training or rollout run that shows the claim in the small;
            else it is a property of the method.
        module: of `agentrl.papers`, where the check is not in the one named like the key.
    """

    number: int
    key: str
    name: str
    title: str
    becomes: str
    rooms: tuple[str, ...]
    training: bool
    module: str = ""

    @property
    def where(self) -> str:
        """Dotted name of the module with the check."""
        return f"agentrl.papers.{self.module or self.key}"

    @property
    def status(self) -> str:
        """ "works" when there is a check of it in `agentrl.papers`, else "not yet"."""
        return WORKS if find_spec(self.where) else NOT_YET


@dataclass(slots=True)
class Measured:
    """What a check module's `run(seeds)` found: did the claim hold on every seed, in numbers."""

    passed: bool
    columns: list[str]
    rows: list[list[str | int | float]]


@dataclass(slots=True)
class CheckResult:
    """A check of one paper's claim."""

    key: str
    claim: str
    passed: bool
    seconds: float
    columns: list[str]
    rows: list[list[str | int | float]]

    def table(self) -> str:
        """The measured numbers as a Markdown table."""
        lines: list[Sequence[str | int | float]] = [
            self.columns,
            ["---"] * len(self.columns),
            *self.rows,
        ]
        return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(value: str | int | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@cache
def list_papers() -> tuple[Paper, ...]:
    """All papers by number."""
    data = tomllib.loads(files("agentrl.papers").joinpath("papers.toml").read_text("utf-8"))
    rows = [Paper(**{**row, "rooms": tuple(row["rooms"])}) for row in data["papers"]]
    return tuple(sorted(rows, key=lambda paper: paper.number))


def get(key: str) -> Paper:
    """The paper of a key, or of a number.

    Raises:
        ConfigError: no such paper; names the nearest.
    """
    by_key = {paper.key: paper for paper in list_papers()}
    by_key |= {str(paper.number): paper for paper in list_papers()}
    if key in by_key:
        return by_key[key]
    near = difflib.get_close_matches(key.lower(), by_key, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no paper {key!r}", fix=f"{hint}`agentrl papers list` shows all")


def check(key: str, seeds: Sequence[int] = (0, 1, 2)) -> CheckResult:
    """Run a paper's claim in the small, on every seed.

    Raises:
        ConfigError: no such paper, or it has no check yet.
    """
    paper = get(key)
    if paper.status == NOT_YET:
        able = ", ".join(p.key for p in list_papers() if p.status == WORKS)
        raise ConfigError(
            f"{paper.name} ({paper.key}) has no check yet", fix=f"these have one: {able}"
        )
    module = import_module(paper.where)
    run: Callable[[Sequence[int]], Measured] = module.run
    started = time.perf_counter()
    found = run(seeds)
    seconds = time.perf_counter() - started
    return CheckResult(paper.key, module.CLAIM, found.passed, seconds, found.columns, found.rows)


def markdown() -> str:
    """The table of all papers, as it stands in docs/papers.md."""
    working = sum(paper.status == WORKS for paper in list_papers())
    lines = [
        "# The papers, and what each becomes here",
        "",
        "Made by `python -m agentrl.papers`; a test keeps it current. `agentrl papers",
        "show KEY` tells more, `agentrl papers check KEY` runs a claim. A \\* marks a check that",
        "is a short training or rollout run; the others check a property of the method.",
        "",
        f"{working} of {len(list_papers())} work today.",
        "",
        "| # | key | paper | what it becomes | rooms | status |",
        "|---|---|---|---|---|---|",
    ]
    for p in list_papers():
        key = f"`{p.key}`" + (" \\*" if p.training else "")
        rooms = ", ".join(p.rooms)
        lines.append(f"| {p.number} | {key} | {p.title} | {p.becomes} | {rooms} | {p.status} |")
    return "\n".join(lines) + "\n"
