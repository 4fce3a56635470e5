"""How long new weights take to reach vLLM, beside the memory bandwidth of one copy of them.

Needs vLLM in this interpreter: on a CPU, `make test-vllm` makes one.

    PYTHONPATH=. .venv-vllm/bin/python benchmarks/weight_sync.py --model models/smollm2-135m --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from agentrl.core import Sampling
from agentrl.engines.vllm import VLLMEngine, VLLMSettings
from agentrl.engines.vllm.transfer import SharedWeights
from agentrl.models import load_policy, named_weights


def best_ms(work: Callable[[], Any], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        spent.append(1e3 * (time.perf_counter() - started))
    return min(spent)


async def in_process_ms(model: str, weights: dict[str, torch.Tensor], repeats: int) -> float:
    """The whole of `load_weights` of vLLM in this process, with blocks in its cache."""
    engine = VLLMEngine(
        VLLMSettings(
            model,
            dtype="float32",
            max_model_len=512,
            enforce_eager=True,
            block_size=32,
            kv_cache_bytes=128 << 20,
        )
    )
    spent = []
    for version in range(repeats):
        await engine.generate([7] * 64, Sampling(1.0, 2))
        started = time.perf_counter()
        await engine.load_weights(version + 1, weights)
        spent.append(1e3 * (time.perf_counter() - started))
    await engine.close()
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--json", action="store_true", help="print one JSON line last")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = named_weights(load_policy(options.model))
    size = sum(w.numel() * w.element_size() for w in weights.values())
    twins = {n: torch.empty_like(w) for n, w in weights.items()}

    def copy() -> None:
        for name, twin in twins.items():
            twin.copy_(weights[name])

    shared = SharedWeights()
    result: dict[str, Any] = {
        "benchmark": "weight_sync",
        "megabytes": round(size / 1e6, 1),
        "threads": options.threads,
        "copy_ms": best_ms(copy, options.repeats),
        "to_shared_memory_ms": best_ms(lambda: shared.write(weights), options.repeats),
        "vllm_in_process_ms": asyncio.run(in_process_ms(options.model, weights, options.repeats)),
    }
    shared.close()
    for name in ("copy", "to_shared_memory", "vllm_in_process"):
        result[f"{name}_gb_s"] = round(size / 1e6 / result[f"{name}_ms"], 2)
        result[f"{name}_ms"] = round(result[f"{name}_ms"], 1)
        print(f"{name}: {result[f'{name}_ms']} ms, {result[f'{name}_gb_s']} GB/s")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
