"""SPELL (paper 17): what asking, answering and verifying were worth, from each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import Check, Episode, Group, Score

MALFORMED, UNGROUNDED = -1.0, -0.5
WIDTH = 0.5 / 3
AGREEMENT = (0.51, 0.99)


def asking(mean: float, *, formed: bool = True, grounded: bool = True) -> float:
    """exp(-(mean - 1/2)^2 / (2 (1/6)^2)) of the answers' mean reward; 0 where it is 0 or 1; -1 for
    a malformed question, -0.5 for one that is answered without the documents."""
    if not formed:
        return MALFORMED
    if not grounded:
        return UNGROUNDED
    return 0.0 if mean in (0.0, 1.0) else math.exp(-((mean - 0.5) ** 2) / (2 * WIDTH**2))


def majority(votes: Sequence[int]) -> tuple[int | None, float]:
    """What most of the readable votes (1, 0) say, and their share; None without any."""
    read = Counter(v for v in votes if v >= 0)
    if not read:
        return None, 0.0
    winner = max(sorted(read), key=read.__getitem__)
    return winner, read[winner] / sum(read.values())


def voting(votes: Sequence[int]) -> list[float]:
    """1 for a vote with the majority, 0 against it, -1 for one that cannot be read."""
    winner, _ = majority(votes)
    return [-1.0 if v < 0 else float(v == winner) for v in votes]


@dataclass(slots=True)
class SpellRoles:
    """An answer is right when the rule or most verifiers say so; a question is worth most when half
    of its answers are; a verifier when it is with the majority of its group.

    Verifiers are learned from only where their majority is what the rule says and 51% to 99% agree;
    answers without the documents never: they abstain.
    """

    threshold: float = 0.1
    name: str = "spell_roles"

    async def compare_all(self, groups: Sequence[Group]) -> dict[str, list[Score]]:
        votes: dict[tuple[str, str], tuple[int | None, float]] = {}
        for group in _of(groups, "verifier").values():
            task = group.episodes[0].task
            cast = [int(e.outcome["vote"]) for e in group.judged]
            votes[task.metadata["answered"], task.metadata["given"]] = majority(cast)
        answers = {n: self._answers(g, votes) for n, g in _of(groups, "answerer").items()}
        means = {
            groups[n].episodes[0].task.metadata["asked_by"]: _mean([s.value for s in scores])
            for n, scores in answers.items()
        }
        blind = {
            g.episodes[0].task.metadata["asked_by"]: _mean([_rule(e) for e in g.judged])
            for g in _of(groups, "blind").values()
        }
        found = {str(n): scores for n, scores in answers.items()}
        for n, group in _of(groups, "verifier").items():
            found[str(n)] = self._verifying(group)
        for n, group in _of(groups, "blind").items():
            found[str(n)] = [Score(abstained=True, evidence="without documents")] * len(
                group.judged
            )
        for n, group in _of(groups, "asker").items():
            found[str(n)] = [self._asking(e, means, blind) for e in group.judged]
        return found

    def _answers(
        self, group: Group, votes: dict[tuple[str, str], tuple[int | None, float]]
    ) -> list[Score]:
        scores = []
        for episode in group.judged:
            rule = _rule(episode)
            said, share = votes.get((episode.task.id, str(episode.outcome["answer"])), (None, 0.0))
            checks = [Check("rule", rule, rule > 0), Check("verifiers", share, said == 1)]
            scores.append(Score(max(rule, float(said == 1)), checks))
        return scores

    def _verifying(self, group: Group) -> list[Score]:
        votes = [int(e.outcome["vote"]) for e in group.judged]
        winner, share = majority(votes)
        right = int(group.episodes[0].task.reference["right"])
        if winner != right or not AGREEMENT[0] <= share <= AGREEMENT[1]:
            return [Score(abstained=True, evidence="no case to learn from") for _ in votes]
        return [Score(value) for value in voting(votes)]

    def _asking(self, episode: Episode, means: dict[str, float], blind: dict[str, float]) -> Score:
        if not episode.outcome.get("formed"):
            return Score(MALFORMED, evidence="malformed")
        if episode.id not in means:
            return Score(abstained=True, evidence="nobody answered")
        grounded = blind.get(episode.id, 0.0) < self.threshold
        mean = means[episode.id]
        return Score(asking(mean, grounded=grounded), [Check("answered", mean)])


@dataclass(slots=True)
class SpellRule:
    """What a message of one role is worth by rule alone: 1 for a right answer, 0 for all else."""

    name: str = "spell_rule"

    async def score(self, episode: Episode) -> Score:
        return Score(_rule(episode))


def _rule(episode: Episode) -> float:
    return float(bool(episode.outcome.get("right")))


def _of(groups: Sequence[Group], role: str) -> dict[int, Group]:
    """Groups of a role that have a judged episode, by position."""
    return {
        n: g
        for n, g in enumerate(groups)
        if g.judged and g.episodes[0].task.metadata.get("role") == role
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
