"""Calls are read as they were written, and only those that were written."""

import itertools
import json
import keyword
import random
import warnings

import pytest
from episodes_kit import SHAPES, tokenizer_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentrl.core import ConfigError, ToolCall
from agentrl.episodes import dialect, dialects
from agentrl.episodes.dialects import detect_dialect, instructions

every = pytest.mark.parametrize("name", dialects())
identifiers = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True).filter(
    lambda s: not keyword.iskeyword(s)
)
strings = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("</tool_call>", "<tool_call>", "\\", '"', "'", "\n", '"""', "</", "```", "\0"),
            *("</parameter>", "</function>", "\n</think>\n", "<arg_key>", "[TOOL_CALLS]", "}; {"),
            *(
                "<｜tool▁call▁end｜>",
                "<｜tool▁sep｜>",
                "\nAction: f",
                "\nObservation:",
                "3",
                "null",
            ),
            *("<|python_tag|>", "<|python_end|>", "[1, 2,]", " x ", "<function=f>"),
        ]
    ),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    strings,
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
calls = st.lists(
    st.builds(ToolCall, identifiers, st.dictionaries(identifiers, values, max_size=3)),
    min_size=1,
    max_size=3,
)
few = settings(max_examples=50, deadline=None)


def shape(found: list[ToolCall]) -> list[tuple[str, dict, str | None]]:
    return [(call.name, call.arguments, call.error) for call in found]


@every
@few
@given(written=calls)
@example(written=[ToolCall("edit", {"new": "</tool_call>"})])
@example(written=[ToolCall("edit", {"new": "<tool_call>"}), ToolCall("run", {})])
def test_a_dialect_reads_what_it_writes(name, written) -> None:
    reader = dialect(name)
    assert shape(reader.parse(reader.format(written))) == shape(written)


CALL = ToolCall("look", {"line": 3})
LISTS = ("json", "llama")  # those whose message is nothing but calls


@pytest.mark.parametrize("name", sorted(set(dialects()) - set(LISTS)))
def test_text_in_front_of_a_call_is_the_policy_thinking_aloud(name) -> None:
    reader = dialect(name)
    for aloud in ("I [think] so.\n", "```python\nprint({})\n```\n", "a < b > c {} [] \n"):
        assert shape(reader.parse(aloud + reader.format([CALL]))) == shape([CALL])


@every
@pytest.mark.parametrize("thought", ["<think>\n%s\n</think>\n\n", "so %s\n</think>\n\n"])
def test_a_call_in_a_thought_was_not_made(name, thought) -> None:
    """The second form is that of models whose generation prompt opens the thought."""
    reader = dialect(name)
    other = reader.format([ToolCall("other", {})])
    text = thought % other + reader.format([CALL])
    assert shape(reader.parse(text)) == shape([CALL])
    assert reader.parse(thought % other + "done") == []


