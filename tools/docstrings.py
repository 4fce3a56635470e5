"""Google-style docstrings: the description of a tool and of its arguments."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Attributes|Notes?|Examples?|"
    r"Warnings?|See Also|References?|Todo):\s*$"
)
_ARGUMENT = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def parse_docstring(doc: str | None) -> tuple[str, dict[str, str]]:
    """Split a docstring into its description and its `Args:` entries.

    Lines of one paragraph are joined. Sections other than `Args:` are for people who read the
    code, and are left out.
    """
    lines = inspect.cleandoc(doc or "").splitlines()
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in lines:
        if match := _SECTION.match(line):
            current = match[1]
            sections[current] = []
        else:
            sections[current].append(line)
    arguments: dict[str, str] = {}
    for title in ("Args", "Arguments", "Parameters"):
        arguments.update(_arguments(sections.get(title, [])))
    return _paragraphs(sections[""]), arguments


def _paragraphs(lines: list[str]) -> str:
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n".join(" ".join(p.split()) for p in paragraphs)


def _arguments(lines: list[str]) -> dict[str, str]:
    """Entries start at the section's own indentation; deeper lines continue them."""
    body = [line for line in lines if line.strip()]
    if not body:
        return {}
    indent = min(len(line) - len(line.lstrip()) for line in body)
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for line in body:
        match = _ARGUMENT.match(line[indent:])
        if match and not line[indent:].startswith(" "):
            words = found[match[1]] = [match[2]]
        else:
            words.append(line.strip())
    return {name: " ".join(" ".join(parts).split()) for name, parts in found.items()}
