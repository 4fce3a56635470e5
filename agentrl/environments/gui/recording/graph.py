"""A screen graph: what an application showed, and where each action led.

A recording is a folder that can be shipped, read and diffed:

    recording.json        {"format": 1, "conflicts": [..],
                          "starts": {KEY of a scene: {"node", "brief", "scene"}}}
    transitions.jsonl     one a line, sorted: {"from", "action", "to"} and, where there are any,
                          "notes", "refused" (the screen did not do it, and why); the action
                          `back` names the node that one goes back to
    nodes/ID.json         {"title", "url", "size", "over", "checks", "memory", "screenshot",
                          "stopped" (true, where a dialog is open), "elements": one a line}
    screenshots/SHA.png

A node's ID is the digest of all that it shows and of what the application remembers, so the same
state is one file however often it is reached, and two recordings of one application share theirs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentrl.core import ConfigError, Image, TaskFileError
from agentrl.environments.gui.screen import Element, View
from agentrl.environments.gui.task import ScreenTask

FORMAT = 1


@dataclass(slots=True)
class Node:
    """One state of the application.

    Attributes:
        checks: values of the tasks' end-state checks here, by their JavaScript.
        memory: digest of what the application remembers beyond what it shows.
        screenshot: name of its file; "" when none was taken.
    """

    id: str
    view: View
    checks: dict[str, Any] = field(default_factory=dict)
    memory: str = ""
    screenshot: str = ""


@dataclass(slots=True, frozen=True)
class Edge:
    """Where an action leads, what was noted on the way, or why it was refused."""

    to: str
    notes: tuple[str, ...] = ()
    refused: str = ""


@dataclass(slots=True)
class Start:
    """Where a scene begins, and what the application added to the prompt."""

    node: str
    brief: str = ""
    scene: dict[str, Any] = field(default_factory=dict)


class Recording:
    """The graph in memory; `open` reads a folder, `save` writes one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self.edges: dict[str, dict[str, Edge]] = {}
        self.starts: dict[str, Start] = {}
        self.conflicts: list[dict[str, str]] = []
        self._images: dict[str, Image] = {}

    @classmethod
    def open(cls, folder: Path) -> Recording:
        """Raises ConfigError when the folder is no recording, or one of another format."""
        recording = cls(folder)
        try:
            head = json.loads((folder / "recording.json").read_text())
            if head.get("format") != FORMAT:
                raise ConfigError(
                    f"the recording has format {head.get('format')}, this reads {FORMAT}",
                    where=str(folder),
                    fix="record it again",
                )
            recording.starts = {k: Start(**row) for k, row in head["starts"].items()}
            recording.conflicts = head.get("conflicts", [])
            for path in sorted((folder / "nodes").glob("*.json")):
                recording.nodes[path.stem] = _node(path.stem, json.loads(path.read_text()))
            for line in (folder / "transitions.jsonl").read_text().splitlines():
                row = json.loads(line)
                edge = Edge(row["to"], tuple(row.get("notes", ())), row.get("refused", ""))
                recording.edges.setdefault(row["from"], {})[row["action"]] = edge
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"not a recording: {error!r}", where=str(folder)) from error
        recording._check()
        return recording

    def save(self) -> None:
        """Write what is new; a recording that is interrupted here is read as it was before."""
        (self.folder / "nodes").mkdir(parents=True, exist_ok=True)
        (self.folder / "screenshots").mkdir(exist_ok=True)
        for name, image in self._images.items():
            _write(self.folder / "screenshots" / name, image.data)
        for node in self.nodes.values():
            _write(self.folder / "nodes" / f"{node.id}.json", _node_text(node).encode())
        rows = [json.dumps(row, ensure_ascii=False) for row in self._rows()]
        _replace(self.folder / "transitions.jsonl", "".join(f"{row}\n" for row in rows))
        starts = {
            key: {"node": start.node, "brief": start.brief, "scene": start.scene}
            for key, start in sorted(self.starts.items())
        }
        head = {"format": FORMAT, "starts": starts, "conflicts": self.conflicts}
        text = json.dumps(head, indent=1, ensure_ascii=False)
        _replace(self.folder / "recording.json", f"{text}\n")

    def add(self, view: View, checks: dict[str, Any], memory: str) -> Node:
        """The node of a state; its screenshot is kept from the first time it is seen with one."""
        plain = replace(view, notes=(), image=None)
        digest = hashlib.sha256(memory.encode()).hexdigest()[:16] if memory else ""
        id = _digest(plain, checks, digest)
        node = self.nodes.get(id)
        if node is None:
            node = self.nodes[id] = Node(id, plain, checks, digest)
        if view.image is not None and not node.screenshot:
            node.screenshot = hashlib.sha256(view.image.data).hexdigest()[:24] + ".png"
            self._images[node.screenshot] = view.image
        return node

    def connect(self, source: str, action: str, edge: Edge) -> bool:
        """Add a transition; False, and a line in `conflicts`, when it leads elsewhere already."""
        known = self.edges.setdefault(source, {}).setdefault(action, edge)
        if known.to == edge.to and known.refused == edge.refused:
            return True
        row = {"from": source, "action": action, "to": known.to, "also": edge.to}
        if row not in self.conflicts:
            self.conflicts.append(row)
        return False

    def image(self, node: Node) -> Image | None:
        """The screenshot of a node. Raises ConfigError when its file is missing."""
        if not node.screenshot:
            return None
        image = self._images.get(node.screenshot)
        if image is None:
            path = self.folder / "screenshots" / node.screenshot
            try:
                image = self._images[node.screenshot] = Image(path.read_bytes())
            except OSError as error:
                raise ConfigError(f"a screenshot is missing: {error}", where=str(path)) from error
        return image

    def _rows(self) -> Iterator[dict[str, Any]]:
        for source in sorted(self.edges):
            for action, edge in sorted(self.edges[source].items()):
                row: dict[str, Any] = {"from": source, "action": action, "to": edge.to}
                if edge.notes:
                    row["notes"] = list(edge.notes)
                if edge.refused:
                    row["refused"] = edge.refused
                yield row

    def _check(self) -> None:
        ends = {start.node for start in self.starts.values()}
        for source, edges in self.edges.items():
            ends |= {source} | {edge.to for edge in edges.values()}
        missing = sorted(ends - set(self.nodes))
        if missing:
            raise ConfigError(
                f"{len(missing)} nodes that it names are not there, first {missing[0]}",
                where=str(self.folder / "nodes"),
            )


