"""SPELL (paper 17): of asked questions tasks to answer, of answers tasks to verify."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import Episode, Task

ANSWER = "{documents}\n\nAnswer the question from the documents.\nQuestion: {question}\n{how}"
BLIND = "Answer the question.\nQuestion: {question}\n{how}"
HOW = "End with the answer in \\boxed{}."
VERIFY = (
    "Question: {question}\nReference answer: {answer}\nGiven answer: {given}\n"
    "Do they say the same? A number may be 0.15% off. End with YES or NO."
)


@dataclass(slots=True)
class Spell:
    """Of each well-formed question a task to answer it with all documents, and one without any;
    of each different answer a task to verify it. `spell_roles` then says what all were worth.

    `count` questions a step at most. Roles are in `Task.metadata["role"]`.
    """

    count: int = 128
    grounding: bool = True
    name: str = "spell"

    def derive(self, episodes: Sequence[Episode], rng: random.Random) -> list[Task]:
        """Raises nothing: what is not well-formed makes no task."""
        asked = [e for e in episodes if _role(e) == "asker" and e.outcome.get("formed")]
        rng.shuffle(asked)
        tasks = [task for e in asked[: self.count] for task in self._to_answer(e)]
        return [*tasks, *self._to_verify([e for e in episodes if _role(e) == "answerer"])]

    def _to_answer(self, asked: Episode) -> list[Task]:
        question, answer = asked.outcome["question"], asked.outcome["answer"]
        documents = "\n\n".join(asked.task.payload["documents"])
        tasks = []
        for role, text in (("answerer", ANSWER), ("blind", BLIND))[: 1 + self.grounding]:
            tasks.append(
                Task(
                    f"{asked.id}/{role}",
                    text.format(documents=documents, question=question, how=HOW),
                    asked.task.environment,
                    {"role": "answerer", "question": question},
                    {"answer": answer},
                    {
                        "derived": self.name,
                        "role": role,
                        "asked_by": asked.id,
                        "set": asked.task.metadata.get("set", asked.task.id),
                        "shown": asked.task.metadata.get("shown", []),
                    },
                )
            )
        return tasks

    def _to_verify(self, answered: Sequence[Episode]) -> list[Task]:
        found: dict[tuple[str, str], Task] = {}
        for episode in answered:
            task, given = episode.task, str(episode.outcome["answer"])
            key = (task.id, given)
            if key in found:
                continue
            question, answer = task.payload["question"], task.reference["answer"]
            found[key] = Task(
                f"{task.id}/verify/{len(found)}",
                VERIFY.format(question=question, answer=answer, given=given),
                task.environment,
                {"role": "verifier"},
                {"right": bool(episode.outcome["right"])},
                {"derived": self.name, "role": "verifier", "answered": task.id, "given": given},
            )
        return list(found.values())


def _role(episode: Episode) -> str:
    return str(episode.task.metadata.get("role", ""))
