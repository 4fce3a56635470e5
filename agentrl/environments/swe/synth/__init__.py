"""Bugs planted in packages, each kept only when a test notices it."""

from agentrl.environments.swe.synth.run import (
    HELD_OUT,
    TRAIN,
    SynthEvent,
    SynthReport,
    SynthSettings,
    held_out_file,
    synthesise,
)

__all__ = [
    "HELD_OUT",
    "TRAIN",
    "SynthEvent",
    "SynthReport",
    "SynthSettings",
    "held_out_file",
    "synthesise",
]
