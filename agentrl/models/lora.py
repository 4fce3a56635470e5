"""LoRA adapters through peft: put into a model in place, and switched off for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from agentrl.core import ConfigError


def add_lora(model: Any, *, rank: int, alpha: int, targets: str | Sequence[str]) -> None:
    """Put fresh adapters into the model, in place, and freeze everything else.

    Args:
        targets: names of layers; "all-linear" takes all but the language head.

    Raises:
        ConfigError: peft is not installed, or `targets` name no layer of the model.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            "LoRA needs peft", where="learner.lora", fix='pip install "agentrl[lora]"'
        ) from error
    names = _layers(model, targets)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


@contextmanager
def adapters_off(model: Any) -> Iterator[None]:
    """The model as it was before `add_lora`."""
    from peft.tuners.tuners_utils import (  # type: ignore[import-not-found,unused-ignore]
        BaseTunerLayer,
    )

    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _layers(model: Any, targets: str | Sequence[str]) -> list[str]:
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if targets == "all-linear":
        return sorted(linear)
    wanted = [targets] if isinstance(targets, str) else list(targets)
    unknown = sorted(set(wanted) - linear)
    if unknown:
        raise ConfigError(
            f"no layer is called {unknown[0]!r}; there are: {', '.join(sorted(linear))}",
            where="learner.lora.targets",
        )
    return wanted
