"""Who gives hints: one class per kind of tier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentrl.core import ChatModel, ConfigError
from agentrl.guidance.hints import Provider
from agentrl.guidance.providers.asked import Asked
from agentrl.guidance.providers.attempts import Feedback, Sibling
from agentrl.guidance.providers.repository import Files, Plan
from agentrl.guidance.providers.written import Prefix, Written
from agentrl.guidance.settings import Tier, Trigger


@dataclass(slots=True, frozen=True)
class Sources:
    """What providers are made with.

    Attributes:
        policy: the current policy as a chat model; None where there is none.
        chat: opens the model that a run file describes (description, where it stands).
        named: finds `module:Name`.
    """

    policy: ChatModel | None = None
    chat: Callable[[Any, str], ChatModel] | None = None
    named: Callable[[str, str], Any] | None = None


def make_provider(tier: Tier, trigger: Trigger, sources: Sources, where: str) -> Provider:
    """The provider of a tier. Raises ConfigError."""
    if tier.kind in ("self", "teacher"):
        return _asked(tier, sources, where)
    if tier.kind == "sibling":
        return Sibling(tier, trigger)
    plain: dict[str, Callable[[Tier], Provider]] = {
        "static": Written,
        "prefix": Prefix,
        "feedback": Feedback,
        "plan": Plan,
        "file": Files,
    }
    if tier.kind in plain:
        return plain[tier.kind](tier)
    made = sources.named(tier.kind, f"{where}.kind")(**tier.args) if sources.named else None
    if not isinstance(made, Provider):
        raise ConfigError(
            f"{tier.kind} gives no hints",
            where=f"{where}.kind",
            fix="a provider has `levels` and `async hint(ask, level)`; see "
            "agentrl.guidance.Provider",
        )
    return made


def _asked(tier: Tier, sources: Sources, where: str) -> Provider:
    if tier.kind == "teacher":
        model = sources.chat(tier.model, f"{where}.model") if sources.chat else None
        if model is None:
            raise ConfigError("no model can be opened here", where=f"{where}.model")
        return Asked(tier, model, fresh=False, temperature=0.0)
    if sources.policy is None:
        raise ConfigError(
            "there is no policy that could write hints",
            where=f"{where}.kind",
            fix="use kind: teacher with a model of its own",
        )
    return Asked(tier, sources.policy)
