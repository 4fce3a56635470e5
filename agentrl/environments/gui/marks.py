"""Drawing on screenshots: the numbers of elements, and dialogs that a capture does not show."""

from __future__ import annotations

import io
from collections.abc import Sequence

from agentrl.core import Image
from agentrl.environments.gui.screen import Element

_COLOURS = ("#d11149", "#1a8fe3", "#0b7a4b", "#6610f2", "#b35900", "#006d77")


def marked(image: Image, elements: Sequence[Element]) -> Image:
    """The screenshot with a frame around each numbered element and its number.

    Args:
        image: a PNG whose pixels are those of the boxes.
    """
    from PIL import Image as Pictures
    from PIL import ImageDraw

    picture = Pictures.open(io.BytesIO(image.data)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for element in elements:
        if not element.id or "offscreen" in element.states:
            continue
        colour = _COLOURS[element.id % len(_COLOURS)]
        left, top, right, bottom = _inside(element, picture.size)
        if right <= left or bottom <= top:
            continue
        draw.rectangle((left, top, right, bottom), outline=colour)
        label = str(element.id)
        wide, high = _extent(draw, label)
        x = min(left, picture.width - wide - 2)
        y = top - high - 1 if top >= high + 1 else top
        draw.rectangle((x, y, x + wide + 1, y + high), fill=colour)
        draw.text((x + 1, y), label, fill="white", anchor="lt")
    return _png(picture)


def drawn_over(image: Image, elements: Sequence[Element]) -> Image:
    """The screenshot with these elements painted over it, as plain boxes with their text."""
    from PIL import Image as Pictures
    from PIL import ImageDraw

    picture = Pictures.open(io.BytesIO(image.data)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for element in elements:
        if element.role == "dialog":
            draw.rectangle(element.box, fill="#f2f2f2", outline="#444444")
        elif element.role in ("button", "textbox"):
            draw.rectangle(element.box, fill="white", outline="#444444")
        said = element.value if element.value is not None else element.name
        if element.role != "dialog":
            draw.text((element.box[0] + 2, element.box[1] + 2), said or "", fill="black")
    return _png(picture)


def _inside(element: Element, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = element.box
    return max(left, 0), max(top, 0), min(right, size[0]) - 1, min(bottom, size[1]) - 1


def _extent(draw: object, text: str) -> tuple[int, int]:
    box = draw.textbbox((0, 0), text, anchor="lt")  # type: ignore[attr-defined]
    return int(box[2]), int(box[3])


def _png(picture: object) -> Image:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # type: ignore[attr-defined]
    return Image(buffer.getvalue())
