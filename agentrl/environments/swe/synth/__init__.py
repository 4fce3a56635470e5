"""Bugs planted in packages, each kept only when a test notices it."""

from agentrl.environments.swe.synth.run import (
    SynthEvent,
    SynthReport,
    held_out_file,
    synthesise,
)
from agentrl.environments.swe.synth.settings import HELD_OUT, TRAIN, SynthSettings

__all__ = [
    "HELD_OUT",
    "TRAIN",
    "SynthEvent",
    "SynthReport",
    "SynthSettings",
    "held_out_file",
    "synthesise",
]
