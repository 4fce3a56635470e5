"""The issue of a task made from two releases: what the project itself wrote about the change."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentrl.environments.swe.releases.pair import Pair
from agentrl.environments.swe.releases.prove import Proof

_LIMIT = 6000
_SHOWN = 8


def notes_of(pair: Pair) -> tuple[str, str]:
    """The project's notes on the newer release, and where they are from: "changelog", "changelog
    lines", or "tests" where there are none."""
    notes = pair.new.changelog.entry(pair.new.package.version)
    if notes:
        return notes, "changelog"
    notes = pair.new.changelog.since(pair.old.changelog)
    return notes, "changelog lines" if notes else "tests"


def issue_text(pair: Pair, proof: Proof) -> tuple[str, str]:
    """The text of a whole pair, and where it is from, see `notes_of`."""
    notes, source = notes_of(pair)
    name = pair.new.package.name
    lines = [f"Bring `{name}` from {pair.old.package.version} to what its next release does."]
    if notes:
        lines += ["The project's notes on that release:", "", _plain(notes)]
    else:
        lines += ["The project has no notes on it. Checks that fail today:", "", *_failures(proof)]
    return _with_names(lines, proof), source


def part_text(pair: Pair, proof: Proof, own: Sequence[str], source: str) -> tuple[str, str]:
    """The text of one fix, and where it is from.

    Args:
        own: the entries of the notes that speak of it.
    """
    name, version = pair.new.package.name, pair.new.package.version
    lines = [f"`{name}` {version} is complete but for one of its changes, which is missing here."]
    if own:
        lines += ["The project's notes on it:", "", _plain("\n".join(own))]
    else:
        lines += ["Checks that fail today:", "", *_failures(proof)]
    return _with_names(lines, proof), source if own else "tests"


def _with_names(lines: list[str], proof: Proof) -> str:
    if proof.asks_for:
        lines += ["", "Names that will be used and do not exist yet: " + ", ".join(proof.asks_for)]
    return "\n".join(lines).strip()


def _plain(notes: str) -> str:
    """Without links to where the change itself can be read."""
    notes = re.sub(r"\[([^\]]*)\]\(https?://[^)]*\)", r"\1", notes)
    notes = re.sub(r"`([^`<]*)<https?://[^>]*>`_+", r"\1", notes)
    notes = re.sub(r"https?://\S*/(?:pull|commit|compare|merge_requests)/\S*", "", notes)
    notes = "\n".join(line.rstrip() for line in notes.splitlines())
    notes = re.sub(r"\n{3,}", "\n\n", notes).strip()
    return notes if len(notes) <= _LIMIT else notes[:_LIMIT].rsplit("\n", 1)[0] + "\n..."


def _failures(proof: Proof) -> list[str]:
    shown = []
    for test in proof.fail_to_pass[:_SHOWN]:
        said = proof.messages.get(test, "")
        shown.append(f"- {test.partition('::')[2]}" + (f": {said}" if said else ""))
    rest = len(proof.fail_to_pass) - len(shown)
    return [*shown, f"- and {rest} more"] if rest > 0 else shown
