"""What a vLLM engine is started with, in this process or as a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What vLLM makes room for.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Else every vLLM on a CPU ties itself to the same first cores.
NO_BINDING = ("VLLM_CPU_OMP_THREADS_BIND", "nobind")
WORKER = "agentrl.engines.vllm.worker.WeightLoader"


@dataclass(slots=True, frozen=True)
class VLLMSettings:
    """
    Attributes:
        model: a model directory or a hub name.
        dtype: "float32", "bfloat16", "float16" or "auto".
        max_model_len: longest sequence; None: what the model's configuration says.
        max_num_seqs: sequences that run at once.
        block_size: tokens of one block of the KV cache; None: vLLM's choice (128 on a CPU, where 32
            reuses more of short turns).
        kv_cache_bytes: size of the KV cache; None: vLLM measures what is free, which takes a while.
        gpu_memory_utilization: share of the GPU's memory that vLLM may use in all.
        tensor_parallel: GPUs that hold one copy of the model together.
        enforce_eager: no compilation and no graphs: starts in seconds, decodes slower on a GPU.
        lora_rank: largest rank of adapters that `load_weights` may be given; 0: none.
        extra: further engine arguments by the names that vLLM's EngineArgs gives them.
    """

    model: str
    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 256
    block_size: int | None = None
    kv_cache_bytes: int | None = None
    gpu_memory_utilization: float = 0.9
    tensor_parallel: int = 1
    enforce_eager: bool = False
    lora_rank: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of vLLM's EngineArgs."""
        found: dict[str, Any] = {
            "model": self.model,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "max_num_seqs": self.max_num_seqs,
            "block_size": self.block_size,
            "kv_cache_memory_bytes": self.kv_cache_bytes,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "tensor_parallel_size": self.tensor_parallel,
            "enforce_eager": self.enforce_eager,
            # The directory's own top-p, top-k and penalties would bend what is sampled.
            "generation_config": "vllm",
            "logprobs_mode": "raw_logprobs",
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "worker_extension_cls": WORKER,
        }
        if self.tensor_parallel == 1:
            # No process for one worker: the CPU build would start one.
            found["distributed_executor_backend"] = "uni"
        if self.lora_rank:
            # The old adapter serves out its requests beside the new one.
            rank = next((r for r in _RANKS if r >= self.lora_rank), self.lora_rank)
            found |= {"enable_lora": True, "max_loras": 2, "max_lora_rank": rank}
        found |= self.extra
        return {name: value for name, value in found.items() if value is not None}

    def flags(self) -> list[str]:
        """The same as command line flags of vLLM's server."""
        out: list[str] = []
        for name, value in self.arguments().items():
            flag = f"--{name.replace('_', '-')}"
            if value is True:
                out.append(flag)
            elif value is False:
                continue
            else:
                out += [flag, str(value)]
        return out


def sampling_fields(temperature: float, max_tokens: int, stop: tuple[int, ...], seed: int) -> dict:
    """Fields of vLLM's SamplingParams; what would bend the distribution is off by name.

    Stop ids are ours alone (`ignore_eos`); the one that is sampled stays in the tokens.
    """
    return {
        "temperature": temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": max_tokens,
        "stop_token_ids": list(stop),
        "ignore_eos": True,
        # Generators of all platforms take what fits into 63 bits.
        "seed": seed & ((1 << 63) - 1),
        "logprobs": 0,
        "detokenize": False,
    }
