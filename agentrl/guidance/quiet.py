"""Hints that the sampler never sees: a policy that reads them teaches the one that does not.

An episode keeps its sampled tokens; its hint is put into the record beside them, as hint tokens.
The learner trains in the context without them, and asks a teacher what it would have said in the
one with them (SDPO).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agentrl.core import Episode, Group, Guide
from agentrl.guidance.hints import Ask
from agentrl.guidance.search import Help
from agentrl.guidance.trigger import succeeded

Informed = Callable[[Episode, Guide], Episode | None]


async def inform(group: Group, help: Help, informed: Informed | None) -> Group:
    """The group, the hint in the record of each member that there is one for.

    A success is no hint for itself; members without one are as they were, and no teacher speaks
    of them.
    """
    assert informed is not None, "only the training loop can rebuild records"
    level = min(help.settings.search.start, help.cap)
    members = []
    for number, episode in enumerate(group.episodes):
        found = None
        if episode.judged and not succeeded(episode, help.settings.trigger):
            ask = Ask(episode.task, help.drawn(episode.task.id, number), group.judged, episode)
            guide = await help.guide(ask, level)
            found = informed(episode, guide) if guide is not None else None
            if found is not None and guide is not None:
                found = replace(found, guidance=dict(guide.note))
        members.append(episode if found is None else found)
    return Group(group.key, members)
