r"""Numbers: with units (pint), and sets of them (BeamPERL, paper 29)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from agentrl.core import Score
from agentrl.rewards.verifiers.base import Item, verdict

_LONGEST = 200
_PLAIN = re.compile(r"^[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?([eE][+-]?\d{1,3})?$")
_TIMES_TEN = re.compile(r"\s*(?:\\times|\\cdot|×|x|\*)\s*10\s*\^?\s*\{?([+-]?\d{1,3})\}?")
_QUANTITY = re.compile(
    r"^(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(?P<unit>.*)$"
)


def plain_number(text: str) -> float | None:
    """A number written as digits (1,000 and 3e8 too); None for all else, an expression included."""
    text = text.strip().strip("$").strip()
    if not text or len(text) > 60 or not any(c.isdigit() for c in text) or not _PLAIN.match(text):
        return None
    value = float(text.replace(",", ""))
    return value if math.isfinite(value) else None


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


@dataclass(slots=True)
class Quantity:
    """A number with a unit: "72 km/h" is "20 m/s".

    |answer - reference| <= relative * |reference| + absolute, in the reference's unit. A number
    without unit is right only where the reference has none (or `lenient`).
    """

    relative: float = 1e-3
    absolute: float = 0.0
    lenient: bool = False
    name: str = "quantity"

    async def verify(self, item: Item) -> Score:
        wanted = quantity(str(item.reference))
        if wanted is None:
            return Score(abstained=True, evidence=f"{item.reference!r} is no quantity")
        given = quantity(item.answer)
        if given is None:
            return verdict(False, "the answer is no quantity")
        (number, unit), (target, target_unit) = given, wanted
        if unit != target_unit and not (self.lenient and unit == ""):
            converted = _convert(number, unit, target_unit)
            if converted is None:
                return verdict(False, f"{unit or 'no unit'} is not {target_unit or 'a number'}")
            number = converted
        near = abs(number - target) <= self.relative * abs(target) + self.absolute
        return verdict(near, f"{number:g} {'is' if near else 'is not'} {target:g} {target_unit}")


def quantity(text: str) -> tuple[float, str] | None:
    """(number, unit) of a text that is exactly one quantity; the unit is "" when there is none."""
    text = text.strip().strip("$").replace("\\,", " ").replace("\\text", "").strip()
    if len(text) > _LONGEST:
        return None
    text = re.sub(r"[{}]", "", _TIMES_TEN.sub(r"e\1", text, count=1))
    found = _QUANTITY.match(text)
    if found is None or not any(c.isdigit() for c in found["number"]):
        return None
    number = float(found["number"].replace(",", ""))
    unit = found["unit"].strip().rstrip(".")
    if not math.isfinite(number) or not _is_unit(unit):
        return None
    return number, unit


def _is_unit(unit: str) -> bool:
    """Names and powers only: no further number may hide in it."""
    if unit == "":
        return True
    if not re.fullmatch(r"(?:[^\W\d]|[µμ°Ω%·*/ ()]|\^?-?\d(?!\d))+", unit) or unit[0].isdigit():
        return False
    try:
        _registry().parse_units(unit)
    except Exception:  # noqa: BLE001 - pint raises a dozen kinds on text that is no unit
        return False
    return True


def _convert(number: float, unit: str, target: str) -> float | None:
    import pint

    registry = _registry()
    try:
        converted = registry.Quantity(number, unit or None).to(target or "dimensionless")
    except pint.errors.PintError:
        return None
    return float(converted.magnitude)


@dataclass(slots=True)
class NumberSet:
    r"""A multiset of coefficients of a symbol (BeamPERL, paper 29): gold [.25, .75], answer
    ".75P, 0.25P".

    1 when every reference value is matched by a different answer value within `tolerance` and
    none is left over, else 0. (The released code does not reject surplus values, so listing many
    is rewarded there.) Decimals, a/b, \frac{a}{b}, "P" alone for 1, "3P/4".
    """

    symbol: str = ""
    tolerance: float = 1e-4
    separator: str = ","
    name: str = "number_set"
    _number: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        digits = r"\d+(?:\.\d+)?|\.\d+"
        symbol = f"(?:{re.escape(self.symbol)})?" if self.symbol else ""
        self._number = re.compile(
            rf"(?P<sign>[+-]?)(?P<top>{digits})?{symbol}(?:/(?P<bottom>{digits}))?{symbol}"
        )

    async def verify(self, item: Item) -> Score:
        given = self.read(item.answer)
        if given is None:
            return verdict(False, "not a list of numbers")
        wanted = sorted(float(x) for x in item.reference)
        right = len(given) == len(wanted) and all(
            abs(a - b) <= self.tolerance for a, b in zip(sorted(given), wanted, strict=True)
        )
        return verdict(right, f"{sorted(given)} against {wanted}")

    def read(self, text: str) -> list[float] | None:
        """The coefficients in a text; None when a part of it is none."""
        if len(text) > _LONGEST:
            return None
        text = re.sub(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}", r"\1/\2", text.strip().strip("$"))
        values = [self._coefficient(part) for part in text.split(self.separator)]
        return None if None in values else [v for v in values if v is not None]

    def _coefficient(self, part: str) -> float | None:
        part = re.sub(r"\s|\\cdot|\*", "", part)
        found = self._number.fullmatch(part)
        if found is None or part.count(self.symbol or "\0") > 1:
            return None
        symbolic = bool(self.symbol) and self.symbol in part
        if found["top"] is None and not symbolic:
            return None
        top, bottom = float(found["top"] or 1), float(found["bottom"] or 1)
        if bottom == 0 or not math.isfinite(top) or (self.symbol and not symbolic and top != 0):
            return None
        return (-1 if found["sign"] == "-" else 1) * top / bottom
