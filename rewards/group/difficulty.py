"""VeRPO: a test counts by how rarely it passes (paper 66)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.core import Check, Episode, Group, Score


def difficulty_weights(
    rates: np.ndarray, alpha: float = 1.0, sigma: float = 0.1, delta: float = 1e-6
) -> np.ndarray:
    """w_j = exp(-alpha rho_j) / (N^(rho_j) + delta), N^ the Gaussian density of tests at rho_j:

        N^(rho_j) = sum_j' exp(-(rho_j - rho_j')^2 / (2 sigma^2))

    Many easy tests then weigh together what one of them would.

    Args:
        rates: float64[J], pass rates over all turns of all rollouts of a group.
    """
    rates = np.asarray(rates, np.float64)
    density = np.exp(-((rates[:, None] - rates) ** 2) / (2 * sigma**2)).sum(1)
    return np.exp(-alpha * rates) / (density + delta)


@dataclass(slots=True)
class DifficultyWeighted:
    """Dense reward of tests (or checklist items) weighted by difficulty, and discounted success.

        R_turn(i, t) = sum_j w_j p_{i,t}^j
        A = [all pass] * gamma^{turns} - mean_i + beta * (R_turn(i, t) - mean over the group's
        turns)

    The score's value is the trajectory part, its steps the whole A of each turn: learn with
    {source:
    steps, discount: 0, by: [], baseline: none}. No division by a std.

    Results: `Episode.outcome["tests"]`, one mapping test -> bool per turn; else the checks of the
    score `of`, taken as the result of the last turn.
    """

    of: str = "reward"
    alpha: float = 1.0
    sigma: float = 0.1
    beta: float = 0.5
    gamma: float = 0.95
    normalise: bool = False
    name: str = "difficulty"

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        results = [_results(e, self.of) for e in episodes]
        names = sorted({name for turns in results for turn in turns for name in turn})
        if not names or any(not turns for turns in results):
            return [Score(abstained=True, evidence="no test results") for _ in episodes]
        tables = [np.array([[t.get(n, 0.0) for n in names] for t in turns]) for turns in results]
        weights = difficulty_weights(np.concatenate(tables).mean(0), self.alpha, self.sigma)
        if self.normalise:
            weights = weights / weights.sum()
        dense = [table @ weights for table in tables]
        centre = np.concatenate(dense).mean()
        solved = np.array([float(t[-1].all()) * self.gamma ** len(t) for t in tables])
        scores = []
        for table, turns, whole in zip(tables, dense, solved - solved.mean(), strict=True):
            checks = [
                Check(n, float(v), bool(v), f"weight {w:.4g}")
                for n, v, w in zip(names, table[-1], weights, strict=True)
            ]
            steps = whole + self.beta * (turns - centre)
            scores.append(Score(float(whole), checks, steps.tolist()))
        return scores


def _results(episode: Episode, of: str) -> list[dict[str, float]]:
    """One mapping test -> 0 or 1 for every turn."""
    given = episode.outcome.get("tests")
    if isinstance(given, list) and len(given) == len(episode.turns):
        return [{str(k): float(bool(v)) for k, v in turn.items()} for turn in given]
    checks = episode.scores[of].checks if of in episode.scores else []
    last = {c.name: float(c.passed) for c in checks if c.passed is not None}
    return [{} for _ in episode.turns[:-1]] + [last] if last and episode.turns else []
