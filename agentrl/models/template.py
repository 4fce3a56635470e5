"""Chat templates: Jinja files, rendered in a sandbox the way transformers renders them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agentrl.core import AgentRLError, Message, ModelError


class _Generation(Extension):
    """`{% generation %}`: marks assistant text in some templates; rendering ignores the mark."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own declaration)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes HTML characters, which models were never shown.
    options.setdefault("ensure_ascii", False)
    return json.dumps(value, indent=indent, **options)


@lru_cache(maxsize=64)
def compile_template(source: str) -> jinja2.Template:
    """A template with transformers' settings, filters and globals, compiled once.

    Raises:
        ModelError: the source is not valid Jinja (the message has the line).
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    # Pinned when the template is compiled: a prompt that changed at midnight would no longer
    # extend the tokens already sampled.
    now = datetime.now()
    environment.globals["strftime_now"] = lambda form: now.strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is not valid Jinja: {error.message}",
            where=f"chat template, line {error.lineno}",
            fix="correct chat_template.jinja in the model directory",
        ) from error


def render_template(
    source: str,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    *,
    generation_prompt: bool,
    variables: dict[str, Any],
    parts: bool = False,
) -> str:
    """Text of a conversation.

    Args:
        tools: specs in OpenAI form, [] for none.
        generation_prompt: end with the header that the assistant continues.
        variables: further names the template sees (bos_token, enable_thinking, ..).
        parts: give contents as lists, which some templates of vision-language models ask for.

    Raises:
        ModelError: the template refuses these messages or fails on them.
    """
    given = [message_dict(m) for m in messages]
    if parts:
        for message in given:
            message["content"] = [{"type": "text", "text": message["content"]}]
    return _render(source, given, list(tools) or None, generation_prompt, variables)


def render_content(source: str, content: list[dict[str, Any]], variables: dict[str, Any]) -> str:
    """Text of one user message whose content is a list of parts. Raises ModelError."""
    return _render(source, [{"role": "user", "content": content}], None, False, variables)


def _render(
    source: str,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    generation_prompt: bool,
    variables: dict[str, Any],
) -> str:
    template = compile_template(source)
    try:
        return template.render(
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=generation_prompt,
            **variables,
        )
    except AgentRLError:
        raise
    except Exception as error:  # a template can raise anything
        roles = ", ".join(m["role"] for m in messages) or "none"
        raise ModelError(
            f"the chat template failed to render: {type(error).__name__}: {error}",
            where=f"chat template, messages: {roles}",
            fix="the template may not support these roles or tools; correct chat_template.jinja "
            "in the model directory, or replace it by one that does",
        ) from error


def message_dict(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it (OpenAI form, arguments as an object)."""
    out: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        out["tool_call_id"] = message.call_id
    if message.name:
        out["name"] = message.name
    return out


def builtin_template(name: str) -> str:
    """Source of a template that ships with agentrl ("compact")."""
    return files("agentrl.models").joinpath("templates", f"{name}.jinja").read_text("utf-8")
