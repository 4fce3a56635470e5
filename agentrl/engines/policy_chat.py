"""The policy itself as a chat model: it hints, judges or plans under the weights it has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from agentrl.core import ChatReply, Engine, Message, Sampling
from agentrl.engines.litellm.structured import parse_answer, schema_instruction

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer


@dataclass(slots=True)
class PolicyChat:
    """Answers with what an engine draws; `tokens` counts what was drawn."""

    engine: Engine
    tokenizer: ChatTokenizer
    name: str = "policy"
    tokens: int = 0

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
        """One answer; see `ChatModel`. Alternatives of the first token are not given."""
        asked = list(messages)
        if schema is not None:
            asked.append(Message("user", schema_instruction(schema)))
        ids = self.tokenizer.encode(self.tokenizer.render(asked, generation_prompt=True))
        sampling = Sampling(temperature, max_tokens, self.tokenizer.stop_ids)
        said = await self.engine.generate(ids, sampling, seed=seed)
        drawn = said.tokens.tolist()
        self.tokens += len(drawn)
        text = self.tokenizer.decode(drawn[:-1] if said.finish_reason == "stop" else drawn)
        parsed, problem = parse_answer(text, schema) if schema is not None else (None, "")
        return ChatReply(text, parsed, problem, tokens_in=len(ids), tokens_out=len(drawn))
