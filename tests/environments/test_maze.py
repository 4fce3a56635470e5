"""Mazes have exactly the asked length and turns, one way only; rewards are the paper's numbers."""

from __future__ import annotations

import asyncio
import io
from collections import deque

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from small_kit import judged, play, said

from agentrl.core import ConfigError, Episode, Task, ToolCall
from agentrl.environments.maze import (
    MOVES,
    Maze,
    MazeEnvironment,
    MazeProximity,
    PrefixProgress,
    boundary_map,
    make_maze,
    make_tasks,
    step,
    turns,
)

R, U, L = "right", "up", "left"


def ways(maze: Maze) -> list[list[str]]:
    """Every shortest way, and proof that there is one only: cells = doors + 1, all reached."""
    seen, queue, found = {maze.start: []}, deque([maze.start]), []
    while queue:
        cell = queue.popleft()
        for move in MOVES:
            if maze.open(cell, move) and step(cell, move) not in seen:
                seen[step(cell, move)] = [*seen[cell], move]
                queue.append(step(cell, move))
    assert len(seen) == maze.size**2 == len(maze.doors) + 1
    found.append(seen[maze.target])
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10), st.integers(0, 4), st.integers(0, 10**6))
def test_the_only_way_has_the_asked_length_and_turns(length, bends, seed):
    assume(bends < length and length - bends <= 5)
    maze, path = make_maze(length, bends, seed=seed)
    assert ways(maze) == [path]
    assert (len(path), turns(path)) == (length, bends)
    assert Maze.of(maze.plain()) == maze


@pytest.mark.parametrize(("length", "bends"), [(3, 3), (7, 0), (40, 1)])
def test_what_does_not_fit_is_refused(length, bends):
    with pytest.raises(ConfigError, match="no way of"):
        make_maze(length, bends, size=6)


@pytest.mark.parametrize(
    ("path", "meant", "released"),
    [
        ([R, R, U], 12, 12),
        ([R, R, L], 2, 2),
        ([R, R, U, U], 6, 3),
        ([U], 0, 0),
        ([], 0, 0),
    ],
)
def test_prefixes_are_worth_what_the_paper_says(path, meant, released):
    assert PrefixProgress().way([R, R, U], path) == meant
    assert PrefixProgress(as_released=True).way([R, R, U], path) == released
    assert PrefixProgress(exact_only=True).way([R, R, U], path) == (12 if path == [R, R, U] else 0)


@given(st.integers(1, 8), st.integers(0, 3), st.integers(0, 999), st.data())
@settings(max_examples=30, deadline=None)
def test_the_exact_way_is_always_worth_most(length, bends, seed, data):
    assume(bends < length and length - bends <= 5)
    _, path = make_maze(length, bends, seed=seed)
    other = data.draw(st.lists(st.sampled_from(sorted(MOVES)), max_size=10))
    assume(other != path)
    assert PrefixProgress().way(path, other) < PrefixProgress().way(path, path)


async def test_an_answer_is_read_after_the_thinking():
    (task,) = make_tasks(1, lengths=[3], max_bends=1)
    answer = "".join(f"<|{move}|>" for move in task.reference["path"])
    episode = await play(MazeEnvironment(), task, f"<think><|up|></think>{answer}")
    assert episode.outcome["arrived"]
    assert episode.outcome["path"] == task.reference["path"]
    n, u = task.metadata["length"], task.metadata["turns"]
    score = await PrefixProgress().score(episode)
    assert score.value == pytest.approx(2 * n * (u + 1) + 0.1 + 0.1)
    talk = await judged(PrefixProgress(), MazeEnvironment(), task, f"Go {answer}")
    assert talk.value == pytest.approx(2 * n * (u + 1))


async def test_moves_are_walked_one_by_one_and_walls_are_told():
    (task,) = make_tasks(1, lengths=[4], max_bends=1, mode="moves")
    maze, path = Maze.of(task.payload["maze"]), task.reference["path"]
    wall = next(move for move in MOVES if not maze.open(maze.start, move))
    turns_ = [said("", ToolCall("move", {"direction": d})) for d in [wall, *path]]
    episode = await play(MazeEnvironment(), task, *turns_)
    assert episode.turns[0].results[0].text.startswith("error: there is a wall")
    assert episode.turns[-1].results[0].text == "you are at T"
    assert episode.outcome["path"] == path
    assert (await PrefixProgress().score(episode)).checks[0].passed


async def test_the_picture_shows_the_walls_of_the_text():
    (task,) = make_tasks(1, lengths=[3])
    maze = Maze.of(task.payload["maze"])
    (message,) = MazeEnvironment(image=True).reset(task)
    picture = Picture.open(io.BytesIO(message.images[0].data)).convert("L")
    assert picture.size == (maze.size * 24 + 1,) * 2
    for r in range(maze.size):
        for c in range(maze.size - 1):
            dark = picture.getpixel(((c + 1) * 24, r * 24 + 12)) < 128
            assert dark is not maze.open((r, c), "right")
    assert maze.text().count("O") == maze.text().count("T") == 1


def test_the_boundary_map_counts_by_length_and_turns():
    def ended(length: int, bends: int, arrived: bool) -> Episode:
        outcome = {"arrived": arrived, "length": length, "turns": bends}
        return Episode(Task("t", ""), outcome=outcome)

    episodes = [ended(2, 0, True), ended(2, 0, False), ended(5, 1, False), Episode(Task("t", ""))]
    assert boundary_map(episodes) == {(2, 0): (1, 2), (5, 1): (0, 1)}


def test_proximity_is_the_share_of_the_way_that_was_walked():
    maze, path = make_maze(4, 2, seed=3)
    task = Task("m", "", payload={"maze": maze.plain()}, reference={"path": path})

    def near(moves: list[str]) -> float:
        return asyncio.run(MazeProximity().score(Episode(task, outcome={"path": moves}))).value

    assert [near(path[:k]) for k in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    wall = next(m for m in MOVES if not maze.open(maze.start, m))
    assert near([wall, *path]) == pytest.approx(0.2), "a wall ends the walk"
    assert asyncio.run(MazeProximity().score(Episode(Task("m", "")))).abstained
