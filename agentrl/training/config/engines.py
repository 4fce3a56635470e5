"""Sections of a run file: who produces tokens, and models behind an API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from agentrl.training.config.base import Section, by_kind


class TransformersConfig(Section):
    """The embedded engine: transformers in this process, on the model's device."""

    kind: Literal["transformers"] = "transformers"
    max_slots: Annotated[int, Field(ge=1)] = 64
    """Conversations that are decoded at once; more wait for a slot."""
    step_tokens: Annotated[int, Field(ge=1)] = 2048
    """New tokens of one forward pass, at most about."""
    cache_tokens: Annotated[int, Field(ge=1)] = 262144
    """Tokens of all KV caches together; the least used conversation is dropped beyond it."""


class VLLMConfig(Section):
    """vLLM: in this process, or servers of its own. Weights are handed over after every step."""

    kind: Literal["vllm"] = "vllm"
    servers: Annotated[int, Field(ge=0)] = 0
    """Servers to start on this machine; 0: vLLM runs in this process."""
    urls: list[str] = []
    """Servers that run already, instead of starting any."""
    python: str | None = None
    """Interpreter that has vLLM, for the servers; None is this one."""
    devices: list[str] = []
    """CUDA_VISIBLE_DEVICES of each server."""
    threads: Annotated[int | None, Field(ge=1)] = None
    """OMP_NUM_THREADS of each server."""
    weights_dir: str | None = None
    """Where weights are handed to servers; None is this machine's memory."""
    key_env: str = ""
    """Environment variable with the bearer token of the servers."""
    max_model_len: Annotated[int | None, Field(ge=2)] = None
    """Longest sequence; None is what the model says."""
    max_num_seqs: Annotated[int, Field(ge=1)] = 256
    """Conversations that are decoded at once, by each server."""
    block_size: Annotated[int | None, Field(ge=1)] = None
    """Tokens of a block of the KV cache; 32 reuses more of short turns on a CPU."""
    kv_cache_mb: Annotated[int | None, Field(ge=1)] = None
    """KV cache in MiB; None: vLLM measures what is free."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the GPU's memory that vLLM may use in all."""
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    """GPUs that hold one copy of the model together."""
    enforce_eager: bool = False
    """No compilation and no graphs: starts sooner, decodes slower on a GPU."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Largest rank of LoRA adapters that are loaded while it runs; 0: none."""
    probe_tolerance: Annotated[float, Field(ge=0)] = 1e-3
    """Nats by which engine and learner may differ on probe tokens after an update (bfloat16: about
    0.05); 0: not looked at."""
    args: dict[str, Any] = {}
    """Further engine arguments by vLLM's own names."""


class EndpointConfig(Section):
    """A model behind an API."""

    model: str
    """litellm's name of the model: openai/..., anthropic/..., hosted_vllm/..."""
    api_base: str = ""
    """Base URL of a server of your own; empty is the provider's."""
    api_key_env: str = ""
    """Environment variable with the key; empty is the provider's usual one."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one attempt."""
    deadline: Annotated[float, Field(gt=0)] = 600.0
    """Seconds for a call, all its attempts included."""
    attempts: Annotated[int, Field(ge=1)] = 9
    """How often a call is sent at most."""
    concurrency: Annotated[int, Field(ge=1)] = 32
    """Calls in flight at once."""
    budget: Annotated[float | None, Field(gt=0)] = None
    """US dollars that may be spent; None: no limit."""
    price_in: Annotated[float | None, Field(ge=0)] = None
    """US dollars per million prompt tokens, where litellm does not know it."""
    price_out: Annotated[float | None, Field(ge=0)] = None
    """US dollars per million answer tokens, where litellm does not know it."""
    extra: dict[str, Any] = {}
    """Further parameters of each request."""


class LiteLLMConfig(EndpointConfig):
    """A model behind an API in the place of the policy: for evaluation, and episodes to imitate.
    `model` of the run file is not loaded."""

    kind: Literal["litellm"] = "litellm"


class LiteLLMChatConfig(EndpointConfig):
    """A judge, teacher or simulator behind an API."""

    kind: Literal["litellm"] = "litellm"
    cache: str | None = None
    """File that keeps its answers, shared by runs that name it; None: every question is sent."""


class ScriptedConfig(Section):
    """A program in the place of the policy: for tests, examples and warm-start episodes."""

    kind: Literal["scripted"] = "scripted"
    script: str
    """Python name module:function; called with a seed, it yields messages and is sent answers."""


EngineConfig = Annotated[
    Annotated[TransformersConfig, Tag("kind=transformers")]
    | Annotated[VLLMConfig, Tag("kind=vllm")]
    | Annotated[LiteLLMConfig, Tag("kind=litellm")]
    | Annotated[ScriptedConfig, Tag("kind=scripted")],
    by_kind("transformers"),
]
