"""Outcome rewards: what the whole episode came to, read from `episode.outcome`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from agentrl.core import Check, Episode, Score


@dataclass(slots=True)
class TestsPass:
    """Did the hidden tests pass: `passed` when the environment says resolved, else `failed`.

    Reads `outcome["resolved"]`; abstains when the environment gave no verdict. The test counts
    (`f2p_*` fail-to-pass, `p2p_*` pass-to-pass) become checks when they are there.
    """

    __test__: ClassVar[bool] = False  # pytest takes imported Test* classes for test cases

    passed: float = 1.0
    failed: float = 0.0
    name: str = "tests_pass"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if "resolved" not in outcome:
            return Score(abstained=True, evidence="the environment gave no verdict ('resolved')")
        checks = [c for kind in ("f2p", "p2p") if (c := _counted(outcome, kind)) is not None]
        resolved = bool(outcome["resolved"])
        return Score(
            value=self.passed if resolved else self.failed,
            checks=checks,
            evidence="resolved" if resolved else "not resolved",
        )


def _counted(outcome: dict[str, Any], kind: str) -> Check | None:
    """The share of the tests of one kind that passed; None when they were not counted."""
    passed, total = outcome.get(f"{kind}_passed"), outcome.get(f"{kind}_total")
    if passed is None or not total:
        return None
    return Check(kind, passed / total, passed=passed == total, evidence=f"{passed} of {total}")


@dataclass(slots=True)
class Submitted:
    """The outcome ladder of G-RA (paper 4, arXiv 2508.10548): how far an episode got.

    Never submitted < submitted an empty patch < submitted a change < resolved. Reads
    `outcome["submitted"]`, `["modified"]` and `["resolved"]`; a missing `submitted` abstains, the
    other two count as no.
    """

    never: float = -1.0
    empty: float = -0.5
    unresolved: float = 0.5
    resolved: float = 1.0
    name: str = "submitted"

    async def score(self, episode: Episode) -> Score:
        outcome = episode.outcome
        if "submitted" not in outcome:
            return Score(abstained=True, evidence="the environment does not say 'submitted'")
        if not outcome["submitted"]:
            return Score(self.never, evidence="never submitted")
        if not outcome.get("modified", False):
            return Score(self.empty, evidence="submitted an empty patch")
        if not outcome.get("resolved", False):
            return Score(self.unresolved, evidence="submitted a change that does not resolve it")
        return Score(self.resolved, evidence="resolved")
