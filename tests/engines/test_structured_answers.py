"""Answers read back from whatever stands around them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentrl.engines.litellm.structured import parse_answer


class Verdict(BaseModel):
    score: int
    why: str = ""


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 3}',
        '  {"score": 3}\n',
        '```json\n{"score": 3}\n```',
        'I think so.\n```\n{"score": 3}\n```\nDone.',
        'The answer is {"score": 3}.',
        '<think>{"score": 9} or not?</think>{"score": 3}',
        'First {"note": 1}, then {"score": 3}',
        'As said {"score": 3}, so {"score": 3}',
        '{{"score": 3}',
    ],
)
def test_one_answer_is_found_in_its_clothes(text: str) -> None:
    assert parse_answer(text, Verdict) == (Verdict(score=3), "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("no idea", "no JSON object"),
        ('{"score": "many"}', "score"),
        ('{"points": 3}', "score"),
        ("[3]", "no JSON object"),
        ('{"score": 3', "no JSON object"),
        ('The text says {"score": 9} but I say {"score": 1}', "2 different answers"),
        ("{" * 100_000, "no JSON object"),
    ],
)
def test_what_is_no_answer_says_why(text: str, problem: str) -> None:
    parsed, said = parse_answer(text, Verdict)
    assert parsed is None
    assert problem in said


@settings(max_examples=300, deadline=None)
@given(st.text(), st.integers(), st.text(), st.text())
def test_no_text_raises_and_a_fenced_answer_survives_any_prose(
    noise: str, score: int, why: str, more: str
) -> None:
    parse_answer(noise, Verdict)
    prose = "".join(c for c in noise + more if c not in "{}`<>")
    answer = Verdict(score=score, why=why)
    text = f"{prose}\n```json\n{json.dumps(answer.model_dump())}\n```\n{prose}"
    if "```" not in why and "<think>" not in text:
        assert parse_answer(text, Verdict) == (answer, "")
