"""Guidance: what to do when a policy cannot do a task. Seven choices, see `GuidanceSettings`."""

from __future__ import annotations

from agentrl.guidance.assist import Assisted, Guidance, add_metrics
from agentrl.guidance.hints import Ask, Hint, Provider, Rungs
from agentrl.guidance.presets import PRESETS
from agentrl.guidance.providers import Sources, make_provider
from agentrl.guidance.search import Means
from agentrl.guidance.settings import GuidanceSettings

__all__ = [
    "PRESETS",
    "Ask",
    "Assisted",
    "Guidance",
    "GuidanceSettings",
    "Hint",
    "Means",
    "Provider",
    "Rungs",
    "Sources",
    "add_metrics",
    "build_guidance",
    "make_provider",
]


def build_guidance(settings: GuidanceSettings, sources: Sources, *, steps: int) -> Guidance:
    """Guidance with its providers made. Raises ConfigError for a tier that cannot be."""
    providers = [
        make_provider(tier, settings.trigger, sources, f"guidance.ladder.tiers.{i}")
        for i, tier in enumerate(settings.ladder.tiers)
    ]
    return Guidance(settings, Rungs(settings.ladder, providers), steps=steps)
