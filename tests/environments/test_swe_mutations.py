from __future__ import annotations

import ast
import textwrap

import pytest
from swe_pocket import NUMBERS

from agentrl.environments.swe import functions
from agentrl.environments.swe.functions import functions_of
from agentrl.environments.swe.synth import mutations
from agentrl.environments.swe.synth.mutations import OPERATORS, Mutation, mutations_of


def mutate(body: str, *operators: str) -> list[str]:
    """The mutated bodies of `def f(a, b, xs): ...`, first line cut off."""
    source = f"def f(a, b, xs):\n    {body}\n".encode()
    (function,) = functions_of("m.py", source)
    found = mutations_of(function, source, list(operators) or None)
    return [m.edit.apply(source).decode().split("\n    ", 1)[1].rstrip("\n") for m in found]


@pytest.mark.parametrize(
    ("operator", "body", "expected"),
    [
        ("comparison", "return a == b", ["return a != b"]),
        ("comparison", "return a < b <= 3", ["return a > b <= 3", "return a < b >= 3"]),
        ("comparison", "return a not  in xs", ["return a in xs"]),
        ("comparison", "return a is not b", ["return a is b"]),
        ("comparison", "return (a) in (xs)", ["return (a) not in (xs)"]),
        ("boundary", "return a < b", ["return a <= b"]),
        ("boundary", "return a == b", []),
        ("arithmetic", "return a ** b", ["return a * b"]),
        ("arithmetic", "return a << b", ["return a >> b"]),
        ("arithmetic", "a += 1; return a", ["a -= 1; return a"]),
        ("arithmetic", "return xs[-1]", ["return xs[1]"]),
        ("arithmetic", "return '%s' % a", []),
        ("boolean", "return a and b and xs", ["return a or b and xs", "return a and b or xs"]),
        ("negation", "return not a", ["return a"]),
        ("negation", "return a if b else xs", ["return a if not b else xs"]),
        ("constant", "return a[0]", ["return a[1]"]),
        ("constant", "return a[1]", ["return a[0]", "return a[2]"]),
        ("constant", "return True", ["return False"]),
        ("constant", "return 0x10", []),
        ("argument_swap", "return divmod(a, b)", ["return divmod(b, a)"]),
        ("argument_swap", "return divmod(a, a)", []),
        ("argument_swap", "return max(*xs, b)", []),
        ("sibling_call", "return min(xs)", ["return max(xs)"]),
        ("sibling_call", "return a.lstrip()", ["return a.rstrip()"]),
        ("return_value", "return a", ["return None"]),
        ("return_value", "return None", []),
        ("deleted_statement", "xs.append(a)\n    return xs", ["return xs"]),
        ("deleted_branch", "if a:\n        return b\n    return xs", ["return xs"]),
        ("deleted_branch", "if a:\n        return b\n    else:\n        return a\n    b", []),
        ("operand_swap", "return a - b", ["return b - a"]),
        ("operand_swap", "return a + b", []),
        ("operand_swap", "return '%s' % a", []),
        ("lost_operand", "return a * b", ["return a", "return b"]),
        ("lost_operand", "return a and b", ["return a", "return b"]),
        ("slice_bound", "return xs[1:-1]", ["return xs[:-1]", "return xs[1:]"]),
        ("slice_bound", "return xs[1]", []),
        (
            "dropped_keyword",
            "return sorted(xs, key=a, reverse=b)",
            ["return sorted(xs, reverse=b)", "return sorted(xs, key=a)"],
        ),
        ("dropped_keyword", "return dict(a=b)", []),
        ("lost_call", "return sorted(xs)", ["return xs"]),
        ("lost_call", "return a.strip()", ["return a"]),
        ("lost_call", "return sorted(x for x in xs)", []),
        ("lost_call", "return max(a, b)", []),
        ("swapped_branches", "return a if b else xs", ["return xs if b else a"]),
        ("wrong_exception", "raise ValueError(a)", ["raise TypeError(a)"]),
        ("wrong_exception", "raise a", []),
        (
            "wrong_exception",
            "try:\n        return a\n    except KeyError:\n        return b",
            ["try:\n        return a\n    except IndexError:\n        return b"],
        ),
        ("text_constant", "return 'abc'", ["return 'ab'"]),
        ("text_constant", "return 'a\\n'", []),
        ("text_constant", "return ''", []),
    ],
)
def test_each_operator_makes_exactly_its_bugs(operator: str, body: str, expected: list[str]):
    assert sorted(mutate(body, operator)) == sorted(expected)


