"""The run file: YAML, dotted overrides, and errors that say what to write instead."""

from agentrl.training.config.file import load_config, parse_config
from agentrl.training.config.sections import (
    CustomConfig,
    DockerConfig,
    EvalConfig,
    ModelConfig,
    ProcessConfig,
    RecordedWarmstart,
    RunConfig,
    RunSection,
    SamplingConfig,
    ScriptedConfig,
    ScriptedWarmstart,
    SearchConfig,
    SweConfig,
    TasksConfig,
    TrainConfig,
    TransformersConfig,
)

__all__ = [
    "CustomConfig",
    "DockerConfig",
    "EvalConfig",
    "ModelConfig",
    "ProcessConfig",
    "RecordedWarmstart",
    "RunConfig",
    "RunSection",
    "SamplingConfig",
    "ScriptedConfig",
    "ScriptedWarmstart",
    "SearchConfig",
    "SweConfig",
    "TasksConfig",
    "TrainConfig",
    "TransformersConfig",
    "load_config",
    "parse_config",
]
