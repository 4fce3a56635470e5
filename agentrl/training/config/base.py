"""What every section of a run file is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator

CUSTOM = "module:Name"


class Section(BaseModel):
    """Values are taken as written: no text for a number, no yes for a 1."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


def by_kind(default: str | None = None) -> Discriminator:
    """Tell the members of a union by their `kind`; a kind with a colon is a Python name."""

    def tag(value: Any) -> str | None:
        given = value.get("kind", default) if isinstance(value, dict) else None
        kind = getattr(value, "kind", given)
        if isinstance(kind, str) and ":" in kind:
            return f"kind={CUSTOM}"
        return None if kind is None else f"kind={kind}"

    return Discriminator(tag)