ALSO_READ = {
    "hermes": [
        "<tool_call>\n```json\n%s\n```\n</tool_call>",
        "<tool_call>{'name': 'look', 'arguments': {'line': 3}}</tool_call>",
        '<tool_call>{"name": "look", "arguments": {"line": 3,},}</tool_call>',
        '<tool_call>{"name": "look", "arguments": "{\\"line\\": 3}"}</tool_call>',
        '<tool_call>{"name": "look", "parameters": {"line": 3}}</tool_call>so',
    ],
    "json": [
        "```json\n%s\n```",
        "```\n%s\n```",
        "I look:\n```json\n%s\n```\n",
        '[\n  {"name": "look", "parameters": {"line": 3}}\n]',
        "{'name': 'look', 'arguments': {'line': 3}}",
    ],
    "llama": [
        "<|python_tag|>%s",
        "%s;",
        "```json\n%s\n```",
        '{"name": "look", "parameters": {"line": 3,}}',
    ],
    "mistral": [
        "[TOOL_CALLS][%s]",
        "[TOOL_CALLS] %s",
        'so[TOOL_CALLS]look[ARGS]{"line": 3}',
        '[TOOL_CALLS]look[CALL_ID]abcdefghi[ARGS]{"line": 3}',
        '[TOOL_CALLS]look{"line": 3}',
        "[TOOL_CALLS] [{'name': 'look', 'arguments': {'line': 3}}]",
    ],
    "deepseek": [
        '<｜tool▁call▁begin｜>look<｜tool▁sep｜>{"line": 3}<｜tool▁call▁end｜>',
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>look ```{"line": 3,}```<｜tool▁call▁end｜>',
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>look\n{"line": 3}<｜tool▁call▁end｜>',
    ],
    "qwen_xml": [
        "<function=look><parameter=line>3</parameter></function>",
        "<function=look>\n<parameter=line>\n3\n</parameter>\n</function>\n</tool_call> so",
    ],
    "glm": ["<tool_call>look\n<arg_key>line</arg_key><arg_value>3</arg_value></tool_call> so"],
    "pythonic": ["<|python_start|>[look(line=3)]<|python_end|>", "```python\n[look(line=3,)]\n```"],
    "react": [
        'Thought: so\nAction: `look`\nAction Input: {"line": 3}\nObservation: 4\nAction: rm',
        'Action: look\nAction Input: ```json\n{"line": 3}\n```',
        "Action: [look]\n\nAction Input: {'line': 3,}\nThought: good",
    ],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in ALSO_READ.items() for text in texts]
)
def test_what_models_really_write_is_read_too(name, text) -> None:
    if "%s" in text:
        text %= '{"name": "look", "arguments": {"line": 3}}'
    assert shape(dialect(name).parse(text)) == shape([CALL])


def test_values_without_quotes_are_read_by_their_types() -> None:
    spec = {"name": "write", "parameters": {"properties": {"text": {"type": "string"}}}}
    tools = [{"type": "function", "function": spec}]
    for name in ("qwen_xml", "glm"):
        reader = dialect(name)
        for text in ("3", "{}", "[1,", "a", "null", '"q"', "x\ny", "a </b> c"):
            call = ToolCall("write", {"text": text, "n": 3})
            assert f">{text}<" in reader.format([call], tools).replace("\n", "") or "\n" in text
            assert shape(reader.parse(reader.format([call], tools), tools)) == shape([call])


DETECTED = {
    **{
        "compact": "pythonic",
        "deepseek_r1": "deepseek",
        "deepseek_v3": "deepseek",
        "gemma": "hermes",
    },
    **{"glm4": "hermes", "glm45": "glm", "llama3": "llama", "llama32_pythonic": "pythonic"},
    **{"mistral": "mistral", "qwen25": "hermes", "qwen3": "hermes", "qwen3_coder": "qwen_xml"},
    **{"qwen3_quiet": "hermes", "smollm2": "hermes"},
}


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_dialect_of_a_template_is_the_one_that_reads_what_it_writes(name) -> None:
    assert detect_dialect(tokenizer_of(name)) == DETECTED[name]


@every
def test_a_policy_is_told_of_its_tools_with_a_call_that_would_be_read(name) -> None:
    spec = {"type": "function", "function": {"name": "look", "parameters": {}}}
    text = instructions(dialect(name), [spec])
    assert '"name": "look"' in text
    example = text.split("write:\n")[1].split("\nThe tools")[0]
    (call,) = dialect(name).parse(example)
    assert (call.name, call.error) == ("tool_name", None)
    assert instructions(dialect(name), []) == ""


