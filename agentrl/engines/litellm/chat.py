"""A `ChatModel` behind an API: cached, limited in rate and spending, answers checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from agentrl.core import ChatReply, ConfigError, Message
from agentrl.engines.litellm.cache import AnswerCache
from agentrl.engines.litellm.client import Client, Endpoint
from agentrl.engines.litellm.limits import Budget
from agentrl.engines.litellm.structured import parse_answer, schema_instruction
from agentrl.engines.litellm.wire import wire_messages

# Tokens that a provider's chat format may add to each message beside its text.
_MESSAGE_TOKENS = 16


class LiteLLMChat:
    """Asks an API model; implements `agentrl.core.ChatModel`.

    The same question (model, messages, schema, settings and seed) is asked once: later from the
    cache, and at the same time by waiting for the one that is on its way. A vote is a question with
    another seed.

    Args:
        cache: None: every question is sent.
        budget: may be shared between models; None: no limit.

    Raises:
        ConfigError: a budget with a limit for a model whose price nobody knows (at the first call).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str = "",
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.name = name or endpoint.model
        self.budget = budget or Budget()
        self.sent = 0
        self._cache = cache
        self._client = Client(endpoint)
        self._on_their_way: dict[str, asyncio.Task[dict[str, Any]]] = {}

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
        """One answer; see `agentrl.core.ChatModel.chat`.

        Raises:
            InfraError: `judge_down`, `judge_refused`, `budget_spent`.
        """
        started = time.perf_counter()
        wire = wire_messages(messages)
        settings = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        key = AnswerCache.key(
            {
                "model": self.endpoint.model,
                "base": self.endpoint.api_base,
                "messages": wire,
                "schema": schema.model_json_schema() if schema else None,
                "settings": settings,
                "first_token": first_token,
                "extra": dict(self.endpoint.extra),
            }
        )
        answer = self._cache.get(key) if self._cache else None
        cached = answer is not None
        if answer is None:
            alone = key not in self._on_their_way
            if alone:
                self._begin(key, wire, schema, settings, first_token)
            cached = not alone
            # Shielded: whoever asked first may be cancelled, the others still want the answer.
            answer = await asyncio.shield(self._on_their_way[key])
        parsed, problem = parse_answer(answer["text"], schema) if schema else (None, "")
        return ChatReply(
            text=answer["text"],
            parsed=parsed,
            problem=problem,
            first_token=answer["first_token"],
            tokens_in=answer["tokens_in"],
            tokens_out=answer["tokens_out"],
            cost=0.0 if cached else answer["cost"],
            cached=cached,
            seconds=time.perf_counter() - started,
        )

    async def close(self) -> None:
        """Stop what is on its way."""
        tasks = list(self._on_their_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._cache:
            self._cache.close()

    def _begin(
        self,
        key: str,
        wire: list[dict[str, Any]],
        schema: type[BaseModel] | None,
        settings: dict[str, Any],
        first_token: int,
    ) -> None:
        task = asyncio.create_task(self._ask(key, wire, schema, settings, first_token))
        self._on_their_way[key] = task
        task.add_done_callback(lambda done: self._arrived(key, done))

    def _arrived(self, key: str, task: asyncio.Task[dict[str, Any]]) -> None:
        self._on_their_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also when everyone who asked was cancelled

    async def _ask(
        self,
        key: str,
        wire: list[dict[str, Any]],
        schema: type[BaseModel] | None,
        settings: dict[str, Any],
        first_token: int,
    ) -> dict[str, Any]:
        parameters: dict[str, Any] = dict(settings)
        if schema is not None:
            if await self._client.supports("response_format"):
                parameters["response_format"] = schema
            else:
                wire = [*wire, {"role": "system", "content": schema_instruction(schema)}]
        if first_token:
            parameters |= {"logprobs": True, "top_logprobs": min(first_token, 20)}
        prices = await self._prices()
        async with self.budget.reserve(_most(wire, settings["max_tokens"], prices)) as bill:
            self.sent += 1
            response = await self._client.send(wire, **parameters)
            answer = _answer(response, prices)
            bill.cost = answer["cost"]
        if self._cache:
            self._cache.put(key, answer)
        return answer

    async def _prices(self) -> tuple[float, float]:
        """US dollars per token in and out; (0, 0) where nobody knows and no limit needs it."""
        await self._client.supports("")
        prices = self.endpoint.prices
        if prices is None and self.budget.limit is not None:
            raise ConfigError(
                "a budget is set, but the price of the model is not known",
                where=self.endpoint.model,
                fix="give price_in and price_out, US dollars per million tokens",
            )
        return prices or (0.0, 0.0)


def _most(wire: list[dict[str, Any]], max_tokens: int, prices: tuple[float, float]) -> float:
    """US dollars that a call costs at most: a token is one byte of text or more."""
    size = len(repr(wire).encode("utf-8", "replace")) + _MESSAGE_TOKENS * len(wire)
    return size * prices[0] + max_tokens * prices[1]


def _answer(response: Any, prices: tuple[float, float]) -> dict[str, Any]:
    """What is kept of a response."""
    choice = response.choices[0]
    usage = getattr(response, "usage", None)
    tokens_in = int(getattr(usage, "prompt_tokens", 0) or 0)
    tokens_out = int(getattr(usage, "completion_tokens", 0) or 0)
    return {
        "text": choice.message.content or "",
        "first_token": _first_token(choice),
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": tokens_in * prices[0] + tokens_out * prices[1],
    }


def _first_token(choice: Any) -> dict[str, float]:
    """Log-probabilities of what the answer could have begun with."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return {}
    return {t.token: float(t.logprob) for t in content[0].top_logprobs or ()}
