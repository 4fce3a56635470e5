"""Episodes that go on from a step of a recorded one: repairs of failures, branches where the policy
was unsure."""

from __future__ import annotations

from random import Random

from agentrl.core import Attempt, Episode, Group, Guide, Message, Origin, Start
from agentrl.guidance.hints import Ask
from agentrl.guidance.search import Help, Means
from agentrl.guidance.splice import entropies, entropy_point, repair_point
from agentrl.guidance.trigger import succeeded


async def repair(group: Group, help: Help, means: Means) -> list[Episode]:
    """For each failed member whose steps are scored and largely right, the first of `branches`
    continuations from its first wrong step that succeeds; the hint is read there."""
    s = help.settings
    attempts: list[Attempt] = []
    sources: list[str] = []
    for number, episode in enumerate(group.judged):
        turn = repair_point(episode, s.placement.wrong_below, s.placement.at_least)
        if turn is None or succeeded(episode, s.trigger):
            continue
        ask = Ask(episode.task, help.drawn(episode.task.id, number), group.judged, episode)
        guide = await help.guide(ask, min(s.search.start, help.cap))
        if guide is None or not help.affords(len(attempts) + s.search.branches):
            continue
        told = tuple(Message(m.role, m.content, hint=True) for m in guide.opening)
        start = Start(episode, turn, messages=told, trained=s.placement.keep == "trained")
        note = {**guide.note, "repairs": episode.id, "turn": turn}
        for k in range(s.search.branches):
            seed = help.drawn(episode.task.id, "repair", number, k)
            attempts.append(Attempt(episode.task, seed, Guide(note=note), start))
            sources.append(episode.id)
    if not attempts:
        return []
    first: dict[str, Episode] = {}
    for source, episode in zip(sources, await help.roll(attempts), strict=True):
        if help.won([episode]):
            first.setdefault(source, episode)
    return list(first.values())


async def branch(group: Group, help: Help, means: Means) -> list[Episode]:
    """Each member sampled again `branches` times from one of its least certain tokens (CURE)."""
    s = help.settings
    assert means.scorer is not None, "the engine cannot score"
    assert means.decode is not None
    attempts: list[Attempt] = []
    for number, episode in enumerate(group.judged):
        entropy = await entropies(episode, means.scorer)
        if entropy is None or not help.affords(len(attempts) + s.search.branches):
            continue
        segment = episode.segments[0]
        ids = segment.tokens[segment.action_mask].tolist()
        texts = [means.decode(i) for i in ids]
        rng = Random(help.drawn(episode.task.id, "point", number))
        point = entropy_point(
            episode, entropy, texts, rng, top=s.placement.top, specials=means.specials
        )
        if point is None:
            continue
        turn, kept = point
        head = tuple(episode.turns[turn].tokens[:kept].tolist())
        start = Start(episode, turn, head, Origin.PROMPT, trained=s.placement.keep == "trained")
        note = {"kind": s.kind, "placement": "splice", "branch_of": episode.id, "turn": turn}
        for k in range(s.search.branches):
            seed = help.drawn(episode.task.id, "branch", number, k)
            attempts.append(Attempt(episode.task, seed, Guide(note=note), start))
    return await help.roll(attempts) if attempts else []
