"""Mazes of an exact length and number of turns (Ariadne, paper 1).

+-+-+-+
|O  | |      the way from O to T is the only one: a perfect maze is grown around it, so its
+-+ + +      length n and its number of turns u are exactly what was asked for
|   |T|
+ +-+ +
|     |
+-+-+-+
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from agentrl.core import (
    Check,
    ConfigError,
    Episode,
    Image,
    Message,
    Score,
    Task,
    ToolResult,
    derive_seed,
)
from agentrl.environments.answers import AnswerEnvironment, after_thinking, ungraded
from agentrl.tools import ToolError, tool

Cell = tuple[int, int]
MOVES: dict[str, Cell] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
_TOKEN = re.compile(r"<\|(up|down|left|right)\|>")
_ONLY_MOVES = re.compile(r"(?:\s*<\|(?:up|down|left|right)\|>)+\s*")
HOW = (
    "Find the way from O to T. Think between <think> and </think>, then answer with moves only, "
    "such as <|right|><|up|>."
)
HOW_MOVES = "Find the way from O to T with the tool `move`."


@dataclass(slots=True, frozen=True)
class Maze:
    """A perfect maze: between any two cells there is exactly one way.

    Attributes:
        size: cells per side.
        doors: the pairs of neighbouring cells without a wall between them, smaller cell first.
    """

    size: int
    doors: frozenset[tuple[Cell, Cell]]
    start: Cell
    target: Cell

    def open(self, cell: Cell, move: str) -> bool:
        return _door(cell, step(cell, move)) in self.doors

    def text(self, at: Cell | None = None) -> str:
        """A drawing in characters; O stands at `at`, by default at the start."""
        rows = ["+" + "-+" * self.size]
        for r in range(self.size):
            inside, below = "|", "+"
            for c in range(self.size):
                mark = (
                    "O" if (r, c) == (at or self.start) else "T" if (r, c) == self.target else " "
                )
                inside += mark + (" " if self.open((r, c), "right") else "|")
                below += (" " if self.open((r, c), "down") else "-") + "+"
            rows += [inside, below]
        return "\n".join(rows)

    def image(self, cell: int = 24, at: Cell | None = None) -> Image:
        """The same as a PNG of (size * cell + 1) pixels a side. Needs pillow."""
        from PIL import Image as Picture
        from PIL import ImageDraw

        side = self.size * cell + 1
        picture = Picture.new("RGB", (side, side), "white")
        draw = ImageDraw.Draw(picture)
        for r in range(self.size):
            for c in range(self.size):
                x, y = c * cell, r * cell
                if not self.open((r, c), "up"):
                    draw.line([(x, y), (x + cell, y)], "black", 2)
                if not self.open((r, c), "left"):
                    draw.line([(x, y), (x, y + cell)], "black", 2)
                low, high = cell // 4, 3 * cell // 4
                if (r, c) == (at or self.start):
                    draw.ellipse([(x + low, y + low), (x + high, y + high)], outline="red", width=2)
                elif (r, c) == self.target:
                    draw.line([(x + low, y + low), (x + high, y + low)], "blue", 2)
                    draw.line([(x + cell // 2, y + low), (x + cell // 2, y + high)], "blue", 2)
        draw.rectangle([(0, 0), (side - 1, side - 1)], outline="black", width=2)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return Image(buffer.getvalue())

    def plain(self) -> dict[str, Any]:
        doors = sorted([[list(a), list(b)] for a, b in self.doors])
        return {
            "size": self.size,
            "doors": doors,
            "start": list(self.start),
            "target": list(self.target),
        }

    @staticmethod
    def of(plain: dict[str, Any]) -> Maze:
        doors = frozenset((tuple(a), tuple(b)) for a, b in plain["doors"])
        return Maze(plain["size"], doors, tuple(plain["start"]), tuple(plain["target"]))


def step(cell: Cell, move: str) -> Cell:
    dr, dc = MOVES[move]
    return cell[0] + dr, cell[1] + dc


def turns(path: Sequence[str]) -> int:
    """How often the direction changes."""
    return sum(a != b for a, b in pairwise(path))


def make_maze(length: int, bends: int, *, size: int = 6, seed: int = 0) -> tuple[Maze, list[str]]:
    """A maze whose only way has exactly `length` moves and `bends` turns, and that way.

    Raises:
        ConfigError: no such way fits into a grid of that size.
    """
    rng = random.Random(derive_seed(seed, "maze", length, bends, size))
    starts = [(r, c) for r in range(size) for c in range(size)]
    rng.shuffle(starts)
    for start in starts if 0 <= bends < length else []:
        path = _walk(start, length, bends, size, rng)
        if path is not None:
            return _grow(start, path, size, rng), path
    raise ConfigError(
        f"no way of {length} moves with {bends} turns fits into {size} x {size} cells",
        fix="use fewer turns than moves, and a larger `size`",
    )


def _walk(start: Cell, length: int, bends: int, size: int, rng: random.Random) -> list[str] | None:
    """A self-avoiding way by depth-first search, None when none begins here."""
    path: list[str] = []
    cells = [start]

    def go(left: int) -> bool:
        if len(path) == length:
            return left == 0
        if left > length - len(path):
            return False
        for move in rng.sample(sorted(MOVES), 4):
            bent = bool(path) and move != path[-1]
            cell = step(cells[-1], move)
            if left - bent < 0 or cell in cells or not _inside(cell, size):
                continue
            path.append(move)
            cells.append(cell)
            if go(left - bent):
                return True
            path.pop()
            cells.pop()
        return False

    return path if go(bends) else None


def _grow(start: Cell, path: Sequence[str], size: int, rng: random.Random) -> Maze:
    """Attach every other cell to the way by one door each: a tree has no second way."""
    doors: set[tuple[Cell, Cell]] = set()
    reached = [start]
    for move in path:
        doors.add(_door(reached[-1], step(reached[-1], move)))
        reached.append(step(reached[-1], move))
    target = reached[-1]
    inside = set(reached)
    edges = [(cell, step(cell, move)) for cell in reached for move in MOVES]
    while edges:
        cell, new = edges.pop(rng.randrange(len(edges)))
        if _inside(new, size) and new not in inside:
            inside.add(new)
            doors.add(_door(cell, new))
            edges += [(new, step(new, move)) for move in MOVES]
    return Maze(size, frozenset(doors), start, target)


def _inside(cell: Cell, size: int) -> bool:
    return 0 <= cell[0] < size and 0 <= cell[1] < size


def _door(a: Cell, b: Cell) -> tuple[Cell, Cell]:
    return (a, b) if a < b else (b, a)


def make_tasks(
    count: int,
    *,
    seed: int = 0,
    lengths: Sequence[int] = (1, 2, 3, 4, 5),
    max_bends: int = 2,
    size: int = 6,
    mode: Literal["answer", "moves"] = "answer",
) -> Iterator[Task]:
    """Maze tasks, as evenly spread over the cells (length, turns) as `count` allows.

    Args:
        mode: "answer": all moves in one message; "moves": one call of `move` after the other.
    """
    cells = [(n, u) for n in lengths for u in range(min(max_bends, n - 1) + 1)]
    for i in range(count):
        length, bends = cells[i % len(cells)]
        maze, path = make_maze(length, bends, size=size, seed=derive_seed(seed, i))
        yield Task(
            f"maze-{seed}-{i}",
            f"{maze.text()}\n{HOW if mode == 'answer' else HOW_MOVES}",
            environment="maze",
            payload={"maze": maze.plain(), "mode": mode},
            reference={"path": path},
            metadata={"length": length, "turns": bends},
        )


class MazeEnvironment(AnswerEnvironment):
    """A maze to read or to look at, and a way to write, or to walk move by move.

    Args:
        text: show the maze as a drawing in characters.
        image: show it as a picture.
        cell: pixels of the picture for a cell's side.
    """

    def __init__(self, *, text: bool = True, image: bool = False, cell: int = 24) -> None:
        self._text, self._image, self._cell = text, image, cell
        self._maze: Maze | None = None
        self._at: Cell = (0, 0)
        self._walked: list[str] = []

    @property
    def tools(self) -> dict[str, Any]:
        walks = self._maze is not None and self.task.payload.get("mode") == "moves"
        return super().tools if walks else {}

    def reset(self, task: Task) -> list[Message]:
        self.task = task
        self._maze = Maze.of(task.payload["maze"])
        self._at = self._maze.start
        content = task.prompt if self._text else task.prompt.rpartition("\n")[2]
        return [Message("user", content, images=self._pictures())]

    def _pictures(self) -> list[Image]:
        assert self._maze is not None
        return [self._maze.image(self._cell, self._at)] if self._image else []

    @tool
    async def move(self, direction: Literal["up", "down", "left", "right"]) -> ToolResult:
        """Go one cell further.

        Args:
            direction: where to.
        """
        assert self._maze is not None
        if not self._maze.open(self._at, direction):
            raise ToolError(f"there is a wall: {direction} is closed")
        self._walked.append(direction)
        self._at = step(self._at, direction)
        self.done = self._at == self._maze.target
        if self.done:
            return ToolResult("you are at T")
        text = self._maze.text(self._at) if self._text else f"you went {direction}"
        return ToolResult(text, images=self._pictures())

    def grade(self, answer: str) -> dict[str, Any]:
        """{"path", "only_moves", "think_tags", "arrived", "length", "turns"}."""
        assert self._maze is not None
        final = after_thinking(answer)
        walks = self.task.payload.get("mode") == "moves"
        path = self._walked if walks else _TOKEN.findall(final)
        cell = self._maze.start
        for move in path:
            if not self._maze.open(cell, move):
                break
            cell = step(cell, move)
        return {
            "path": path,
            "only_moves": bool(_ONLY_MOVES.fullmatch(final)),
            "think_tags": sum(answer.count(tag) == 1 for tag in ("<think>", "</think>")),
            "arrived": cell == self._maze.target,
            **self.task.metadata,
        }


@dataclass(slots=True)
class PrefixProgress:
    """What a way is worth that is right only to begin with (Ariadne, paper 1).

    With the reference's n moves and u turns, and its longest common prefix with the answer of k
    moves and u_k turns,

        exact:      bonus * n * (u + 1)          (bonus 2)
        otherwise:  k * (u_k + 1)

    plus 0.1 for an answer of moves only and 0.05 for each think tag that stands once. A longer
    answer earns the whole prefix, not the exact value.

    Attributes:
        as_released: count k alone, as the published code does.
        exact_only: nothing for a prefix: the baseline.
        normalised: divide by bonus * n * (u + 1), so that every maze weighs the same.
    """

    bonus: float = 2.0
    form: float = 0.1
    as_released: bool = False
    exact_only: bool = False
    normalised: bool = False
    name: str = "prefix_progress"

    async def score(self, episode: Episode) -> Score:
        reference, outcome = episode.task.reference.get("path"), episode.outcome
        if reference is None or "path" not in outcome:
            return ungraded("path")
        way = self.way(reference, outcome["path"])
        form = float(outcome["only_moves"]) + 0.5 * outcome["think_tags"]
        checks = [Check("way", way, outcome["path"] == reference), Check("form", form)]
        return Score(way + self.form * form, checks)

    def way(self, reference: Sequence[str], path: Sequence[str]) -> float:
        """The value of a path, without its form."""
        whole = self.bonus * len(reference) * (turns(reference) + 1)
        if list(path) == list(reference):
            value = whole
        elif self.exact_only:
            value = 0.0
        else:
            k = common_prefix(reference, path)
            value = float(k * (1 if self.as_released else turns(reference[:k]) + 1))
        return value / whole if self.normalised else value


@dataclass(slots=True)
class MazeProximity:
    """How much of the way was walked (SSL, paper 21): of the cells that the answer or the
    reference comes to, the share that both do; for `{kind: tiered, proximity: ..}`. A move into a
    wall ends the walk.
    """

    name: str = "maze_proximity"

    async def score(self, episode: Episode) -> Score:
        reference, outcome = episode.task.reference.get("path"), episode.outcome
        if reference is None or "path" not in outcome:
            return ungraded("path")
        maze = Maze.of(episode.task.payload["maze"])
        given, wanted = walked(maze, outcome["path"]), walked(maze, reference)
        return Score(len(given & wanted) / len(given | wanted))


def walked(maze: Maze, path: Iterable[str]) -> set[Cell]:
    """The cells that a walk comes to before a wall stops it, the start among them."""
    cells, at = {maze.start}, maze.start
    for move in path:
        if not maze.open(at, move):
            break
        at = step(at, move)
        cells.add(at)
    return cells


def common_prefix(a: Sequence[str], b: Sequence[str]) -> int:
    """How many items two sequences share from the first on."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def boundary_map(episodes: Iterable[Episode]) -> dict[tuple[int, int], tuple[int, int]]:
    """(length, turns) -> (episodes that arrived, episodes): where the policy's ability ends."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for episode in episodes:
        if "arrived" in episode.outcome:
            key = (episode.outcome["length"], episode.outcome["turns"])
            arrived, count = found.get(key, (0, 0))
            found[key] = (arrived + bool(episode.outcome["arrived"]), count + 1)
    return dict(sorted(found.items()))