def scene_key(task: ScreenTask) -> str:
    """Tasks with the same key start from the same state."""
    # Without what is left at its default: a new key of tasks leaves old recordings usable.
    scene = task.model_dump(mode="json", exclude={"allow", "over"}, exclude_defaults=True)
    return hashlib.sha256(json.dumps(scene, sort_keys=True).encode()).hexdigest()[:16]


def checks_of(references: list[dict[str, Any]]) -> list[str]:
    """The end-state checks of tasks, each once. Raises TaskFileError for one that is no text."""
    found = dict.fromkeys(reference.get("check", "") for reference in references)
    if not all(isinstance(check, str) for check in found):
        raise TaskFileError("reference.check is not a text", fix="a JavaScript expression")
    return [check for check in found if check]


def _digest(view: View, checks: dict[str, Any], memory: str) -> str:
    shown = [view.title, view.url, view.size, view.over, [_row(e) for e in view.elements]]
    text = json.dumps([shown, sorted(checks.items()), memory], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _row(element: Element) -> list[Any]:
    return [
        element.id,
        element.role,
        element.name,
        list(element.box),
        element.value,
        list(element.states),
        element.depth,
        *([list(element.options)] if element.options else []),
    ]


def _node_text(node: Node) -> str:
    head = {
        "title": node.view.title,
        "url": node.view.url,
        "size": list(node.view.size),
        "over": node.view.over,
        "checks": node.checks,
        "memory": node.memory,
        "screenshot": node.screenshot,
        **({"stopped": True} if node.view.stopped else {}),
    }
    lines = [f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}," for k, v in head.items()]
    rows = [f"  {json.dumps(_row(e), ensure_ascii=False)}" for e in node.view.elements]
    body = "[\n" + ",\n".join(rows) + "\n ]" if rows else "[]"
    return "{\n" + "\n".join(lines) + f'\n "elements": {body}\n}}\n'


def _node(id: str, row: dict[str, Any]) -> Node:
    elements = [
        Element(number, role, name, tuple(box), value, tuple(states), depth, *map(tuple, more))
        for number, role, name, box, value, states, depth, *more in row["elements"]
    ]
    width, height = row["size"]
    view = View(row["title"], row["url"], (width, height), elements, over=row["over"])
    view.stopped = row.get("stopped", False)
    return Node(id, view, row["checks"], row["memory"], row["screenshot"])


def _write(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def _replace(path: Path, text: str) -> None:
    scratch = path.with_suffix(path.suffix + ".new")
    scratch.write_text(text)
    scratch.replace(path)
