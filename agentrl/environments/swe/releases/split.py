"""Dividing what a release changed into the single fixes that its tests can tell apart.

The changed places (hunks; those of one function together) are taken back one at a time, on the
newer source. Which tests then fail says which places a test needs. (That a test's file cannot be
imported without a place counts only for tests that show no other need: the rest only stands beside
one that asks for a new name.) Places that some test needs together are one fix; places that tests
of several otherwise separate fixes need, such as an import, and those that no test misses belong to
none and stay as the newer release has them. So a fix's task is the newer release without that fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agentrl.environments.swe.functions import Function, functions_of
from agentrl.environments.swe.hide import hide_tests, split_id
from agentrl.environments.swe.package import is_source
from agentrl.environments.swe.releases.pair import Pair
from agentrl.environments.swe.releases.prove import Failing
from agentrl.environments.swe.tree import lines_of

MAX_PLACES = 40

Texts = dict[str, str | None]
"""New text by path, None: the file is removed."""
Run = Callable[[Texts], Awaitable[Failing]]
"""The tests that fail with these texts put over the newer release."""


@dataclass(slots=True, frozen=True)
class _Hunk:
    """Lines [new_start, new_end) of the newer file stand where the older had `old`."""

    path: str
    new_start: int
    new_end: int
    old: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Place:
    """Hunks that are taken back together, or a whole file that one release lacks.

    Attributes:
        paths: of the files; hunks: empty for whole files.
        names: of the functions that they are in.
    """

    paths: frozenset[str]
    hunks: tuple[_Hunk, ...]
    names: frozenset[str]


@dataclass(slots=True, frozen=True)
class Part:
    """One fix: the tests that miss it, and its places."""

    tests: frozenset[str]
    places: tuple[Place, ...]


def places_of(pair: Pair) -> list[Place]:
    """What the two sources differ in, in the order of paths and lines."""
    found: list[Place] = []
    for path in pair.planted:
        if path not in pair.buggy or path not in pair.pristine:
            found.append(Place(frozenset([path]), (), frozenset()))
        else:
            found += _of_file(path, pair.buggy[path], pair.pristine[path])
    return found


def without(pair: Pair, places: list[Place]) -> Texts:
    """The newer release with these places as the older one has them."""
    texts: Texts = {}
    for path in sorted({path for place in places for path in place.paths}):
        hunks = [hunk for place in places for hunk in place.hunks if hunk.path == path]
        if not hunks:
            texts[path] = pair.buggy[path].decode() if path in pair.buggy else None
            continue
        lines = lines_of(pair.pristine[path])
        for hunk in sorted(hunks, key=lambda h: (h.new_start, h.new_end), reverse=True):
            lines[hunk.new_start : hunk.new_end] = hunk.old
        texts[path] = "".join(lines)
    return texts


async def parts_of(pair: Pair, failing: list[str], run: Run) -> tuple[list[Part], str]:
    """The fixes, at least two of them; or none, and why not.

    Args:
        failing: the tests that fail on the older source.
    """
    places = places_of(pair)
    if len(places) < 2:
        return [], "it changes one place"
    if len(places) > MAX_PLACES:
        return [], f"it changes {len(places)} places (at most {MAX_PLACES} are taken apart)"
    found = [await run(without(pair, [place])) for place in places]
    shown = set().union(*(one.ran for one in found))
    needed = {
        number: (one.ran | (one.uncollected - shown)) & set(failing)
        for number, one in enumerate(found)
    }
    groups = [group for group in _separated(needed) if set().union(*(needed[n] for n in group))]
    if len(groups) < 2:
        return [], "its tests tell no two fixes apart"
    return [
        Part(frozenset().union(*(needed[n] for n in group)), tuple(places[n] for n in group))
        for group in groups
    ], ""


def part_of_pair(pair: Pair, part: Part) -> Pair:
    """The pair whose older side is the newer release without one fix."""
    buggy = dict(pair.pristine)
    for path, text in without(pair, list(part.places)).items():
        if text is None:
            buggy.pop(path, None)
        else:
            buggy[path] = text.encode()
    roots = pair.package.roots
    base = {path: data for path, data in pair.base.items() if not is_source(path, roots)}
    base |= {path: data for path, data in buggy.items() if is_source(path, roots)}
    return replace(pair, buggy=buggy, base=base)


def with_tests(pair: Pair, hidden: set[str], passing: set[str]) -> Pair:
    """The pair with an agent's copy that has the newer tests, without the hidden ones; a file of
    which nothing is left, as the older release has it."""
    shown = dict(pair.base)
    for path in pair.package.tests:
        names = {split_id(test)[1] for test in hidden if split_id(test)[0] == path}
        rest = {t for t in passing - hidden if split_id(t)[0] == path}
        data = hide_tests(pair.pristine[path], names) if names else pair.pristine[path]
        if data is not None and rest:
            shown[path] = data
    return replace(pair, base=shown)


def _of_file(path: str, before: bytes, after: bytes) -> list[Place]:
    old, new = lines_of(before), lines_of(after)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    then, now = functions_of(path, before), functions_of(path, after)
    hunks: list[tuple[_Hunk, frozenset[str]]] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            hunks += _by_function(
                path, old, _segments(old, a, b, then), _segments(new, c, d, now), d
            )
    groups = _components([(n, set(names)) for n, (_, names) in enumerate(hunks)])
    return [
        Place(
            frozenset([path]),
            tuple(hunks[n][0] for n in group),
            frozenset().union(*(hunks[n][1] for n in group)),
        )
        for group in groups
    ]


def _segments(
    lines: list[str], start: int, end: int, functions: list[Function]
) -> list[tuple[str, int, int]]:
    """(function, or "", first line, line after the last); empty lines go with what follows."""
    found: list[tuple[str, int, int]] = []
    blank = start
    for at in range(start, end):
        if not lines[at].strip() and at + 1 < end:
            continue
        name = next((f.name for f in functions if f.first_line <= at + 1 <= f.last_line), "")
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], at + 1)
        else:
            found.append((name, blank, at + 1))
        blank = at + 1
    return found


def _by_function(
    path: str,
    old: list[str],
    before: list[tuple[str, int, int]],
    after: list[tuple[str, int, int]],
    end: int,
) -> list[tuple[_Hunk, frozenset[str]]]:
    """One hunk of difflib's as one for each function: neighbours may belong to different fixes."""
    left = list(before)
    found: list[tuple[_Hunk, frozenset[str]]] = []
    for name, start, stop in after:
        same = next((n for n, segment in enumerate(left) if segment[0] == name), None)
        gone = left[:same] if same is not None else []
        for old_name, a, b in gone:
            found.append((_Hunk(path, start, start, tuple(old[a:b])), _named(old_name)))
        text: tuple[str, ...] = ()
        if same is not None:
            text = tuple(old[left[same][1] : left[same][2]])
            left = left[same + 1 :]
        found.append((_Hunk(path, start, stop, text), _named(name)))
    for old_name, a, b in left:
        found.append((_Hunk(path, end, end, tuple(old[a:b])), _named(old_name)))
    return found