MALFORMED = {
    "hermes": [
        '<tool_call>{"name": "f"',
        '<tool_call>{"name": "f", "arguments": {}',
        "<tool_call></tool_call>",
        '<tool_call>{"name": "f", "arguments": []}</tool_call>',
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"name": 3}</tool_call>',
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"x": "\\ud800"}}</tool_call>',
    ],
    "json": [
        '{"name": "f", "arguments": {}',
        "{}",
        '{"name": "\\udfff"}',
        '[{"name": "f"}, 3]',
        '[{"name": "f"}',
        '{"name": "f", "arguments": {"x": 1e999}}',
        '{"name": "f", "arguments": {"x": %s}}' % ("9" * 5000),
        '{"name": "f", "arguments": {"x": %s}}' % ("[" * 100_000),
    ],
    "llama": ['{"name": "f"', '{"name": "f"}; {"name"', '<|python_tag|>{"x": 1}', "{} {}"],
    "mistral": [
        '[TOOL_CALLS] [{"name": "f"}',
        "[TOOL_CALLS]",
        "[TOOL_CALLS] f(x=1)",
        '[TOOL_CALLS]f[ARGS]{"x": ',
        "[TOOL_CALLS]f[ARGS]3",
        "[TOOL_CALLS] [3]",
    ],
    "deepseek": [
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f",
        "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>f<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜><｜tool▁call▁end｜>",
    ],
    "qwen_xml": [
        "<function=f>",
        "<function=f><parameter=x>1</function>",
        "<function=f>x</function>",
        "<function=f><parameter=x>1</parameter><parameter=x>2</parameter></function>",
        '<tool_call>{"name": "f"}</tool_call>',
        "<function=f><parameter=x>1e999</parameter></function>",
    ],
    "glm": [
        "<tool_call>f",
        "<tool_call></tool_call>",
        "<tool_call>f <arg_key>x</arg_key></tool_call>",
        "<tool_call>f <arg_value>x</arg_value></tool_call>",
        "<tool_call>f g</tool_call>",
    ],
    "react": [
        "Action:\nAction Input: {}",
        "Action: f\nAction Input: x",
        "Action: f\nAction Input: [1]",
        "Action: f\nAction Input: {",
        "Action: f\nAction Input:",
    ],
    "pythonic": [
        "[f(x=1)",
        "[f(1)]",
        "[f(**{'x': 1})]",
        "[f(x=g())]",
        "[f(x=1, x=2)]",
        "[f(x=b'1')]",
        "[f(x={1, 2})]",
        "[f(x={(1, 2): 3})]",
        "[f(x=1e999)]",
        "[f(x='\\ud800')]",
        "[f(), 3]",
        "[f(), (lambda: 0)()]",
        "[f(x) for x in y]",
        "[f(x=1)][0]",
        f"[f(x={'9' * 5000})]",
        f"[f(x={'(' * 5000})]",
        f"[f(x={'-' * 3000}1)]",
        "[f(x=1)]\0",
    ],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in MALFORMED.items() for text in texts]
)
def test_a_malformed_call_is_an_error_with_its_text_and_is_not_executable(name, text) -> None:
    found = dialect(name).parse(text)
    assert found
    bad = [call for call in found if call.error]
    assert bad
    assert all(call.raw in text for call in bad)
    assert all(call.arguments == {} for call in bad)


@pytest.mark.parametrize("name", ["hermes", "pythonic"])
def test_a_malformed_call_does_not_hide_a_good_one(name) -> None:
    text = {
        "hermes": '<tool_call>{"name"</tool_call><tool_call>{"name": "g"}</tool_call>',
        "pythonic": "[f(1), g()]",
    }
    bad, good = dialect(name).parse(text[name])
    assert bad.error
    assert (good.name, good.arguments, good.error) == ("g", {}, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", '{"name": "f", "arguments": {}}'),
        ("hermes", "[f()]"),
        ("hermes", "</tool_call>"),
        ("hermes", "the <tool_call > tag"),
        ("json", "[]"),
        ("json", "[1, 2]"),
        ("json", 'I would say {"name": "f"}'),
        ("json", "```python\nprint({})\n```"),
        ("pythonic", "f(x=1)"),
        ("pythonic", "see [f(x=1)]"),
        ("pythonic", "[link](https://example.org)"),
        ("pythonic", "[]"),
    ],
)
def test_what_is_no_call_is_none(name, text) -> None:
    assert dialect(name).parse(text) == []


