"""A chat model that is a Python function: for rules that run without a model, and for checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from agentrl.core import ChatReply, Message

Answer = BaseModel | Mapping[str, object] | str
Function = Callable[[str, int], Answer | tuple[str, Mapping[str, float]]]


@dataclass(slots=True)
class ScriptedChat:
    """Answers what `answer(text, seed)` gives; `text` is the last message.

    A mapping or a pydantic object becomes the JSON of the schema that was asked for; a text is read
    as one; a pair is a text with the log-probabilities of its first token's alternatives. `asked`
    counts.
    """

    answer: Function
    name: str = "scripted"
    cost: float = 0.0
    asked: int = 0
    conversations: list[list[Message]] = field(default_factory=list, repr=False)

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: type[BaseModel] | None = None,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int = 0,
        first_token: int = 0,
    ) -> ChatReply:
        self.asked += 1
        self.conversations.append(list(messages))
        found = self.answer(messages[-1].content, seed)
        given: Mapping[str, float] = {}
        if isinstance(found, tuple):
            found, given = found
        if isinstance(found, BaseModel):
            found = found.model_dump()
        if schema is None:
            text = found if isinstance(found, str) else str(dict(found))
            return ChatReply(text, first_token=given if first_token else {}, cost=self.cost)
        try:
            if isinstance(found, str):
                parsed = schema.model_validate_json(found)
            else:
                parsed = schema.model_validate(found)
        except ValidationError as error:
            return ChatReply(str(found), problem=str(error.errors()[0]["msg"]), cost=self.cost)
        return ChatReply(parsed.model_dump_json(), parsed, cost=self.cost)
