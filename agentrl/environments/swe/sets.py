"""Sets of tasks: without near copies, divided by repository, and clean of evaluation sets."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from agentrl.core import Task, derive_seed

_WORDS = 5
_OVERLAP = 13


def repository(task: Task) -> str:
    """Where a task's code comes from: its repository, else its package, else its own id."""
    named = task.metadata.get("repository") or task.metadata.get("repo")
    return str(named or task.metadata.get("package") or task.id).lower()


def deduplicate(
    tasks: Sequence[Task], similarity: float = 0.9
) -> tuple[list[Task], dict[str, str]]:
    """The tasks without those that are nearly an earlier one, and the reason for each of these.

    Two tasks are the same when their gold patches make the same changes; or, of one repository,
    when the sequences of five words of issue and patch have a Jaccard index of at least
    `similarity`.
    """
    kept: list[Task] = []
    dropped: dict[str, str] = {}
    by_patch: dict[tuple[str, ...], str] = {}
    beside: dict[str, list[tuple[str, frozenset[tuple[str, ...]]]]] = defaultdict(list)
    for task in tasks:
        patch = changed_lines(task)
        shingles = _shingles(f"{task.prompt}\n{' '.join(patch)}", _WORDS)
        same = by_patch.get((repository(task), *patch)) if patch else None
        near = next(
            (o for o, other in beside[repository(task)] if _jaccard(shingles, other) >= similarity),
            None,
        )
        if same or near:
            dropped[task.id] = f"the patch of {same}" if same else f"nearly {near}"
            continue
        by_patch[(repository(task), *patch)] = task.id
        beside[repository(task)].append((task.id, shingles))
        kept.append(task)
    return kept, dropped


def split_by_repository(
    tasks: Sequence[Task], share: float, *, seed: int = 0
) -> tuple[list[Task], list[Task]]:
    """(train, held out), no repository in both; about `share` of the tasks are held out.

    Repositories are drawn in an order that depends on the seed; one that would overshoot more than
    leaving it out undershoots stays in training.
    """
    groups: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        groups[repository(task)].append(task)
    names = sorted(groups)
    random.Random(derive_seed(seed, "split")).shuffle(names)
    chosen: set[str] = set()
    wanted, count = share * len(tasks), 0
    for name in names:
        size = len(groups[name])
        if abs(count + size - wanted) <= abs(count - wanted) and len(chosen) < len(names) - 1:
            chosen.add(name)
            count += size
    train = [task for task in tasks if repository(task) not in chosen]
    return train, [task for task in tasks if repository(task) in chosen]


def decontaminate(
    tasks: Iterable[Task], against: Iterable[Task], *, repositories: bool = False
) -> tuple[list[Task], dict[str, str]]:
    """The tasks that an evaluation set does not contain, and the reason for each of the others.

    A task is contaminated when it has the id, the base commit or the changed lines of one there,
    or when any thirteen words in a row of its issue stand in an issue there.

    Args:
        repositories: also leave out whatever comes from a repository of the set.
    """
    ids, commits, patches, words, repos = set(), {}, {}, {}, set()
    for other in against:
        ids.add(other.id)
        repos.add(repository(other))
        if commit := other.metadata.get("base_commit"):
            commits[commit] = other.id
        if lines := changed_lines(other):
            patches[lines] = other.id
        for run in _shingles(other.prompt, _OVERLAP):
            words[run] = other.id
    kept, dropped = [], {}
    for task in tasks:
        shared = next((words[r] for r in _shingles(task.prompt, _OVERLAP) if r in words), None)
        if task.id in ids:
            why = f"it is {task.id} of the set"
        elif task.metadata.get("base_commit") in commits:
            why = f"the base commit of {commits[task.metadata['base_commit']]}"
        elif (lines := changed_lines(task)) and lines in patches:
            why = f"the patch of {patches[lines]}"
        elif shared:
            why = f"{_OVERLAP} words in a row of the issue of {shared}"
        elif repositories and repository(task) in repos:
            why = f"from {repository(task)}, a repository of the set"
        else:
            kept.append(task)
            continue
        dropped[task.id] = why
    return kept, dropped


def changed_lines(task: Task) -> tuple[str, ...]:
    """What a gold patch takes and gives, white space folded; its line numbers have no say."""
    patch = str(task.reference.get("gold_patch") or "")
    lines = [
        line[0] + " ".join(line[1:].split())
        for line in patch.splitlines()
        if line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- "))
    ]
    return tuple(line for line in lines if len(line) > 1)


def _shingles(text: str, length: int) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[n : n + length]) for n in range(len(words) - length + 1))


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 0.0
