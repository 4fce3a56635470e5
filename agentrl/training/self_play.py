"""SPELL (paper 17): askers see what was solved, are to exceed it, and get new documents."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agentrl.core import ConfigError, Group, Task, derive_seed
from agentrl.training.config.curriculum import SelfPlayConfig
from agentrl.training.sampler import TaskSampler

ASK = (
    "{documents}\n\n{before}Ask a question that these documents answer, and that cannot be "
    'answered without them. End with JSON: {{"question": "..", "answer": ".."}}'
)
BEFORE = "These were solved. Ask something harder:\n{lines}\n\n"
SOLVED = 0.01


class SelfPlaySampler:
    """A task of the file is a set of documents (`payload.documents`); a step asks about some sets.

    Of each set the last `history` solved questions are kept with the documents that were shown for
    them; the next asker sees those and `fresh` others. Answering and verifying tasks are derived
    (`spell`), so they are not drawn here.
    """

    def __init__(self, shuffled: TaskSampler, seed: int, config: SelfPlayConfig) -> None:
        self._shuffled, self._seed, self._config = shuffled, seed, config
        self.history: dict[str, list[dict[str, Any]]] = {}

    @property
    def per_step(self) -> int:
        return self._shuffled.per_step

    def batch(
        self, step: int, count: int | None = None, without: Collection[str] = ()
    ) -> list[Task]:
        return [self._ask(task, step) for task in self._shuffled.batch(step, count, without)]

    def others(self, step: int, turn: int, taken: set[str], count: int) -> list[Task]:
        sets = {name.partition("/ask/")[0] for name in taken}
        return [self._ask(t, step) for t in self._shuffled.others(step, turn, sets, count)]

    def observe(self, step: int, groups: Sequence[Group]) -> None:
        self._shuffled.observe(step, groups)
        for group in groups:
            task = group.episodes[0].task
            rewards = [e.reward for e in group.judged]
            if task.metadata.get("role") != "answerer" or not rewards:
                continue
            if sum(rewards) / len(rewards) < SOLVED:
                continue
            solved = self.history.setdefault(task.metadata["set"], [])
            solved.append(
                {
                    "question": task.payload["question"],
                    "answer": task.reference["answer"],
                    "shown": list(task.metadata["shown"]),
                }
            )
            del solved[: -self._config.history or len(solved)]

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "shuffled": self._shuffled.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history = {name: list(items) for name, items in state["history"].items()}
        self._shuffled.load_state_dict(state["shuffled"])

    def _ask(self, task: Task, step: int) -> Task:
        documents = task.payload.get("documents")
        if not documents:
            raise ConfigError(
                "there are no documents to ask about",
                where=f"task {task.id}: payload.documents",
                fix="give a list of texts",
            )
        solved = self.history.get(task.id, [])
        known = list(dict.fromkeys(n for item in solved for n in item["shown"]))
        new = [n for n in range(len(documents)) if n not in known]
        rng = random.Random(derive_seed(self._seed, "ask", task.id, step))
        shown = [*known, *sorted(rng.sample(new, min(self._config.fresh, len(new))))]
        lines = "\n".join(f"Q: {i['question']} A: {i['answer']}" for i in solved)
        prompt = ASK.format(
            documents="\n\n".join(documents[n] for n in shown),
            before=BEFORE.format(lines=lines) if solved else "",
        )
        return Task(
            f"{task.id}/ask/{step}",
            prompt,
            task.environment,
            {"role": "asker", "documents": documents},
            {},
            {**task.metadata, "role": "asker", "set": task.id, "shown": shown},
        )
