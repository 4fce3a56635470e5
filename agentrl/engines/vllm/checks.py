"""What is looked at around an update, for both kinds of vLLM engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentrl.core import InfraError, TokenScores

Reference = Callable[[list[int]], np.ndarray]
"""log pi(tokens[i + 1] | tokens[..i]) of the weights that were handed over: float32[T - 1]."""


@dataclass(slots=True)
class Probe:
    """A few fixed tokens that engine and learner must see alike after every update.

    Attributes:
        vocabulary: ids are drawn below this.
        tolerance: largest mean difference of log-probabilities in nats: 1e-3 for float32; bfloat16
            differs by about 0.02 between two correct implementations.
    """

    reference: Reference
    vocabulary: int
    tolerance: float = 1e-3
    length: int = 48

    def tokens(self) -> list[int]:
        return np.random.default_rng(0).integers(0, self.vocabulary, self.length).tolist()

    def check(self, tokens: list[int], seen: TokenScores, where: str, version: int) -> None:
        """Raises `InfraError("weights_differ")`."""
        off = float(np.abs(seen.logprobs - self.reference(tokens)).mean())
        if not off <= self.tolerance:
            raise InfraError(
                "weights_differ",
                f"after weights version {version} was loaded, log-probabilities of {len(tokens)} "
                f"probe tokens differ from the learner's by {off:.2g} on average",
                where=where,
                fix="engine and learner do not compute the same model: compare dtype and model "
                "directory; with bfloat16 raise probe_tolerance",
            )


def checkpoint_shapes(model: str) -> dict[str, tuple[int, ...]] | None:
    """Shapes of a local model directory's tensors by name; None when there is no such directory."""
    from safetensors import safe_open

    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safe_open(str(file), "pt") as opened:
            shapes |= {n: tuple(opened.get_slice(n).get_shape()) for n in opened.keys()}  # noqa: SIM118
    return shapes or None


def as_tensors(weights: Mapping[str, Any] | Path, shapes: Mapping[str, Any] | None) -> Any:
    """Tensors by name, checked against the model's. Raises ModelError."""
    from agentrl.models import check_names, read_weights

    tensors = read_weights(weights) if isinstance(weights, Path) else weights
    if shapes is not None:
        tensors = under_names_of(shapes, tensors)
        check_names(shapes, {name: tuple(t.shape) for name, t in tensors.items()})
    return tensors


_NAMES_OF_PARTS = frozenset({"model", "language_model", "vision_model"})


def under_names_of(shapes: Mapping[str, Any], tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tensors of a vision-language model under their names in the checkpoint.

    Releases of transformers have renamed and reordered the parts of such models; checkpoints keep
    the names that they were published with, and vLLM knows those. As they are where that does not
    make them the checkpoint's one for one.
    """

    def bare(name: str) -> str:
        return ".".join(part for part in name.split(".") if part not in _NAMES_OF_PARTS)

    there = {bare(name): name for name in shapes}
    renamed = {there.get(bare(name), name): tensor for name, tensor in tensors.items()}
    fits = len(there) == len(shapes) and renamed.keys() == shapes.keys()
    return renamed if fits and len(renamed) == len(tensors) else tensors
