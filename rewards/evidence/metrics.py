"""How evidence fares over many episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode
from agentrl.rewards.evidence.submission import read_submission, snapshots


def evidence_metrics(episodes: Sequence[Episode], name: str = "evidence") -> dict[str, float]:
    """What SmartSnap (paper 38) watches, over the episodes whose score `name` was judged.

    Returns:
        proved: share whose evidence was found complete; solved: share whose end state holds
        (where the environment says); false_proof: share of the proved ones whose end state does
        not; invalid: share that is no submission; count: mean number of evidences of the others;
        shown: mean share of the observations' characters that a judge of them reads.
    """
    judged = [e for e in episodes if (s := e.scores.get(name)) is not None and not s.abstained]
    if not judged:
        return {}
    found = [read_submission(e) for e in judged]
    proved = np.array([_passed(e, name) for e in judged])
    metrics = {
        "proved": float(proved.mean()),
        "invalid": float(np.mean([bool(s.problem) for s in found])),
    }
    if sent := [(e, s) for e, s in zip(judged, found, strict=True) if not s.problem]:
        metrics["count"] = float(np.mean([len(s.evidence) for _, s in sent]))
        metrics["shown"] = float(np.mean([_shown(e, s.evidence) for e, s in sent]))
    if all("solved" in e.outcome for e in judged):
        solved = np.array([bool(e.outcome["solved"]) for e in judged])
        metrics["solved"] = float(solved.mean())
        metrics["false_proof"] = float((~solved[proved]).mean()) if proved.any() else 0.0
    return metrics


def _passed(episode: Episode, name: str) -> bool:
    checks = episode.scores[name].checks
    return any(c.name == "completeness" and bool(c.passed) for c in checks)


def _shown(episode: Episode, evidence: Sequence[int]) -> float:
    sizes = {number: len(s.text) for number, s in snapshots(episode).items()}
    return sum(sizes[number] for number in set(evidence)) / max(sum(sizes.values()), 1)
