"""A policy's weights by name: to hand them on, to take them over, to read them from a directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from agentrl.core import ModelError
from agentrl.models.policy import Policy


def named_weights(policy: Policy) -> dict[str, torch.Tensor]:
    """The model's own tensors by name, no copies; tied ones under their first name only."""
    return dict(policy.model.named_parameters())


def copy_weights(policy: Policy, weights: Mapping[str, torch.Tensor]) -> None:
    """Take weights over in place; the model's own tensors are left as they are.

    Raises:
        ModelError: a name is missing or unknown or a shape differs; then nothing is changed.
    """
    own = named_weights(policy)
    if same_tensors(own, weights):
        return
    tied = set(policy.model.state_dict()) - set(own)
    check_names(
        {name: tuple(w.shape) for name, w in own.items()},
        {name: tuple(w.shape) for name, w in weights.items() if name not in tied},
    )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])


def same_tensors(own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> bool:
    """Whether both hold the very same tensor objects under the same names."""
    return len(own) == len(given) and all(given.get(n) is w for n, w in own.items())


def check_names(own: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> None:
    """Weights that match nothing would be left out in silence, and nothing would be learned.

    Args:
        own, given: shapes by name.

    Raises:
        ModelError: they are not the same.
    """
    odd = sorted(set(own) ^ set(given)) or sorted(n for n in own if own[n] != given[n])
    if not odd:
        return
    name = odd[0]
    here, there = (
        f"has it as {list(of[name])}" if name in of else "does not have it" for of in (own, given)
    )
    raise ModelError(
        f"{len(odd)} weights do not match, {name!r} first: the model {here}, "
        f"what is loaded {there}",
        fix="load weights of the very architecture that the engine was started with",
    )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a model directory, mapped from its safetensors files. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = path / "model.safetensors.index.json"
    try:
        names = (
            sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
            if index.is_file()
            else ["model.safetensors"]
        )
        return {k: v for name in names for k, v in load_file(path / name).items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"the weights cannot be read: {error}",
            where=str(path),
            fix="give a directory with model.safetensors, or with its index and all its parts",
        ) from error