def test_every_operator_is_tested_above():
    marks = test_each_operator_makes_exactly_its_bugs.pytestmark
    tested = {case[0] for mark in marks for case in mark.args[1]}
    assert tested == set(OPERATORS)


def test_an_operator_in_a_comment_or_text_is_not_mistaken_for_the_real_one():
    body = "return (a  # less: <\n        < b)"
    assert mutate(body, "boundary") == ["return (a  # less: <\n        <= b)"]
    assert mutate("return a == 'x < y'", "boundary") == []


def test_docstrings_defaults_annotations_asserts_and_f_strings_stay():
    source = (
        b'def f(a=1 + 2, *, b: "1 < 2" = 3):\n    """1 + 1 == 2"""\n'
        b"    assert a + b < 3\n    c: 1 + 1 = a\n    return f'{a + 1}'\n"
    )
    (function,) = functions_of("m.py", source)
    assert {m.operator for m in mutations_of(function, source)} == {"return_value"}


def all_mutations(source: bytes) -> list[Mutation]:
    return [m for f in functions_of("m.py", source) for m in mutations_of(f, source)]


@pytest.mark.parametrize("module", [functions, mutations, textwrap])
def test_real_files_change_only_inside_the_edited_span_and_the_function(module):
    with open(module.__file__, "rb") as file:
        source = file.read()
    found = all_mutations(source)
    assert len(found) > 50
    assert len({m.edit.apply(source) for m in found}) == len(found)
    for m in found[::9]:
        assert ast.dump(ast.parse(m.edit.apply(source))) != ast.dump(ast.parse(source))
    for m in found:
        mutated = m.edit.apply(source)
        assert mutated[: m.edit.start] == source[: m.edit.start]
        assert mutated[m.edit.start + len(m.edit.new) :] == source[m.edit.end :]
        assert m.function.first_line <= m.line <= m.function.last_line


def test_multibyte_text_and_crlf_do_not_shift_edits():
    source = "def f(a):\r\n    é = 'ü' * 2; return é if a < 3 else 'ä'\r\n".encode()
    (function,) = functions_of("m.py", source)
    (mutation,) = mutations_of(function, source, ["boundary"])
    assert mutation.edit.apply(source) == source.replace(b"<", b"<=")
    assert (mutation.line, mutation.old, mutation.new) == (2, "<", "<=")


@pytest.mark.parametrize("source", [b"def f(: pass", b"\xff", b"def f():\r    return 1", b"\0"])
def test_files_that_cannot_be_edited_by_position_have_no_functions(source: bytes):
    assert functions_of("m.py", source) == []


def test_functions_are_named_with_their_class_and_know_their_lines():
    source = (
        b"class A:\n    @staticmethod\n    def f():\n        def inner():\n            pass\n"
        b"        return 1\nif True:\n    def g():\n        '''d'''\n        return 2\n"
    )
    found = {
        f.id: (f.first_line, f.last_line, f.code_lines) for f in functions_of("p/m.py", source)
    }
    assert found == {"p/m.py::A.f": (2, 6, 3), "p/m.py::g": (8, 10, 1)}


def test_order_does_not_depend_on_anything_but_the_source():
    first, second = (all_mutations(NUMBERS.encode()) for _ in range(2))
    assert [m.edit for m in first] == [m.edit for m in second]
