"""An API model in the place of the policy: to measure it, or to have its episodes to imitate.

The runner speaks in token ids. A tokenizer of our own stands between: each message, and the tools,
stand behind a control token that text can never contain, so that the ids it is given read back as
the very messages. Tool calls are the API's own; in the record they stand as the hermes dialect
writes them. The ids are of this tokenizer and not the model's: limits on tokens hold roughly (its
tokens are 3 to 4 characters of English), log-probabilities are 0 and the weights version is -1, so
nothing may be learned from them by policy gradient.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from collections.abc import Sequence as SequenceOf
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import (
    ConfigError,
    Generation,
    Image,
    InfraError,
    PlacedImage,
    Sampling,
    TokenScores,
)
from agentrl.core.engine import FinishReason
from agentrl.engines.litellm.client import Client, Endpoint
from agentrl.engines.litellm.limits import Budget
from agentrl.engines.litellm.wire import content_parts

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer

_ROLES = ("system", "user", "assistant", "tool")
_IMAGE = "<|image|>"
_SPECIALS = ("<|tools|>", *(f"<|{role}|>" for role in _ROLES), _IMAGE, "<|end|>")
_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_VOCABULARY = 4096
# Modules of the standard library with much English and much code; what they are matters little.
_TEXTS = ("argparse", "textwrap", "typing", "json.decoder", "logging", "unittest.mock", "ast")


@lru_cache(maxsize=1)
def api_tokenizer() -> ChatTokenizer:
    """The tokenizer between the runner and an API model; trained in about a second."""
    import inspect
    from importlib import import_module

    from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer

    texts = [inspect.getsource(import_module(name)) for name in _TEXTS]
    hf = train_tokenizer(texts, _VOCABULARY, specials=_SPECIALS)
    return ChatTokenizer(hf, builtin_template("api"), vision=_OneToken(hf))


class _OneToken:
    """An image is one token here: the API is given the image itself."""

    placeholder = _IMAGE

    def __init__(self, hf: Any) -> None:
        self._id = int(hf.convert_tokens_to_ids(_IMAGE))

    def tokens_of(self, image: Image) -> list[int]:
        return [self._id]


class LiteLLMEngine:
    """An engine whose policy answers through an API. Give the runner `engine.tokenizer` and the
    hermes dialect.

    Args:
        budget: may be shared with judges; None: no limit.
    """

    def __init__(self, endpoint: Endpoint, *, budget: Budget | None = None) -> None:
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self.tokenizer = api_tokenizer()
        self._client = Client(endpoint, role="policy")
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._roles = {self.tokenizer.encode(f"<|{r}|>")[0]: r for r in (*_ROLES, "tools")}
        self._closed = False

    @property
    def version(self) -> int:
        return -1

    @property
    def sessions(self) -> Collection[str]:
        return frozenset(self._said)

    async def generate(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        sampling: Sampling,
        *,
        session: str = "",
        seed: int = 0,
        images: SequenceOf[PlacedImage] = (),
    ) -> Generation:
        """The model's next message; "length" when the provider cut it at `sampling.max_tokens`.

        Raises:
            InfraError: `policy_down`, `policy_refused`, `budget_spent`; `engine_lost` when closed.
        """
        if self._closed:
            raise InfraError("engine_lost", "the engine is closed", where="litellm engine")
        said = self._said.setdefault(session, []) if session else []
        messages, tools = self._read([int(t) for t in tokens], said, images)
        parameters: dict[str, Any] = {
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            # Providers take what fits into 31 bits.
            "seed": seed & 0x7FFFFFFF,
        }
        if tools:
            parameters["tools"] = tools
        response = await self._send(messages, parameters)
        choice = response.choices[0]
        message = choice.message.model_dump(exclude_none=True)
        said.append(message)
        return self._generation(message, choice.finish_reason == "length")

    async def score(
        self,
        tokens: SequenceOf[int] | np.ndarray,
        start: int = 1,
        *,
        entropy: bool = False,
        hidden: bool = False,
        images: SequenceOf[PlacedImage] = (),
    ) -> TokenScores:
        raise ConfigError("an API model gives no probabilities of given tokens")

    async def load_weights(
        self, version: int, weights: Mapping[str, Any] | Path | None = None
    ) -> None:
        raise ConfigError(
            "an API model cannot be trained",
            where=self.endpoint.model,
            fix="evaluate it with `agentrl eval`; train with engine.kind transformers or vllm",
        )

    async def end_session(self, session: str) -> None:
        self._said.pop(session, None)

    async def close(self) -> None:
        self._closed = True
        self._said.clear()

    async def _send(self, messages: list[dict[str, Any]], parameters: dict[str, Any]) -> Any:
        await self._client.supports("")
        prices = self.endpoint.prices or (0.0, 0.0)
        size = len(json.dumps([messages, parameters], default=str))
        most = size * prices[0] + parameters["max_tokens"] * prices[1]
        async with self.budget.reserve(most) as bill:
            response = await self._client.send(messages, **parameters)
            usage = response.usage
            bill.cost = usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]
        return response

    def _read(
        self,
        tokens: list[int],
        said: list[dict[str, Any]],
        images: SequenceOf[PlacedImage] = (),
    ) -> tuple[list[dict[str, Any]], list[Any]]:
        """The messages and tools that the ids stand for.

        What this engine said itself goes back as the provider gave it (`said`, in order): its own
        ids of calls, signatures of its thoughts. A record that was begun elsewhere is read from
        the text.
        """
        parts: list[tuple[str, list[int], list[Image]]] = []
        shown = {placed.start: placed.image for placed in images}
        for at, token in enumerate(tokens):
            if token in self._roles:
                parts.append((self._roles[token], [], []))
            elif parts and at in shown:
                parts[-1][2].append(shown[at])
            elif parts and token != self.tokenizer.end_of_turn:
                parts[-1][1].append(token)
        messages: list[dict[str, Any]] = []
        tools: list[Any] = []
        turn, open_calls = 0, iter(())
        of_tools: list[Image] = []
        # The last one is the generation prompt, behind which the answer goes.
        for role, ids, seen in parts[:-1]:
            text = self.tokenizer.decode(ids)
            if role != "tool":
                messages += _shown_by_tools(of_tools)
                of_tools = []
            if role == "tools":
                tools = json.loads(text)
            elif role == "assistant":
                known = turn < len(said) and _text_of(said[turn]) == text
                message = said[turn] if known else _read_assistant(text, turn)
                messages.append(message)
                open_calls = iter([call["id"] for call in message.get("tool_calls") or ()])
                turn += 1
            elif role == "tool":
                messages.append(_read_result(text, next(open_calls, None)))
                of_tools += seen
            else:
                messages.append({"role": role, "content": content_parts(text, seen)})
        return messages + _shown_by_tools(of_tools), tools

    def _generation(self, message: dict[str, Any], cut: bool) -> Generation:
        ids = self.tokenizer.encode_plain(_text_of(message))
        if not cut:
            ids.append(self.tokenizer.end_of_turn)
        reason: FinishReason = "length" if cut else "stop"
        return Generation(
            np.asarray(ids, np.int32),
            np.zeros(len(ids), np.float32),
            np.full(len(ids), -1, np.int32),
            reason,
        )


def _shown_by_tools(images: list[Image]) -> list[dict[str, Any]]:
    """Most APIs take text only from a tool: the user shows its images, behind all results."""
    text = "What the tools above have shown:"
    return [{"role": "user", "content": content_parts(text, images)}] if images else []


def _text_of(message: dict[str, Any]) -> str:
    """A message of the API as the hermes dialect writes it."""
    pieces = [message.get("content") or ""]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        try:
            arguments = json.dumps(
                json.loads(function.get("arguments") or "{}"), ensure_ascii=False
            )
        except ValueError:
            arguments = function["arguments"]  # not JSON: the dialect will say so to the policy
        name = json.dumps(function.get("name") or "", ensure_ascii=False)
        pieces.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join(piece for piece in pieces if piece)


def _read_assistant(text: str, turn: int) -> dict[str, Any]:
    """A message that another run recorded, with the ids that the runner gives to calls."""
    calls: list[dict[str, Any]] = []
    for raw in _CALL.findall(text):
        try:
            call = json.loads(raw)
            function = {"name": str(call["name"]), "arguments": json.dumps(call["arguments"])}
        except (ValueError, KeyError, TypeError):
            continue
        calls.append({"id": f"call_{turn}_{len(calls)}", "type": "function", "function": function})
    message: dict[str, Any] = {"role": "assistant", "content": _CALL.sub("", text).strip()}
    return message | ({"tool_calls": calls} if calls else {})


def _read_result(text: str, call_id: str | None) -> dict[str, Any]:
    """What a tool answered; a user's message when it answers no call that the API knows of."""
    if call_id is None:
        return {"role": "user", "content": text}
    return {"role": "tool", "tool_call_id": call_id, "content": text}
