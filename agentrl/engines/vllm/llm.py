"""vLLM's engine object: made in this process, and its outputs read."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentrl.core import Generation
from agentrl.engines.vllm.reading import generation, spread
from agentrl.engines.vllm.settings import NO_BINDING, VLLMSettings


def start(settings: VLLMSettings) -> Any:
    """vLLM's engine, with its core in this process.

    What vLLM does to the whole process on its way is undone: it seeds the generators, and its CPU
    build takes `torch.set_num_threads` away and ties threads to cores that the learner needs too.
    """
    import os
    import random

    import torch

    os.environ.setdefault(*NO_BINDING)
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.executor import Executor

    mine, numpys, set_threads = random.getstate(), np.random.get_state(), torch.set_num_threads
    try:
        with torch.random.fork_rng():
            config = EngineArgs(**settings.arguments()).create_engine_config()
            return LLMEngine(
                vllm_config=config,
                executor_class=Executor.get_class(config),
                log_stats=False,
                multiprocess_mode=False,
            )
    finally:
        torch.set_num_threads = set_threads
        random.setstate(mine)
        np.random.set_state(numpys)


def read_generation(output: Any, adapter_version: int | None, where: str) -> Generation:
    """A finished RequestOutput; its tokens are of the adapter's version when there is one."""
    (said,) = output.outputs
    tokens = list(said.token_ids)
    logprobs = [entry[token].logprob for token, entry in zip(tokens, said.logprobs, strict=True)]
    if adapter_version is None:
        spans = [(s.version, s.start, s.end) for s in said.weight_versions or ()]
        weights = spread(spans, len(tokens))
    else:
        weights = np.full(len(tokens), adapter_version, np.int32)
    return generation(tokens, logprobs, weights, said.finish_reason, where)
