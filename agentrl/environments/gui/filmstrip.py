"""The rounds of an episode as a film strip: one HTML page, pictures inside it, nothing to load.

A frame is what the screen showed in a round, with the mark of what was done next where it was done.
Frames that were named as evidence are framed; the submission and its verdict stand at the end.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from agentrl.core import Episode, Image
from agentrl.environments.gui.filmstyle import STYLE
from agentrl.environments.gui.rounds import rounds_of

# Rounds in which the screen stayed as it was.
_UNCHANGED = ("refused", "unseen")


@dataclass(slots=True)
class Frame:
    """One round, ready to be drawn.

    Attributes:
        text: the observation without its head; image: its picture, or that of the last round
            with one (`stale`) where the screen did not change.
        number: of the round; then: the action that was done on this screen next.
        point, box: in pixels of a screen of `size`: where the next action hit, and what.
    """

    number: int
    text: str
    image: Image | None
    size: tuple[int, int]
    stale: bool = False
    problem: str = ""
    then: str = ""
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    evidence: bool = False


def frames(episode: Episode) -> list[Frame]:
    """The frames of an episode of a GUI environment; none when its outcome numbers no rounds."""
    rounds = [r for r in rounds_of(episode) if r.status != "submit"]
    named = {x for x in episode.outcome.get("evidence", ()) if isinstance(x, int)}
    made: list[Frame] = []
    for shown, following in zip(rounds, [*rounds[1:], None], strict=True):
        frame = Frame(shown.number, _body(shown.text), None, shown.size)
        frame.image = shown.images[-1] if shown.images else None
        frame.evidence = shown.number in named
        if shown.status in _UNCHANGED:
            frame.problem = frame.text
            if made:
                frame.image, frame.text, frame.stale = made[-1].image, made[-1].text, True
        if following is not None:
            frame.then, frame.point, frame.box = following.action, following.point, following.box
        made.append(frame)
    return made


def film_strip(episode: Episode) -> str:
    """The strip as an HTML fragment, for pages that hold `STYLE` (a viewer's, or `film_page`)."""
    strip = "\n".join(_frame(frame) for frame in frames(episode))
    return f'<div class="film"><div class="strip">\n{strip}\n</div>\n{_verdict(episode)}</div>'


def film_page(episodes: Sequence[Episode], title: str = "Episodes") -> str:
    """A whole page with the strips of some episodes one below the other."""
    parts = [
        f"<section><h2>{escape(e.task.id)} <small>{escape(_ending(e))}</small></h2>"
        f'<p class="task">{escape(e.task.prompt)}</p>\n{film_strip(e)}</section>'
        for e in episodes
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _body(text: str) -> str:
    """An observation from its round's head on."""
    _, head, rest = text.partition("## Round ")
    return rest.partition("\n")[2].strip() if head else text.strip()


def _frame(frame: Frame) -> str:
    classes = ["frame", *(["evidence"] if frame.evidence else []), *(["stale"] * frame.stale)]
    badge = '<b class="badge">evidence</b>' if frame.evidence else ""
    problem = f'<p class="problem">{escape(frame.problem)}</p>' if frame.problem else ""
    then = f'<p class="then">&rarr; <code>{escape(frame.then)}</code></p>' if frame.then else ""
    return (
        f'<figure class="{" ".join(classes)}"><figcaption>Round {frame.number}{badge}</figcaption>'
        f"{_screen(frame)}{problem}{then}</figure>"
    )


def _screen(frame: Frame) -> str:
    """The picture with its marks; where there is none, what a text policy read."""
    if frame.image is None:
        return f'<pre class="screen">{escape(frame.text)}</pre>'
    width, height = frame.size
    data = base64.b64encode(frame.image.data).decode("ascii")
    source = f"data:{frame.image.media_type};base64,{data}"
    return (
        f'<svg class="screen" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(frame.text, quote=True)}">'
        f'<image href="{source}" width="{width}" height="{height}"/>{_marks(frame)}</svg>'
    )


def _marks(frame: Frame) -> str:
    """A box around what was acted on, a ring and a dot where; an arrow to what is out of sight."""
    unit = max(frame.size) / 160
    marks = ""
    if frame.box is not None:
        left, top, right, bottom = frame.box
        marks += (
            f'<rect class="target" x="{left:g}" y="{top:g}" width="{right - left:g}"'
            f' height="{bottom - top:g}" rx="{unit:g}" stroke-width="{unit / 2:g}"/>'
        )
    if frame.point is not None:
        x, y = frame.point
        marks += (
            f'<circle class="ring" cx="{x:g}" cy="{y:g}" r="{4 * unit:g}" stroke-width="{unit:g}"/>'
            f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="{unit:g}"/>'
        )
        marks += _arrow(frame, x, y, 4 * unit)
    return marks


def _arrow(frame: Frame, x: float, y: float, side: float) -> str:
    """A triangle at the edge of the screen that points to what lies above or below it."""
    height = frame.size[1]
    if 0 <= y < height:
        return ""
    base, tip = (2 * side, 0.4 * side) if y < 0 else (height - 2 * side, height - 0.4 * side)
    points = f"{x - side:g},{base:g} {x + side:g},{base:g} {x:g},{tip:g}"
    return f'<polygon class="dot" points="{points}"/>'


def _verdict(episode: Episode) -> str:
    """What was handed in, and what the rewards say of it."""
    outcome = episode.outcome
    rows = []
    if outcome.get("submitted"):
        named = ", ".join(map(str, outcome.get("evidence", ()))) or "none"
        rows.append(("submitted", f"{outcome.get('message', '')} (evidence: rounds {named})"))
    else:
        rows.append(("submitted", "nothing"))
    if outcome.get("solved") is not None:
        rows.append(("end state", "as wanted" if outcome["solved"] else "not as wanted"))
    for name, score in episode.scores.items():
        if name == "reward" and score in [s for n, s in episode.scores.items() if n != name]:
            continue
        said = "abstained" if score.abstained else f"{score.value:.3g}"
        parts = ", ".join(f"{c.name} {c.value:g}" for c in score.checks)
        why = f": {score.evidence}" if score.evidence else ""
        rows.append((name, f"{said}{f' ({parts})' if parts else ''}{why}"))
    lines = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    return f'<table class="verdict">{lines}</table>'


def _ending(episode: Episode) -> str:
    reward = f", reward {episode.reward:.2f}" if episode.judged else ""
    return f"{episode.status}{reward}"