def _named(function: str) -> frozenset[str]:
    return frozenset([function] if function else [])


def _separated(needed: dict[int, set[str]]) -> list[list[int]]:
    """Groups of places that no test needs two of, without the places that would join groups."""
    used = {n: tests for n, tests in needed.items() if tests}
    groups = _components(list(used.items()))
    found: list[list[int]] = []
    for group in groups:
        found += _divided({n: used[n] for n in group})
    return sorted(found)


def _divided(group: dict[int, set[str]]) -> list[list[int]]:
    """Leave the place out that most tests need, where every test still has another and the rest
    falls apart."""
    every = set().union(*group.values())
    for hub in sorted(group, key=lambda n: (-len(group[n]), n)):
        rest = {n: tests for n, tests in group.items() if n != hub}
        if not rest or set().union(*rest.values()) != every:
            continue
        parts = _components(list(rest.items()))
        if len(parts) > 1:
            return [one for part in parts for one in _divided({n: rest[n] for n in part})]
    return [sorted(group)]


def _components(items: list[tuple[int, set[str]]]) -> list[list[int]]:
    """Numbers joined where their sets meet; one whose set is empty stands alone."""
    groups: list[tuple[list[int], set[str]]] = []
    for number, marks in items:
        touching = [group for group in groups if group[1] & marks]
        groups = [group for group in groups if not group[1] & marks]
        members = sorted([number, *(n for group in touching for n in group[0])])
        groups.append((members, marks.union(*(group[1] for group in touching))))
    return sorted(group[0] for group in groups)
