"""The run file: YAML, dotted overrides, and errors that say what to write instead."""

from agentrl.training.config.engines import (
    EndpointConfig,
    LiteLLMConfig,
    ScriptedConfig,
    TransformersConfig,
    VLLMConfig,
)
from agentrl.training.config.file import load_config, parse_config
from agentrl.training.config.sections import (
    AgentConfig,
    CustomConfig,
    DockerConfig,
    EvalConfig,
    ModelConfig,
    ProcessConfig,
    RecordedWarmstart,
    RunConfig,
    RunSection,
    SamplingConfig,
    ScriptedWarmstart,
    SearchConfig,
    SweConfig,
    TasksConfig,
    TrainConfig,
)

__all__ = [
    "AgentConfig",
    "CustomConfig",
    "DockerConfig",
    "EndpointConfig",
    "EvalConfig",
    "LiteLLMConfig",
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
    "VLLMConfig",
    "load_config",
    "parse_config",
]
