"""Choice 5: what becomes of guided episodes. A group always stays whole: the same episodes are
compared with each other, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Episode, Group
from agentrl.guidance.settings import Merge, Trigger
from agentrl.guidance.trigger import succeeded


def merged(group: Group, guided: Sequence[Episode], merge: Merge, trigger: Trigger) -> list[Group]:
    """What is learned from in the place of a group that was helped; the group itself when the
    guided episodes come to nothing.

    Args:
        guided: episodes of the search, those to prefer first.
    """
    judged = [e for e in guided if e.judged]
    won = [e for e in judged if succeeded(e, trigger)]
    if merge.kind == "none" or not judged or not (won or merge.keep_failures):
        return [group]
    if merge.kind == "replace_group":
        return [Group(group.key, judged)]
    if merge.kind == "append_members":
        return [Group(group.key, [*group.episodes, *judged])]
    if merge.kind == "append_group":
        mixed = len({e.reward for e in judged}) > 1
        return [group, Group((*group.key, "guided"), judged)] if mixed else [group]
    return [Group(group.key, _replaced(group, won[: merge.count], trigger))]


def _replaced(group: Group, won: Sequence[Episode], trigger: Trigger) -> list[Episode]:
    """The members with `won` in the place of failed ones: a repair in that of its source, any other
    in that of the first failures."""
    members = list(group.episodes)
    for episode in won:
        source = episode.guidance.get("repairs")
        place = next((i for i, e in enumerate(members) if e.id == source), None)
        if place is None:
            place = next(
                (i for i, e in enumerate(members) if not e.guidance and not succeeded(e, trigger)),
                None,
            )
        if place is not None:
            members[place] = episode
    return members
