"""Which bugs are tried, and in which order: the same whatever the timing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from agentrl.core import derive_seed
from agentrl.environments.swe.functions import Function, functions_of
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.bugs import Bug, compounds
from agentrl.environments.swe.synth.mutations import mutations_of
from agentrl.environments.swe.synth.settings import HELD_OUT, TRAIN, SynthSettings
from agentrl.environments.swe.synth.verify import Baseline


@dataclass(slots=True)
class Candidate:
    package: Package
    bug: Bug
    split: str


def mutable_functions(
    package: Package, baseline: Baseline, settings: SynthSettings
) -> list[Function]:
    """Functions short enough, entered by a test, and not run at import."""
    return [
        function
        for path in package.sources
        if package.tree[path].count(b"\n") <= settings.max_file_lines
        for function in functions_of(path, package.tree[path])
        if 0 < function.code_lines <= settings.max_function_lines
        and function.id in baseline.covering
        and function.id not in baseline.at_import
    ]


def candidates_of(
    packages: Sequence[Package], baselines: Mapping[str, Baseline], settings: SynthSettings
) -> list[Candidate]:
    """All bugs in the order they are tried: one of each function, then a second, ...; where
    several shapes are asked for, these take turns.

    Functions are divided between the splits by their share of the tasks before any is tried, and
    a bug in two functions is in two of one split.
    """
    singles = _singles(packages, baselines, settings)
    by_shape: list[list[Candidate]] = []
    for shape in settings.shapes:
        if shape == "single":
            by_shape.append(singles)
            continue
        found: list[Candidate] = []
        for package in packages:
            covering = baselines[package.name].covering
            for split in (TRAIN, HELD_OUT):
                own = [c.bug for c in singles if c.package is package and c.split == split]
                pairs = compounds(own, shape, covering, settings.seed)
                found += [Candidate(package, bug, split) for bug in pairs]
        random.Random(derive_seed(settings.seed, "candidates", shape)).shuffle(found)
        by_shape.append(found)
    turns = zip_longest(*by_shape)
    return [candidate for turn in turns for candidate in turn if candidate is not None]


def _singles(
    packages: Sequence[Package], baselines: Mapping[str, Baseline], settings: SynthSettings
) -> list[Candidate]:
    pool: list[tuple[Package, list[Bug]]] = []
    for package in packages:
        for function in mutable_functions(package, baselines[package.name], settings):
            source = package.tree[function.path]
            mutations = mutations_of(function, source, list(settings.operators))
            random.Random(derive_seed(settings.seed, "order", function.id)).shuffle(mutations)
            bugs = [Bug((mutation,)) for mutation in mutations]
            if settings.keep is not None:
                bugs = [bug for bug in bugs if settings.keep(bug.gold_patch(package.tree))]
            if bugs:
                pool.append((package, bugs))
    random.Random(derive_seed(settings.seed, "functions")).shuffle(pool)
    share = settings.held_out / (settings.count + settings.held_out)
    rounds: list[list[Candidate]] = []
    for number, (package, bugs) in enumerate(pool):
        held_out = int((number + 1) * share) > int(number * share)
        for at, bug in enumerate(bugs):
            if at == len(rounds):
                rounds.append([])
            rounds[at].append(Candidate(package, bug, HELD_OUT if held_out else TRAIN))
    return [candidate for one in rounds for candidate in one]
