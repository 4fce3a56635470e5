"""One message in a role: asking, answering, verifying (SPELL, paper 17)."""

from __future__ import annotations

import json
import re
from typing import Any

from agentrl.environments.answers import AnswerEnvironment, after_thinking, boxed

_VOTE = re.compile(r"\b(YES|NO)\b\W*\Z")


class RolesEnvironment(AnswerEnvironment):
    """`payload["role"]` says what the message is: of an `asker`, an `answerer` or a `verifier`."""

    def grade(self, answer: str) -> dict[str, Any]:
        """Of an asker {"formed", "question", "answer"}, of an answerer {"answer", "right",
        "resolved"}, of a verifier {"vote"}: 1, 0, or -1 when it is neither yes nor no."""
        final = after_thinking(answer).strip()
        role = self.task.payload["role"]
        if role == "asker":
            return question_of(final)
        if role == "verifier":
            said = _VOTE.search(final)
            return {"vote": -1 if said is None else int(said[1] == "YES")}
        given = (boxed(final) or final.splitlines()[-1:] or [""])[-1]
        right = same_answer(given, str(self.task.reference["answer"]))
        return {"answer": given.strip(), "right": right, "resolved": right}


def question_of(text: str) -> dict[str, Any]:
    """The last JSON object of a text, {"question", "answer"} with something in both."""
    start = text.rfind("{")
    try:
        found = json.loads(text[start : text.rfind("}") + 1]) if start >= 0 else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        question, answer = (str(found.get(key, "")).strip() for key in ("question", "answer"))
        if question and answer:
            return {"formed": True, "question": question, "answer": answer}
    return {"formed": False, "question": "", "answer": ""}


def same_answer(given: str, wanted: str) -> bool:
    """Equal but for case, space and a closing full stop; numbers by value."""
    plain = [re.sub(r"\s+", " ", text).strip().rstrip(".").casefold() for text in (given, wanted)]
    try:
        return abs(float(plain[0]) - float(plain[1])) <= 0.0015 * abs(float(plain[1]))
    except ValueError:
        return plain[0] == plain[1]
