"""Pairwise verdicts to one score each: a double-elimination tournament (RM-NLHF, paper 69)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from agentrl.core import ChatModel, Check, Episode, Group, Score
from agentrl.rewards.group.base import abstain_all
from agentrl.rewards.judges.pairs import Comparer, PairJudge

Beats = Callable[[int, int], Awaitable[bool]]


async def double_elimination(count: int, beats: Beats) -> tuple[list[int], int]:
    """Places 0 (best) to count - 1 by a tournament in which two losses put one out.

    At most 2 * count - 1 matches. With a transitive judge the best gets place 0 and the one that
    only it beats place 1.

    Args:
        beats: whether player a beats player b.

    Returns:
        (place of each player, matches played).
    """
    played, out = 0, list[int]()
    upper, lower = list(range(count)), list[int]()

    async def match(a: int, b: int) -> tuple[int, int]:
        nonlocal played
        played += 1
        return (a, b) if await beats(a, b) else (b, a)

    while len(upper) + len(lower) > 1:
        if len(upper) > 1:
            winners, losers = [], []
            for a, b in zip(upper[::2], upper[1::2], strict=False):
                won, lost = await match(a, b)
                winners.append(won)
                losers.append(lost)
            upper = winners + (upper[-1:] if len(upper) % 2 else [])
            lower = losers + lower
        if len(lower) > 1:
            survivors = []
            for a, b in zip(lower[::2], lower[1::2], strict=False):
                won, lost = await match(a, b)
                survivors.append(won)
                out.append(lost)
            lower = survivors + (lower[-1:] if len(lower) % 2 else [])
        elif len(upper) == 1 and len(lower) == 1:
            # The final. The unbeaten one would have to lose twice.
            won, lost = await match(upper[0], lower[0])
            if won != upper[0]:
                won, lost = await match(upper[0], lower[0])
            upper, lower = [won], []
            out.append(lost)
    order = [*upper, *lower, *reversed(out)]
    return [order.index(player) for player in range(count)], played


@dataclass(slots=True)
class Tournament:
    """(n - 1 - place) / (n - 1), places from a double-elimination tournament of a pairwise judge.

    A comparison that is a tie goes to the larger margin, then to the earlier rollout. Abstains when
    one cannot be read.
    """

    judge: ChatModel
    votes: int = 1
    temperature: float = 0.0
    name: str = "tournament"
    comparer: Comparer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.comparer = self.comparer or PairJudge(self.judge, self.votes, self.temperature)

    async def compare(self, group: Group, episodes: Sequence[Episode]) -> list[Score]:
        comparer = self.comparer
        assert comparer is not None
        if len(episodes) < 2 or any(not e.turns for e in episodes):
            return abstain_all(episodes, "fewer than two answers to compare")
        silent, cost = False, 0.0

        async def beats(a: int, b: int) -> bool:
            nonlocal silent, cost
            texts = (episodes[a].turns[-1].text, episodes[b].turns[-1].text)
            found = await comparer.compare(episodes[a].task.prompt, *texts)
            silent, cost = silent or found.silent, cost + found.cost
            return found.margin > 0 if found.better is None and found.margin else bool(found.better)

        places, matches = await double_elimination(len(episodes), beats)
        if silent:
            return abstain_all(episodes, "a comparison could not be read")
        last = len(episodes) - 1
        said = f"{matches} matches"
        return [
            Score((last - p) / last, [Check("place", p)], evidence=said, cost=cost / len(episodes))
            for p in places
        ]
