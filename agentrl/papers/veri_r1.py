"""Paper 71, Veri-R1: a reward for labels alone leaves the evidence to chance.

Claims about a corpus that is indexed for real: the policy searches with `SearchEnvironment`, and
decides on a label and on which of the three passages found to cite: one softmax over the 2 x 8
answers, fed by what the passages say (whether each is about the claim's subject). It is trained by
GRPO on episodes judged by `ClaimReward`, full and label-only, from the same start.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agentrl.core import Episode, Task, ToolCall, derive_seed
from agentrl.environments.search import Index, SearchEnvironment, build_index, open_index
from agentrl.papers.kit.rollouts import converse, normalised, softmax, values
from agentrl.papers.registry import Measured
from agentrl.rewards import ClaimReward, claim_metrics

CLAIM = (
    "At about equal label accuracy, the full reward leads to far higher joint accuracy (label and "
    "exact evidence) than the label-only reward."
)
SUBJECTS, COLOURS = 40, ("red", "blue", "green", "grey")
GROUP, UPDATES, BATCH, RATE, TEST = 12, 25, 4, 1.5, 60
LABELS = ("SUPPORT", "REFUTE")


def run(seeds: Sequence[int]) -> Measured:
    return asyncio.run(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            index = corpus(Path(folder), seed)
            found = {}
            for name, reward in (
                ("label only", ClaimReward(label_only=True)),
                ("full", ClaimReward()),
            ):
                found[name] = claim_metrics(await train(index, reward, seed))
                label, joint = found[name]["label_accuracy"], found[name]["joint_accuracy"]
                rows.append([seed, name, label, joint, found[name]["evidence"]])
            full, bare = found["full"], found["label only"]
            passed &= full["joint_accuracy"] > bare["joint_accuracy"] + 0.3
            passed &= abs(full["label_accuracy"] - bare["label_accuracy"]) < 0.15
    columns = ["seed", "reward", "label accuracy", "joint accuracy", "evidence overlap"]
    return Measured(passed, columns, rows)


def corpus(folder: Path, seed: int) -> Index:
    """One sentence on the colour of each subject, one on its size, and an index of them."""
    rng = random.Random(derive_seed(seed, "corpus"))
    with (folder / "docs.jsonl").open("w") as file:
        for i in range(SUBJECTS):
            colour = rng.choice(COLOURS)
            lines = {
                "colour": f"The house n{i} is painted {colour}.",
                "size": f"House n{i} is large.",
            }
            for key, text in lines.items():
                file.write(json.dumps({"id": f"n{i}-{key}", "text": text}) + "\n")
    build_index(folder / "index", [folder / "docs.jsonl"])
    return open_index(folder / "index")


def claim(index: Index, seed: int, number: int) -> Task:
    """A claim on a colour; true for every second one."""
    rng = random.Random(derive_seed(seed, "claim", number))
    i = rng.randrange(SUBJECTS)
    row = index.passages.row(f"n{i}-colour")
    assert row is not None
    colour = index.passages[row].text.rstrip(".").split()[-1]
    other = rng.choice([c for c in COLOURS if c != colour])
    true = number % 2 == 0
    return Task(
        f"claim-{number}",
        f"The house n{i} is painted {colour if true else other}.",
        payload={"kind": "claim"},
        reference={"label": LABELS[not true], "evidence": [f"n{i}-colour"]},
    )


async def train(index: Index, reward: ClaimReward, seed: int) -> list[Episode]:
    """GRPO on the softmax; the episodes of its test at the end."""
    rng = np.random.default_rng(derive_seed(seed, "veri_r1"))
    label_weights, cite_weights = np.zeros((2, 2)), np.zeros((2, 2))
    for update in range(UPDATES):
        for b in range(BATCH):
            task = claim(index, seed, BATCH * update + b)
            seen = await _look(index, task)
            labels, cites = _policy(seen, label_weights, cite_weights)
            drawn = [_draw(rng, labels, cites) for _ in range(GROUP)]
            episodes = [await _answer(index, task, seen, *choice) for choice in drawn]
            advantages = normalised(np.asarray(await values(reward, episodes)))
            for (label, cited), advantage in zip(drawn, advantages, strict=True):
                step = RATE * advantage / GROUP
                label_weights[int(seen.matches)] += step * (np.eye(2)[label] - labels)
                for about, c, p in zip(seen.about, cited, cites, strict=True):
                    cite_weights[int(about)] += step * (np.eye(2)[c] - p)
    episodes = []
    for number in range(TEST):
        task = claim(index, seed, 100_000 + number)
        seen = await _look(index, task)
        choice = _draw(rng, *_policy(seen, label_weights, cite_weights))
        episodes.append(await _answer(index, task, seen, *choice))
    return episodes


class _Seen:
    """What a search showed: ids, whether each passage states the subject's colour, whether it is
    the claimed one."""

    def __init__(self, task: Task, shown: str) -> None:
        lines = [line for line in shown.splitlines() if line.startswith("[[")]
        subject, colour = task.prompt.split()[2], task.prompt.rstrip(".").split()[-1]
        self.ids = [line[2 : line.index("]]")] for line in lines]
        self.about = [f" {subject} is painted" in line for line in lines]
        self.matches = any(a and colour in x for a, x in zip(self.about, lines, strict=True))


async def _look(index: Index, task: Task) -> _Seen:
    episode = await converse(SearchEnvironment(index), task, [_search(task)])
    return _Seen(task, episode.turns[0].results[0].text)


def _search(task: Task) -> ToolCall:
    return ToolCall("search", {"query": task.prompt})


def _policy(seen: _Seen, label: np.ndarray, cite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p(label)[2] and p(not cited, cited)[passages, 2]."""
    return softmax(label[int(seen.matches)]), softmax(cite[[int(a) for a in seen.about]])


def _draw(
    rng: np.random.Generator, labels: np.ndarray, cites: np.ndarray
) -> tuple[int, tuple[int, ...]]:
    return int(rng.random() < labels[1]), tuple(int(rng.random() < p[1]) for p in cites)


async def _answer(
    index: Index, task: Task, seen: _Seen, label: int, cited: tuple[int, ...]
) -> Episode:
    names = [f"[[{name}]]" for name, c in zip(seen.ids, cited, strict=True) if c]
    text = f"Label: {LABELS[label]}\nEvidence: {', '.join(names) or 'none'}"
    return await converse(SearchEnvironment(index), task, [_search(task), text])
