"""Calls are read as they were written, and only those that were written."""

import itertools
import json
import keyword
import random
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentrl.core import ConfigError, ToolCall
from agentrl.episodes import dialect, dialects

every = pytest.mark.parametrize("name", dialects())
identifiers = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True).filter(
    lambda s: not keyword.iskeyword(s)
)
strings = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["</tool_call>", "<tool_call>", "\\", '"', "'", "\n", '"""', "</", "```", "\0"]
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


def test_text_around_a_call_is_the_policy_thinking_aloud() -> None:
    call = ToolCall("look", {"line": 3})
    for name in ("hermes", "pythonic"):
        reader = dialect(name)
        assert shape(reader.parse(f"I [think] so.\n{reader.format([call])}")) == shape([call])
    fenced = '```json\n{"name": "look", "arguments": {"line": 3}}\n```'
    assert shape(dialect("json").parse(fenced)) == shape([call])
    llama = '[\n  {"name": "look", "parameters": {"line": 3}}\n]'
    assert shape(dialect("json").parse(llama)) == shape([call])


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
    *("\n```", "9" * 5000, "[" * 3000, "{" * 3000, "(" * 300, "-" * 2000, "\ud83d", "é", "🙂"),
    *("\\ud800", "NaN", "1e999", "lambda: 0", "**", "0x" + "f" * 4000, "\u2028", "\ufeff", " "),
]


@every
def test_no_text_raises_and_no_call_is_found_that_was_not_there(name) -> None:
    """Each call of a fuzzed text must be in the text, by name, and be storable."""
    draw = random.Random(7)
    reader, opening = dialect(name), {"hermes": "<tool_call>", "json": "", "pythonic": "["}[name]
    for _ in range(2000):
        text = "".join(draw.choices(PARTS, k=draw.randint(1, 7)))
        found = reader.parse(text)
        assert not found or opening in text
        for call in found:
            assert call.error or call.name in text
            json.dumps(call.arguments, ensure_ascii=False, allow_nan=False).encode()


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
