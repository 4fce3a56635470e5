"""Text against text: exact match, token F1, choice letters, regular expressions, citations."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from agentrl.core import Check, Score
from agentrl.rewards.verifiers.base import Item, too_long, verdict

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's comparison (arXiv
    1606.05250), after Unicode NFKC. Letters that only look alike stay different."""
    text = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    text = " ".join(text.split())
    # An answer that is nothing but an article is the option A.
    return " ".join(_ARTICLES.sub(" ", text).split()) or text


def references(reference: object) -> list[str]:
    """The right answers: one, or a list of which any will do."""
    given = reference if isinstance(reference, list | tuple | set) else [reference]
    return [str(one) for one in given]


@dataclass(slots=True)
class ExactMatch:
    """1 when the answer equals one of the references, `normalise`d first unless `strict`."""

    strict: bool = False
    name: str = "exact_match"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        same = str.strip if self.strict else normalise
        answer = same(item.answer)
        right = bool(answer) and any(answer == same(r) for r in references(item.reference))
        return verdict(right, f"{answer[:80]!r} {'is' if right else 'is not'} the reference")


@dataclass(slots=True)
class TokenF1:
    """Best F1 of the words of answer and reference (SQuAD); a repeated word counts as often as
    both have it, so dumping many words lowers precision."""

    name: str = "f1"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        best = max((f1(item.answer, r) for r in references(item.reference)), default=0.0)
        return verdict(best, f"best F1 {best:.3f}")


def f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the multisets of words, in [0, 1]."""
    given, wanted = Counter(normalise(answer).split()), Counter(normalise(reference).split())
    common = (given & wanted).total()
    return 2.0 * common / (given.total() + wanted.total()) if common else 0.0


@dataclass(slots=True)
class Choice:
    """Multiple choice: the one letter that the answer names.

    Accepted: "B", "(B)", "B.", "B) the text", "answer: B", "option B". An answer that names two
    letters is wrong. Reference: a letter.
    """

    letters: str = "ABCDEFGHIJ"
    name: str = "choice"

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        chosen = chosen_letter(item.answer, self.letters)
        if chosen is None:
            return verdict(False, "names no single option")
        return verdict(chosen == str(item.reference).strip().upper(), f"chose {chosen}")


def chosen_letter(answer: str, letters: str = "ABCDEFGHIJ") -> str | None:
    """The letter that an answer names; None when it names none or several."""
    text = answer.strip()
    lead = re.match(rf"^\(?([{letters}{letters.lower()}])(?:[).:]|\s*$)", text)
    named = re.findall(rf"(?i:answer|option|choice)\s*(?i:is)?\s*[:=]?\s*\(?([{letters}])\b", text)
    loose = re.findall(rf"(?<![\w'])\(([{letters}])\)", text)
    found = {m.upper() for m in [*named, *loose]} | ({lead[1].upper()} if lead else set())
    return found.pop() if len(found) == 1 else None


@dataclass(slots=True)
class Matches:
    """1 when the whole answer (or, with `search`, some part of it) matches the reference, a
    regular expression. A match that takes over `seconds` is none: patterns meet hostile text."""

    search: bool = False
    seconds: float = 1.0
    name: str = "regex"

    async def verify(self, item: Item) -> Score:
        import regex

        if (long := too_long(item.answer)) is not None:
            return long
        find = regex.search if self.search else regex.fullmatch
        try:
            found = find(str(item.reference), item.answer.strip(), timeout=self.seconds)
        except TimeoutError:
            return verdict(False, f"matching took over {self.seconds:g} s")
        except regex.error as error:
            return Score(abstained=True, evidence=f"the reference is no pattern: {error}")
        return verdict(found is not None, "matches" if found else "does not match")


@dataclass(slots=True)
class Citations:
    """F-beta of the ids that the answer cites as [[id]] against the reference, a list of ids.

    precision and recall over sets; beta > 1 favours recall (LongRLVR, paper 52, uses 2). With
    `count_repeats` precision is over all citations written, so that repeating one costs.
    """

    beta: float = 1.0
    count_repeats: bool = False
    pattern: str = r"\[\[([^\[\]]+)\]\]"
    name: str = "citations"
    _compiled: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._compiled = re.compile(self.pattern)

    async def verify(self, item: Item) -> Score:
        if (long := too_long(item.answer)) is not None:
            return long
        cited = [c.strip() for c in self._compiled.findall(item.answer)]
        given = len(cited) if self.count_repeats else len(set(cited))
        wanted = set(references(item.reference))
        right = set(cited) & wanted
        value = f_beta(len(right), given, len(wanted), self.beta)
        checks = [Check(f"cites/{id}", float(id in right), id in right) for id in sorted(wanted)]
        return Score(value, checks, evidence=f"{len(right)} of {len(wanted)}, {given} cited")


def f_beta(right: int, given: int, wanted: int, beta: float) -> float:
    """(1 + b^2) P R / (b^2 P + R) with P = right / given, R = right / wanted; 0 where none is
    right."""
    if not right:
        return 0.0
    precision, recall = right / given, right / wanted
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def jaccard(first: Iterable[str], second: Iterable[str]) -> float:
    """Shared share of two sets; 1 for two empty ones."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a | b else 1.0
