"""Software-engineering tasks: made, verified, worked on and graded."""

from agentrl.environments.swe.environment import SweEnvironment
from agentrl.environments.swe.grade import Grader, Verdict
from agentrl.environments.swe.sdist import PackageError
from agentrl.environments.swe.synth import SynthEvent, SynthReport, SynthSettings, synthesise

__all__ = [
    "Grader",
    "PackageError",
    "SweEnvironment",
    "SynthEvent",
    "SynthReport",
    "SynthSettings",
    "Verdict",
    "synthesise",
]
