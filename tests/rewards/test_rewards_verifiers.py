"""Rule verifiers: what is right, what is wrong, what abstains, and that nothing fools them."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.core import Score
from agentrl.rewards.diagnostics.attacks import ATTACKS, attack
from agentrl.rewards.verifiers import (
    Choice,
    Citations,
    ExactMatch,
    Item,
    JsonEqual,
    JsonSchema,
    KeywordChain,
    LogicEquivalence,
    Matches,
    Math,
    NumberSet,
    Quantity,
    Sql,
    TokenF1,
    Verified,
    Verifier,
)
from agentrl.rewards.verifiers.text import f_beta
from agentrl.rewards.verifiers.worker import Worker

MATH = Math(seconds=60)


def verify(verifier: Verifier, answer: str, reference: object) -> Score:
    return asyncio.run(verifier.verify(Item("q", answer, reference)))


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("1/2", "0.5", True),
        (r"\frac{1}{2}", "0.5", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"$\sqrt{8}$", r"2\sqrt{2}", True),
        ("x=4", "4", True),
        (r"\boxed{4}", "4", True),
        ("4, 3", r"\{3,4\}", True),
        ("1,000", "1000", True),
        ("3 or 4", "4", False),
        ("3,4", "4", False),
        ("4=5=4", "4", False),
        ("1=4", "4", False),
        ("4; 5", "4", False),
        (r"\boxed{3} \boxed{4}", "4", False),
        (r"4\boxed{}", "4", False),
        ("{", "4", False),
        ("", "4", False),
        ("1 2 3 4", "4", False),
        ("9" * 5000, "4", False),
    ],
)
def test_mathematics(answer, reference, right):
    assert verify(MATH, answer, reference).value == float(right)


def test_an_answer_that_cannot_be_computed_is_wrong_within_its_deadline():
    verifier = Math(seconds=60)
    verify(verifier, "a", "b")  # the process is there
    verifier.seconds = 2.0
    started = time.monotonic()
    score = verify(verifier, "10^{10^{10^{10}}}", "5")
    assert score.value == 0
    assert not score.abstained
    assert time.monotonic() - started < 30
    verifier.seconds = 60
    assert verify(verifier, "2/4", "1/2").value == 1, "the next one has a process again"


def test_a_reference_that_means_nothing_abstains():
    assert verify(MATH, "4", r"\frac{").abstained


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("72 km/h", "20 m/s", True),
        ("3 \\times 10^8 m/s", "3e8 m/s", True),
        ("20", "20 m/s", False),
        ("20 m", "20 s", False),
        ("5%", "0.05", True),
        ("5 5", "5", False),
        ("20 m/s or 30 m/s", "20 m/s", False),
        ("1 kg m^2", "1 kg*m**2", True),
        ("3.1", "3", False),
    ],
)
def test_quantities(answer, reference, right):
    assert verify(Quantity(), answer, reference).value == float(right)


def test_tolerance_is_relative_to_the_reference():
    assert verify(Quantity(relative=1e-2), "3.0e8", "2.998e8").value == 1
    assert verify(Quantity(relative=1e-4), "3.0e8", "2.998e8").value == 0


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (".75P, 0.25P", True),
        (r"\frac{1}{4}P, \frac{3P}{4}", True),
        (".25P", False),
        (".25P,.25P", False),
        (".25P,.75P,.5P", False),
        (".25,.75", False),
        (".25P,.75P and more", False),
    ],
)
def test_sets_of_coefficients(answer, right):
    assert verify(NumberSet("P"), answer, [0.25, 0.75]).value == float(right)


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [("B", "B"), ("(b)", "B"), ("B) the cat", "B"), ("the answer is C.", "C"), ("A or B", None),
     ("answer: A, answer: B", None), ("Because", None), ("(A) (B)", None), ("", None)],
)  # fmt: skip
def test_the_one_letter(answer, chosen):
    for letter in "ABC":
        assert verify(Choice(), answer, letter).value == float(letter == chosen)


def test_text():
    assert verify(ExactMatch(), "The Cat!", ["dog", "cat"]).value == 1
    assert verify(ExactMatch(strict=True), "The Cat!", "cat").value == 0
    assert verify(ExactMatch(), "с", "c").value == 0, "a Cyrillic letter is another"
    assert verify(TokenF1(), "a cat sat", "cat slept").value == pytest.approx(0.5)
    assert verify(Matches(), "abc-12", r"[a-z]+-\d+").value == 1
    assert verify(Matches(), "x abc-12", r"[a-z]+-\d+").value == 0
    assert verify(Matches(), "x", "(").abstained


def test_a_pattern_that_explodes_ends():
    assert verify(Matches(seconds=0.2), "a" * 40 + "b", r"(a|aa|a?)+(a|aa)+c").value == 0


def test_citations_and_f_beta():
    gold = ["0", "5"]
    found = verify(Citations(beta=2), "see [[0]] [[5]] [[7]]", gold)
    assert found.value == pytest.approx(10 / 11)
    assert verify(Citations(beta=2), "[[0]]", gold).value == pytest.approx(0.5556, abs=1e-4)
    assert f_beta(2, 3, 2, 2) == pytest.approx(10 / 11)
    repeated = verify(Citations(count_repeats=True), "[[0]] [[0]] [[5]]", gold)
    assert repeated.value == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert verify(Citations(), "nothing", gold).value == 0


def test_json():
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert verify(JsonSchema(), '```json\n{"a": 1}\n```', schema).value == 1
    bad = verify(JsonSchema(), '{"a": "x"}', schema)
    assert bad.value == 0
    assert bad.checks[0].name == "$.a"
    assert verify(JsonSchema(), '{"a": 1, "a": 2}', schema).value == 0
    assert verify(JsonSchema(), "[" * 5000, schema).value == 0
    assert verify(JsonSchema(), "{}", {"type": 5}).abstained
    assert verify(JsonEqual(), '{"b": [1.0], "a": true}', {"a": True, "b": [1]}).value == 1
    assert verify(JsonEqual(), '{"a": 1}', {"a": True}).value == 0
    assert verify(JsonEqual(), "NaN", 1).value == 0


SCHEMA = "create table t(name, a, b); insert into t values ('x', 2, 2), ('y', 0, 2), ('x', 3, 1);"


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("SELECT NAME FROM T WHERE b = 2 AND a > 1", True),
        ("select name from t where a > 1", False),
        ("select 'x'", True),
        ("drop table t", False),
        ("select name from t; drop table t", False),
        ("attach database '/tmp/x.db' as x", False),
        ("select load_extension('x')", False),
        ("selct", False),
        ("", False),
    ],
)
def test_sql_by_its_rows(query, right):
    reference = {"query": "select name from t where a > 1 and b = 2", "schema": SCHEMA}
    assert verify(Sql(), query, reference).value == float(right)


def test_sql_that_is_right_by_accident_fails_on_a_second_database():
    other = SCHEMA + "insert into t values ('z', 9, 2);"
    reference = {"query": "select name from t where a > 1 and b = 2", "schema": [SCHEMA, other]}
    assert verify(Sql(), "select 'x'", reference).value == 0
    proven = Sql(coincidence=0.8)
    one = {"query": "select name from t where a > 1 and b = 2", "schema": SCHEMA}
    assert verify(proven, "select name from t where b = 2 and a > 1", one).value == 1
    assert verify(proven, "select 'x'", one).value == 0.8


def test_sql_order_counts_where_the_reference_orders():
    reference = {"query": "select a from t order by a", "schema": SCHEMA}
    assert verify(Sql(), "select a from t order by a desc", reference).value == 0
    reference["query"] = "select a from t"
    assert verify(Sql(), "select a from t order by a desc", reference).value == 1


def test_an_endless_query_ends_and_a_file_stays_as_it_is(tmp_path):
    path = tmp_path / "data.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
    reference = {"query": "select count(*) from t", "database": str(path)}
    endless = (
        "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r"
    )
    started = time.monotonic()
    assert verify(Sql(seconds=0.5), endless, reference).value == 0
    assert time.monotonic() - started < 20
    before = path.read_bytes()
    for query in ("delete from t", "pragma journal_mode=wal", "vacuum"):
        assert verify(Sql(), query, reference).value == 0
    assert path.read_bytes() == before


def test_logic():
    verifier = LogicEquivalence(seconds=60)
    assert verify(verifier, "~exists x P(x)", "forall x ~P(x)").value == 1
    assert verify(verifier, "exists x P(x)", "forall x P(x)").value == 0
    assert verify(verifier, "P(x", "P(x)").value == 0
    assert verify(verifier, "P(x)", "((").abstained
    renamed = LogicEquivalence(seconds=60, rename=True)
    assert verify(renamed, "forall x (A(x) -> B(x))", "forall x (P(x) -> Q(x))").value == 1
    partial = LogicEquivalence(partial=0.5, seconds=60)
    score = verify(partial, "forall x (P(x) -> Q(x))", "forall x (P(x) and Q(x))")
    assert score.value == pytest.approx(0.25)


CHAIN = {"points": [["storm"], ["Paris", "night"]], "texts": ["A storm hit Paris at night."]}
GOLD = [
    (ExactMatch(), Item("q", "Rome", "Paris")),
    (TokenF1(), Item("q", "Rome", "Paris")),
    (Choice(), Item("q", "A", "B")),
    (Matches(), Item("q", "Rome", "Par[i]s")),
    (Quantity(), Item("q", "3 m", "4 m")),
    (NumberSet("P"), Item("q", ".5P", [0.25, 0.75])),
    (JsonEqual(), Item("q", "{}", {"a": 1})),
    (JsonSchema(), Item("q", "{}", {"type": "object", "required": ["a"]})),
    (Sql(), Item("q", "select 1", {"query": "select 4", "schema": ""})),
    (MATH, Item("q", "5", "4")),
    (LogicEquivalence(seconds=60), Item("q", "P(x)", "Q(x)")),
    (Citations(), Item("q", "See [[b]].", ["a"])),
    (KeywordChain(), Item("q", "It rained.", CHAIN)),
]


@pytest.mark.parametrize(("verifier", "item"), GOLD, ids=lambda x: getattr(x, "name", ""))
def test_no_attack_gets_past_a_rule(verifier, item):
    """F1 and chains are graded: half of the words right is half a point, acceptance is more."""
    accept = 0.75 if isinstance(verifier, (TokenF1, KeywordChain)) else 0.5
    if isinstance(verifier, Math):
        verifier.seconds = 5
    try:
        found = asyncio.run(attack(verifier, [item], ATTACKS, accept=accept))
    finally:
        if isinstance(verifier, Math):
            verifier.seconds = 60
    assert {name: which for name, (rate, which) in found.items() if rate} == {}


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_no_text_breaks_a_verifier_or_leaves_the_unit_interval(text):
    for verifier, item in GOLD[:9]:
        score = asyncio.run(verifier.verify(Item("q", text, item.reference)))
        assert 0.0 <= score.value <= 1.0
        assert not score.abstained


def test_the_right_answer_is_accepted_by_all():
    for verifier, answer, reference in [
        (ExactMatch(), "Paris", "Paris"), (TokenF1(), "Paris", "Paris"), (Choice(), "B", "B"),
        (Quantity(), "4 m", "4 m"), (MATH, "4", "4"),
        (KeywordChain(), "Paris.", {"points": [["paris"]], "texts": ["Paris."]}),
    ]:  # fmt: skip
        assert verify(verifier, answer, reference).value == 1


def test_as_a_reward(rewards_kit):
    ladder = Verified(ExactMatch(), extract="boxed", wrong=-0.5, missing=-1.0)

    def reward(text: str, **reference: str) -> Score:
        return asyncio.run(ladder.score(rewards_kit.episode([text], reference=reference)))

    assert reward(r"\boxed{4}", answer="4").value == 1
    assert reward(r"\boxed{5}", answer="4").value == -0.5
    assert reward("4", answer="4").value == -1
    assert reward(r"\boxed{4}").abstained


def test_a_worker_survives_what_runs_in_it():
    worker = Worker()
    with pytest.raises(RuntimeError, match="TypeError"):
        worker.call("math:sqrt", 60)
    with pytest.raises(TimeoutError):
        worker.call(f"{Math.__module__}:equal", 1.0, answer="2^{10^9}", reference="5", digits=6)
    with pytest.raises(RuntimeError, match="TypeError"):
        worker.call("math:sqrt", 60)
