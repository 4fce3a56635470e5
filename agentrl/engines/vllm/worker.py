"""What runs inside vLLM's worker: taking new weights over. Imports vLLM only when called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class WeightLoader:
    """Methods that vLLM mixes into its worker (`worker_extension_cls`)."""

    model_runner: Any

    def agentrl_load_file(self, path: str) -> None:
        """Take over the tensors of a safetensors file that this worker can read."""
        from safetensors.torch import load_file

        load_into(self, load_file(path))


def load_into(worker: Any, weights: Mapping[str, Any]) -> None:
    """Replace the weights of a worker's model in place, and see that its output layer follows.

    Args:
        weights: all tensors of the model by their names in the checkpoint.

    Raises:
        RuntimeError: the output layer still computes with other numbers than it was given.
    """
    runner = worker.model_runner
    runner.reload_weights(weights_iterator=iter(weights.items()))
    _repack_embeddings(runner.get_model())


def _repack_embeddings(model: Any) -> None:
    """Pack embedding matrices anew that serve as output layers.

    The CPU build multiplies by a packed copy. Reloading repacks linear layers, but an output layer
    that is tied to the embedding keeps the copy of the old weights.
    """
    import torch
    from vllm.model_executor.layers import utils
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if not isinstance(module, VocabParallelEmbedding) or not hasattr(module, "cpu_linear"):
            continue
        weight = module.weight
        utils.dispatch_cpu_unquantized_gemm(module, remove_weight=False)
        probe = weight[:2].detach().to(weight.dtype)
        got = module.cpu_linear(probe, weight, None).float()
        want = torch.nn.functional.linear(probe.float(), weight.float())
        worst = (got - want).abs().max().item()
        if not worst <= 1e-2 * max(want.abs().max().item(), 1e-6):
            raise RuntimeError(f"the output layer is off by {worst} after its weights were loaded")