def test_reading_a_call_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (call,) = dialect("pythonic").parse(r"[f(x='\d')]")
    assert call.arguments == {"x": r"\d"}


PARTS = [
    *("<tool_call>", "</tool_call>", '{"name": "f"', ', "arguments": {', '"x": 1', "}", "}}"),
    *("[f(", "[f.g(x=", ")]", "\n[f(", "x=1", "'", '"', "\\", "\0", "\n", "[{", "]", "```json\n"),
    *("\n```", "[" * 40, "{" * 40, "(" * 30, "-" * 40, "\ud83d", "é", "🙂", ",", ",}", "f", " "),
    *("\\ud800", "NaN", "1e999", "lambda: 0", "**", "\u2028", "\ufeff", "<think>", "</think>\n"),
    *("<function=f>", "</function>", "<parameter=x>", "</parameter>", "<arg_key>x</arg_key>"),
    *("<arg_value>1</arg_value>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", ";"),
    *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "function", "\nAction: f"),
    *("\nAction Input: ", "\nObservation: ", "{}", '{"name": "f", "arguments": {"x": [1]}}'),
]
HUGE = ["9" * 5000, "[" * 3000, "{" * 3000, "(" * 300, "-" * 2000, "0x" + "f" * 4000]
OPENINGS = {
    **{"hermes": "<tool_call>", "json": "", "llama": "{", "pythonic": "[", "react": "Action:"},
    **{"mistral": "[TOOL_CALLS]", "deepseek": "<｜tool▁call▁begin｜>", "glm": "<tool_call>"},
    "qwen_xml": "<",
}
FUZZED = 100_000


@every
def test_no_text_raises_and_no_call_is_found_that_was_not_there(name) -> None:
    """Each call of a fuzzed text is in the text, by its name and its arguments' names, and can
    be stored. Together the dialects read 100,000 texts."""
    draw = random.Random(7)
    reader, opening = dialect(name), OPENINGS[name]
    count = FUZZED // len(dialects()) + 1
    for i in range(count):
        parts = draw.choices(PARTS, k=draw.randint(1, 9))
        text = "".join([*parts, draw.choice(HUGE)] if i % 100 == 0 else parts)
        found = reader.parse(text)
        assert not found or opening in text
        for call in found:
            assert call.error or call.name in text
            assert call.error is None or not call.arguments
            assert all(key in text for key in call.arguments)
            json.dumps(call.arguments, ensure_ascii=False, allow_nan=False).encode()


ALOUD = ["", "I see.\n", "so:\n", "x = [1, {2}]\n", "a < b\n"]


@pytest.mark.parametrize("name", sorted(set(dialects()) - {"json", "llama", "pythonic", "mistral"}))
@few
@given(data=st.data())
def test_of_calls_and_talk_exactly_the_calls_are_found(name, data) -> None:
    reader, text, planted = dialect(name), "", []
    for written in data.draw(st.lists(calls, max_size=3)):
        text += data.draw(st.sampled_from(ALOUD)) + reader.format(written) + "\n"
        planted += shape(written)
    assert shape(reader.parse(text)) == planted


@every
def test_every_damage_of_a_call_is_an_error_or_a_call_with_its_name(name) -> None:
    """One character taken out, doubled or cut behind: a call to another tool never comes of it."""
    reader = dialect(name)
    text = reader.format([ToolCall("edit", {"line": 3, "new": "x < [1]"})])
    for at, how in itertools.product(range(len(text)), ("drop", "double", "cut")):
        damaged = (
            text[:at] + {"drop": text[at + 1 :], "double": text[at] + text[at:], "cut": ""}[how]
        )
        for call in reader.parse(damaged):
            assert call.error or set(call.name) <= set("edit")


def test_an_unknown_dialect_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="hermes"):
        dialect("hermse")
