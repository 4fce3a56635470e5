"""Paper 6, CURE: a rollout is sampled again from one of its least certain tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentrl.core import Episode, Group
from agentrl.guidance.retire import on_duty
from agentrl.guidance.splice import entropies
from agentrl.papers.kit.attempts import guidance
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.kit.tree import Grove, grove
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured

CLAIM = (
    "4 rollouts and 3 branches of each make one group of 16; a branch begins at one of the 20 "
    "tokens of highest entropy, shares its prefix with its parent and is trained only behind it."
)
FIRST, BRANCHES, STAGE = 4, 3, 300


def run(seeds: Sequence[int]) -> Measured:
    return measured(p for seed in seeds for p in on_one_thread(_properties(seed)))


async def _properties(seed: int) -> list[Property]:
    async with grove(seed) as woods:
        group = await woods.group(FIRST, seed)
        (grown,) = await _grown(woods, group, 20)
        (certain,) = await _grown(woods, group, 1)
        parents = {e.id: e for e in group.episodes}
        branches = [e for e in grown.episodes if e.branch]
        pairs = [(parents[e.branch["episode"]], e) for e in branches]
        begins = [_kept(child) for _, child in pairs]
        ranks = [await _rank(woods, *pair) for pair in pairs]
        best = [
            await _rank(woods, parents[e.branch["episode"]], e)
            for e in certain.episodes
            if e.branch
        ]
    settings = guidance("cure", retirement={"until": STAGE}).settings
    stages = [on_duty(settings.retirement, step, 1000) for step in (STAGE, STAGE + 1)]
    return [
        Property("size of the group", FIRST * (1 + BRANCHES), len(grown.episodes)),
        Property("branches of each rollout", [BRANCHES] * FIRST, _counts(branches, parents)),
        Property("branches that share their parent's prefix", len(pairs), sum(map(_shares, pairs))),
        Property("training begins at that token", [_chosen(p) for p in pairs], begins),
        Property("rank by entropy is among the first 20", 1, max(ranks) < 20),
        Property("with k = 1 it is the highest", [0] * len(best), best),
        Property("branches in the first stage and the second", [1, 0], stages),
    ]


async def _grown(woods: Grove, group: Group, top: int) -> list[Group]:
    subject = guidance("cure", placement={"kind": "splice", "point": "entropy", "top": top})
    return (await subject.assist([group], 1, 0, woods.means)).groups


def _kept(child: Episode) -> int:
    """Tokens of the branch's first segment that were not sampled for it."""
    return int(np.flatnonzero(child.segments[0].action_mask)[0])


def _shares(pair: tuple[Episode, Episode]) -> bool:
    parent, child = pair
    n = _kept(child)
    mine, theirs = child.segments[0].tokens[:n], parent.segments[0].tokens[:n]
    return bool(np.array_equal(mine, theirs))


def _chosen(pair: tuple[Episode, Episode]) -> int:
    """Where the token that a branch draws anew stands in its parent."""
    parent, child = pair
    segment, turn = parent.segments[0], child.branch["turn"]
    sampled = np.flatnonzero(segment.action_mask)
    earlier = int((segment.turn[sampled] < turn).sum())
    return int(sampled[earlier + child.turns[turn].forced])


async def _rank(woods: Grove, parent: Episode, child: Episode) -> int:
    """How many tokens of the parent that a branch may begin at are less certain than its own."""
    entropy = await entropies(parent, woods.engine)
    assert entropy is not None
    segment = parent.segments[0]
    sampled = np.flatnonzero(segment.action_mask)
    decode, specials = woods.means.decode, woods.means.specials
    assert decode is not None
    texts = [decode(int(t)) for t in segment.tokens[sampled]]
    at = int(np.flatnonzero(sampled == _kept(child))[0])
    able = [i for i, t in enumerate(texts) if i and t not in specials and len(t.strip()) > 1]
    assert at in able
    return sum(float(entropy[i]) > float(entropy[at]) for i in able)


def _counts(branches: Sequence[Episode], parents: dict[str, Episode]) -> list[int]:
    return [sum(e.branch["episode"] == name for e in branches) for name in parents]
