"""What a run's rewards say of its direction: G-RA's rates, and the alarm for a hacked reward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from agentrl.core import Check, Episode, Score, Status
from agentrl.rewards.compose import GATE
from agentrl.rewards.judging import COMPOSED


def gra_metrics(episodes: Iterable[Episode]) -> dict[str, float]:
    """The rates and means that G-RA (paper 4) watches, over judged episodes.

    Infrastructure failures and abstentions are left out; what no episode has is not in the answer.

    Returns:
        completion_rate: share that submitted; modification_rate: that submitted a change;
        resolution_rate: that resolved the task (each over the episodes whose outcome says so).
        raw/NAME: mean value of every critic, weighted and gated by nothing.
        gate_open/NAME: share of episodes in which the level counted.
        reward_outcome_correlation: Pearson's r of the composed reward and the raw value of the
        level of highest priority; absent while either is constant.
        reward_outcome_alarm: 1.0 when that correlation is negative (reward rises as the outcome
        falls), else 0.0.
    """
    kept = [e for e in episodes if e.status != Status.INFRA_ERROR]
    metrics = _rates(kept)
    for name in sorted({n for e in kept for n in e.scores if n != COMPOSED}):
        values = [s.value for e in kept if (s := e.scores.get(name)) and not s.abstained]
        if values:
            metrics[f"raw/{name}"] = float(np.mean(values))
    composed = [e.scores[COMPOSED] for e in kept if COMPOSED in e.scores]
    metrics |= _gates(composed)
    metrics |= _alarm([s for s in composed if not s.abstained])
    return metrics


def _rates(episodes: Sequence[Episode]) -> dict[str, float]:
    rates: dict[str, float] = {}
    said = [e.outcome for e in episodes if "submitted" in e.outcome]
    if said:
        rates["completion_rate"] = float(np.mean([bool(o["submitted"]) for o in said]))
        changed = [bool(o["submitted"] and o.get("modified", False)) for o in said]
        rates["modification_rate"] = float(np.mean(changed))
    graded = [bool(e.outcome["resolved"]) for e in episodes if "resolved" in e.outcome]
    if graded:
        rates["resolution_rate"] = float(np.mean(graded))
    return rates


def _gates(scores: Sequence[Score]) -> dict[str, float]:
    flags: dict[str, list[bool]] = {}
    for check in (c for score in scores for c in _gate_checks(score)):
        flags.setdefault(check.name.removeprefix(GATE), []).append(bool(check.passed))
    return {f"gate_open/{name}": float(np.mean(seen)) for name, seen in sorted(flags.items())}


def _gate_checks(score: Score) -> list[Check]:
    """The levels of a gated score, highest priority first."""
    return [check for check in score.checks if check.name.startswith(GATE)]


def _alarm(scores: Sequence[Score]) -> dict[str, float]:
    pairs = [(s.value, gates[0].value) for s in scores if (gates := _gate_checks(s))]
    if not pairs:
        return {}
    reward, outcome = np.array(pairs).T
    if np.ptp(reward) < 1e-12 or np.ptp(outcome) < 1e-12:
        return {"reward_outcome_alarm": 0.0}
    r = float(np.corrcoef(reward, outcome)[0, 1])
    return {"reward_outcome_correlation": r, "reward_outcome_alarm": float(r < 0)}
