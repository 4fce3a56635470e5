"""The issue of a task made from two releases: what the project itself wrote about the change."""

from __future__ import annotations

import re

from agentrl.environments.swe.releases.pair import Pair
from agentrl.environments.swe.releases.prove import Proof

_LIMIT = 6000
_SHOWN = 8


def issue_text(pair: Pair, proof: Proof) -> tuple[str, str]:
    """The text, and where it is from: "changelog", "changelog lines" or "tests"."""
    name, new = pair.new.package.name, pair.new.package.version
    notes, source = pair.new.changelog.entry(new), "changelog"
    if not notes:
        notes = pair.new.changelog.since(pair.old.changelog)
        source = "changelog lines" if notes else "tests"
    lines = [f"Bring `{name}` from {pair.old.package.version} to what its next release does."]
    if notes:
        lines += ["The project's notes on that release:", "", _plain(notes)]
    else:
        lines += ["The project has no notes on it. Checks that fail today:", "", *_failures(proof)]
    if proof.asks_for:
        lines += ["", "Names that will be used and do not exist yet: " + ", ".join(proof.asks_for)]
    return "\n".join(lines).strip(), source


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
