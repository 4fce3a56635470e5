"""What a mutation operator is, and the register of them.

An operator is a generator over one syntax node; it yields byte spans of the file and what to put
there, so that the rest of the file stays byte for byte as its author wrote it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentrl.environments.swe.functions import SourceMap


@dataclass(slots=True, frozen=True)
class Edit:
    """Put `new` in place of `source[start:end]` (bytes)."""

    start: int
    end: int
    new: bytes

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new + source[self.end :]


Operator = Callable[[ast.AST, SourceMap], Iterator[Edit]]

OPERATORS: dict[str, Operator] = {}
"""Every mutation operator by name."""


def operator(function: Operator) -> Operator:
    """Register a mutation operator under its function's name."""
    OPERATORS[function.__name__] = function
    return function
