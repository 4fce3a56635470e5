"""The run file: YAML, dotted overrides, and errors that say what to write instead."""

from agentrl.training.config.engines import (
    EndpointConfig,
    LiteLLMChatConfig,
    LiteLLMConfig,
    ScriptedConfig,
    TransformersConfig,
    VLLMConfig,
)
from agentrl.training.config.file import load_config, parse_config
from agentrl.training.config.sandboxes import DockerConfig, ProcessConfig
from agentrl.training.config.sections import (
    AgentConfig,
    CustomConfig,
    EvalConfig,
    GuiConfig,
    ModelConfig,
    RecordedWarmstart,
    RunConfig,
    RunSection,
    SamplingConfig,
    ScriptedWarmstart,
    SearchConfig,
    SimulatedConfig,
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
    "GuiConfig",
    "LiteLLMChatConfig",
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
    "SimulatedConfig",
    "SweConfig",
    "TasksConfig",
    "TrainConfig",
    "TransformersConfig",
    "VLLMConfig",
    "load_config",
    "parse_config",
]
