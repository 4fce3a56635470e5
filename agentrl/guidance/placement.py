"""Choice 3: where a hint stands in an episode."""

from __future__ import annotations

from agentrl.core import Guide, Message
from agentrl.guidance.hints import Hint
from agentrl.guidance.settings import Placement


def place(hint: Hint, placement: Placement, kind: str) -> Guide:
    """The guide that shows a hint; `kind` is the guidance's name, for the record.

    A forced beginning has no message: who runs the attempt makes the first turn begin with
    `note["begin"]`.
    """
    note = {
        "kind": kind,
        "level": hint.level,
        "tier": hint.tier,
        "placement": placement.kind,
        "hint": hint.text,
    }
    if placement.kind == "assistant_prefix":
        return Guide(note=note | {"begin": hint.text})
    message = Message(placement.role, placement.template.format(hint=hint.text), hint=True)
    if placement.kind == "turn":
        return Guide(turns={placement.turn: [message]}, note=note)
    return Guide(opening=[message], note=note)
