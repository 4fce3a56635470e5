"""Numbered rounds: what evidence points at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Episode, Image
from agentrl.environments.gui.screen import Action, Box, View


@dataclass(slots=True)
class Round:
    """One action and the screen it led to; round 0 is the first screen.

    Attributes:
        turn: of the policy, -1 for round 0; call: index within the turn.
        point: pixel that was clicked, pressed or dragged from.
        box: of the element that was named.
        status: "" (done), "refused", "submit", "over" (the application ended the episode),
            "unseen" (the recording did not know the way).
        text, images: what the policy was shown; filled by `rounds_of`.
    """

    number: int
    turn: int
    call: int
    action: str
    url: str = ""
    point: tuple[int, int] | None = None
    box: Box | None = None
    size: tuple[int, int] = (0, 0)
    status: str = ""
    text: str = field(default="", repr=False)
    images: list[Image] = field(default_factory=list, repr=False)

    def outcome(self) -> dict[str, Any]:
        """JSON-able, without what the episode's messages hold anyway."""
        return {
            "round": self.number,
            "turn": self.turn,
            "call": self.call,
            "action": self.action,
            "url": self.url,
            "point": list(self.point) if self.point else None,
            "box": list(self.box) if self.box else None,
            "size": list(self.size),
            "status": self.status,
        }


def header(number: int) -> str:
    return f"## Round {number}"


def aim(action: Action, view: View) -> tuple[tuple[int, int] | None, Box | None]:
    """Where on the screen an action lands: its pixel, and the box of the element it names."""
    if action.element:
        element = view.find(action.element)
        return action.point or element.centre, element.box
    return action.point, None


def rounds_of(episode: Episode) -> list[Round]:
    """The rounds of a finished episode with their texts and images, also of a stored one."""
    found = []
    for row in episode.outcome.get("rounds", []):
        turn, call = row["turn"], row["call"]
        if turn < 0:
            text, images = "", []
            if episode.prompt:
                first = episode.prompt[-1]
                start = first.content.find(header(0))
                text, images = first.content[max(start, 0) :], first.images
        else:
            result = episode.turns[turn].results[call]
            text, images = result.text, result.images
        found.append(
            Round(
                number=row["round"],
                turn=turn,
                call=call,
                action=row["action"],
                url=row["url"],
                point=tuple(row["point"]) if row["point"] else None,
                box=tuple(row["box"]) if row["box"] else None,
                size=tuple(row["size"]),
                status=row["status"],
                text=text,
                images=list(images),
            )
        )
    return found
