"""What `back` leads to depends on how one came: the pages before the one that is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentrl.environments.gui.screen import Action, View

# Where in such an element one clicks makes a difference.
_PLACES = frozenset({"canvas", "image", "img", "frame", "area", "svg"})


@dataclass(slots=True, frozen=True)
class Past:
    """The visits of a walk, oldest first: (address, node that was last shown there)."""

    visits: tuple[tuple[str, str], ...] = ()

    def then(self, action: Action, url: str, node: str) -> Past:
        """After an action that led to a node at an address.

        A browser restores the page before as it was left, so the node tells where `back` goes.
        """
        visits = self.visits
        if action.kind == "back" and len(visits) > 1:
            return Past((*visits[:-2], (url, node)))
        if visits and visits[-1][0] == url:
            visits = visits[:-1]
        return Past((*visits, (url, node)))

    @property
    def before(self) -> str:
        """The node that `back` leaves for; "" when there is none."""
        return self.visits[-2][1] if len(self.visits) > 1 else ""


def action_key(action: Action, view: View, past: Past) -> str:
    """An action as the name of a transition.

    A click on a point is the click on the element there, but where the point makes a difference;
    going back is said with what one goes back to.
    """
    if action.kind == "back":
        return str(replace(action, text=past.before))
    if action.kind not in ("click", "double_click") or action.element or action.point is None:
        return str(action)
    element = view.at(*action.point)
    if element is None or element.role in _PLACES:
        return str(action)
    return str(replace(action, element=element.id, point=None))
