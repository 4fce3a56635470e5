"""A view as the text that a policy reads."""

from __future__ import annotations

from agentrl.environments.gui.screen import Element, View


def words(view: View, *, max_elements: int = 120, max_name: int = 120) -> str:
    """A compact text: title and URL, notes, then one line an element.

    Args:
        max_elements: lines of elements; a last line says how many are not shown.
        max_name: characters of a name or value.
    """
    head = "  ".join(part for part in (view.title, view.url) if part)
    lines = [head or "(no title)"]
    lines += [f"note: {note}" for note in view.notes]
    lines += [line(element, max_name) for element in view.elements[:max_elements]]
    hidden = len(view.elements) - max_elements
    if hidden > 0:
        lines.append(f"... {hidden} more elements are not shown")
    if not view.elements:
        lines.append("(nothing is shown)")
    return "\n".join(lines)


def line(element: Element, max_name: int = 120) -> str:
    """`[3] textbox "Quantity" value="2" focused`."""
    number = f"[{element.id}] " if element.id else ""
    parts = [f"{'  ' * element.depth}{number}{element.role}"]
    if element.name:
        parts.append(f'"{_short(element.name, max_name)}"')
    if element.value is not None:
        parts.append(f'value="{_short(element.value, max_name)}"')
    if element.options:
        parts.append(f"options: {_short(' | '.join(element.options), 2 * max_name)}")
    return " ".join([*parts, *element.states])


def _short(text: str, limit: int) -> str:
    flat = " ".join(text.split()).replace('"', "'")
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
