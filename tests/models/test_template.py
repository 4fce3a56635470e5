"""Chat templates: rendered as transformers renders them, sandboxed, errors for people."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from agentrl.core import Message, ModelError, ToolCall
from agentrl.models import ChatTokenizer, builtin_template
from agentrl.models.template import message_dict, render_template

HERMES = """
{%- if tools %}
    {{- '<|system|>\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}{{ '\\n' }}
    {%- endfor %}
    {{- '<|end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {{- '<|' + message.role + '|>\\n' }}
    {%- generation %}{{ message.content }}{% endgeneration %}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>' }}{{ call.function | tojson }}{{ '</tool_call>' }}
    {%- endfor %}
    {{- '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}
"""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "view",
            "description": "Show <a> file",
            "parameters": {"type": "object", "properties": {"path": {}, "line": {}}},
        },
    },
    {"type": "function", "function": {"name": "submit", "parameters": {"type": "object"}}},
]
TALK = [
    Message("system", "Repair."),
    Message("user", "It fails & <breaks>.\n"),
    Message("assistant", "I look.", calls=[ToolCall("view", {"path": "é.py", "line": 3}, "c0")]),
    Message("tool", "1 | x\n", call_id="c0", name="view"),
    Message("tool", "2 | y", call_id="c1", name="view"),
    Message("assistant", ""),
]


@pytest.mark.parametrize("template", [HERMES, builtin_template("compact")])
@pytest.mark.parametrize("tools", [[], TOOLS])
@pytest.mark.parametrize("generation_prompt", [False, True])
def test_renders_as_transformers_does(
    hf_tokenizer: PreTrainedTokenizerFast, template: str, tools: list, generation_prompt: bool
) -> None:
    chat = ChatTokenizer(hf_tokenizer, template)
    theirs = hf_tokenizer.apply_chat_template(
        [message_dict(m) for m in TALK],
        chat_template=template,
        tools=tools or None,
        add_generation_prompt=generation_prompt,
        tokenize=False,
    )
    assert chat.render(TALK, tools, generation_prompt=generation_prompt) == theirs


@pytest.mark.parametrize("tools", [[], TOOLS])
def test_the_compact_template_only_ever_appends(
    hf_tokenizer: PreTrainedTokenizerFast, tools: list
) -> None:
    chat = ChatTokenizer(hf_tokenizer, builtin_template("compact"))
    for start in (0, 1):
        talk = TALK[start:]
        whole = chat.render(talk, tools, generation_prompt=True)
        for n in range(1, len(talk)):
            assert whole.startswith(chat.render(talk[:n], tools, generation_prompt=False))
            opened = chat.render(talk[:n], tools, generation_prompt=True)
            if talk[n].role == "assistant":
                assert whole.startswith(opened)


def test_the_compact_template_is_compact(hf_tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatTokenizer(hf_tokenizer, builtin_template("compact"))
    assert chat.render(TALK[1:4], TOOLS, generation_prompt=True) == (
        "<|system|>view(path, line)\nsubmit()<|end|><|user|>It fails & <breaks>.\n<|end|>"
        '<|assistant|>I look.\n[view(path="é.py", line=3)]<|end|>'
        "<|tool|>1 | x\n<|end|><|assistant|>"
    )


def test_a_template_that_is_not_jinja_says_where() -> None:
    with pytest.raises(ModelError) as caught:
        render_template("a\n{% for %}", TALK, [], generation_prompt=False, variables={})
    assert "chat template, line 2" in str(caught.value)
    assert "not valid Jinja" in str(caught.value)


def test_a_template_that_refuses_is_quoted() -> None:
    source = "{{ raise_exception('only user and assistant roles!') }}"
    with pytest.raises(ModelError) as caught:
        render_template(source, TALK[:2], [], generation_prompt=False, variables={})
    assert "only user and assistant roles!" in str(caught.value)
    assert "messages: system, user" in str(caught.value)


@pytest.mark.parametrize(
    "attack", ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append(1) }}"]
)
def test_a_template_cannot_leave_its_sandbox(attack: str) -> None:
    with pytest.raises(ModelError, match="SecurityError"):
        render_template(attack, TALK, [], generation_prompt=False, variables={})


def test_tool_calls_reach_the_template_in_openai_form() -> None:
    said = message_dict(TALK[2])
    assert json.loads(json.dumps(said))["tool_calls"] == [
        {
            "id": "c0",
            "type": "function",
            "function": {"name": "view", "arguments": {"path": "é.py", "line": 3}},
        }
    ]
