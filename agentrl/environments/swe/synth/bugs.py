"""A bug: one mutation, or several that must all be undone."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentrl.core import derive_seed
from agentrl.environments.swe.functions import Function
from agentrl.environments.swe.synth.mutations import Mutation
from agentrl.environments.swe.tree import Tree, diff_trees

Shape = Literal["single", "lines", "files"]
SHAPES: tuple[Shape, ...] = ("single", "lines", "files")


@dataclass(slots=True, frozen=True)
class Bug:
    """Mutations that do not overlap, the first of which gives the bug its function."""

    mutations: tuple[Mutation, ...]

    @property
    def function(self) -> Function:
        return self.mutations[0].function

    @property
    def operator(self) -> str:
        return "+".join(mutation.operator for mutation in self.mutations)

    @property
    def key(self) -> str:
        """Tells it from every other bug of the package."""
        return "\0".join(
            f"{m.function.id}:{m.edit.start}:{m.edit.end}:{m.new}" for m in self.mutations
        )

    @property
    def functions(self) -> list[str]:
        """Ids of the functions that it is in."""
        return list(dict.fromkeys(mutation.function.id for mutation in self.mutations))

    def sources(self, tree: Mapping[str, bytes]) -> Tree:
        """The files that it changes, changed."""
        changed = {m.function.path: tree[m.function.path] for m in self.mutations}
        for mutation in sorted(self.mutations, key=lambda m: m.edit.start, reverse=True):
            path = mutation.function.path
            changed[path] = mutation.edit.apply(changed[path])
        return changed

    def gold_patch(self, tree: Mapping[str, bytes]) -> str:
        """What repairs it, as a diff."""
        changed = self.sources(tree)
        return diff_trees(changed, {path: tree[path] for path in changed})

    def parts(self) -> list[Bug]:
        """Each mutation by itself; nothing for a bug of one."""
        return [Bug((m,)) for m in self.mutations] if len(self.mutations) > 1 else []


def compounds(
    bugs: Sequence[Bug],
    shape: Shape,
    covering: Mapping[str, Sequence[str]],
    seed: int,
) -> list[Bug]:
    """Pairs of the single bugs: in one function on different lines, or in two files.

    Those of two files are in functions that some test enters both of: else they would be two bugs
    and not one. Each single bug is in one pair at most.
    """
    groups: dict[str, list[Bug]] = defaultdict(list)
    for bug in bugs:
        key = bug.function.id if shape == "lines" else ""
        groups[key].append(bug)
    found: list[Bug] = []
    for key in sorted(groups):
        left = sorted(groups[key], key=lambda b: derive_seed(seed, shape, b.key))
        while left:
            one = left.pop()
            fit = [other for other in left if _fits(one, other, shape, covering)]
            if fit:
                other = fit[0]
                left.remove(other)
                pair = (*one.mutations, *other.mutations)
                found.append(Bug(tuple(sorted(pair, key=lambda m: (m.function.id, m.edit.start)))))
    random.Random(derive_seed(seed, "compounds", shape)).shuffle(found)
    return found


def _fits(one: Bug, other: Bug, shape: Shape, covering: Mapping[str, Sequence[str]]) -> bool:
    first, second = one.mutations[0], other.mutations[0]
    if shape == "lines":
        apart = first.edit.end <= second.edit.start or second.edit.end <= first.edit.start
        return apart and first.line != second.line
    if first.function.path == second.function.path:
        return False
    shared = set(covering[first.function.id]) & set(covering[second.function.id])
    return bool(shared)
