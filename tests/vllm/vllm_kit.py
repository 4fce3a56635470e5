"""Settings of a small vLLM on a CPU, and adapters for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from agentrl.engines.vllm import VLLMSettings
from agentrl.models import Policy, score_logprobs

PROMPT = np.random.default_rng(0).integers(5, 1200, 100).tolist()


def settings(model: Path, **more: Any) -> VLLMSettings:
    given = {
        "dtype": "float32",
        "max_model_len": 1024,
        "max_num_seqs": 32,
        "block_size": 32,
        "kv_cache_bytes": 64 << 20,
        "enforce_eager": True,
    }
    return VLLMSettings(str(model), **{**given, **more})


def forward(policy: Policy, tokens: list[int], start: int) -> np.ndarray:
    """log pi of tokens[start:] by a plain float32 forward pass."""
    return score_logprobs(policy, tokens)[start - 1 :]


def write_adapter(policy: Policy, path: Path, *, seed: int, rank: int = 4) -> dict[str, Any]:
    """A LoRA adapter on every query projection; returns the merged weights it stands for."""
    rng = torch.Generator().manual_seed(seed)
    merged = {n: w.detach().clone() for n, w in policy.model.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    for name in [n for n in merged if n.endswith("q_proj.weight")]:
        wide, deep = merged[name].shape
        a = 0.3 * torch.randn(rank, deep, generator=rng)
        b = 0.3 * torch.randn(wide, rank, generator=rng)
        base = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{base}.lora_A.weight"], tensors[f"{base}.lora_B.weight"] = a, b
        merged[name] += 2.0 * b @ a
    path.mkdir(parents=True)
    save_file(tensors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"]}
    (path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return merged
