"""Programming tasks in any language: one answer, judged by what the program prints."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core import Episode, Message, Task, TaskFileError, Turn
from agentrl.environments.base import Environment, Observation
from agentrl.environments.images import ImageProvider
from agentrl.environments.languages.images import image_of
from agentrl.environments.languages.judge import Case, judge
from agentrl.environments.languages.language import Language, load_language
from agentrl.tools import Tool

_FENCE = re.compile(r"^```[ \t]*([\w+#-]*)[^\n]*\n(.*?)^```[ \t]*$", re.M | re.S)
_ASK = (
    "Write a program in {says} that reads standard input and writes standard output. "
    "Put it into one fenced block at the end of your answer."
)


class CodePayload(BaseModel):
    """Attributes: language: a shipped name or the path of a YAML file; samples: shown cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str
    samples: list[dict[str, str]] = []


class CodeReference(BaseModel):
    """Attributes: tests: {"input", "output"} of the hidden cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tests: list[dict[str, str]] = Field(min_length=1)


class CodeEnvironment(Environment):
    """One message of the policy, one program, one verdict (paper 10, Agnostics).

    The outcome: {"status" (an `IoStatus`), "passed", "total", "resolved", "code", "message"}.
    """

    def __init__(self, sandboxes: ImageProvider, *, ask: str = _ASK) -> None:
        """
        Args:
            ask: appended to the task's prompt; `{says}` becomes the language's name.
        """
        self._sandboxes = sandboxes
        self._ask = ask
        self._language: Language | None = None
        self._cases: list[Case] = []
        self._answer = ""

    @property
    def tools(self) -> dict[str, Tool]:
        return {}

    def reset(self, task: Task) -> list[Message]:
        """The problem, its samples, and the language. Raises TaskFileError, ConfigError."""
        try:
            payload = CodePayload.model_validate(task.payload)
            reference = CodeReference.model_validate(task.reference)
            samples = [Case(**sample) for sample in payload.samples]
            self._cases = [Case(**test) for test in reference.tests]
        except (ValidationError, TypeError) as error:
            raise TaskFileError(
                f"not a programming task: {error}",
                where=f"{task.metadata.get('line', 'task')} ({task.id})",
                fix='payload {"language", "samples"}, reference {"tests": [{"input", "output"}]}',
            ) from error
        self._language = load_language(payload.language)
        shown = [f"Input:\n{s.input.rstrip()}\nOutput:\n{s.output.rstrip()}" for s in samples]
        parts = [task.prompt, *shown, self._ask.format(says=self._language.says)]
        return [Message("user", "\n\n".join(parts))]

    def step(self, turn: Turn) -> Observation:  # type: ignore[override]
        """Every turn is the answer."""
        self._answer = turn.text
        self.done = True
        return Observation([], done=True)

    async def finish(self, episode: Episode) -> dict[str, Any]:
        """Judge the program. Raises SandboxError when there is no verdict."""
        assert self._language is not None
        code = program_of(self._answer, self._language)
        tag = await image_of(self._language)
        provider = await self._sandboxes.of_image(tag)
        result = await judge(provider, self._language, code, self._cases)
        return {
            "status": str(result.status),
            "passed": result.passed,
            "total": result.total,
            "resolved": result.status == "success",
            "code": code,
            "message": result.message,
        }


def program_of(text: str, language: Language) -> str:
    """The last fenced block of the language, or the last that names none; "" when there is none."""
    blocks = _FENCE.findall(text if text.endswith("\n") else text + "\n")
    named = [code for mark, code in blocks if mark.lower() in language.fences]
    bare = [code for mark, code in blocks if not mark]
    return (named or bare or [""])[-1]
