"""The policy that divergences compare with, and LoRA adapters, whose absence can be that policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from agentrl.core import ConfigError
from agentrl.learner.head import tempered_logprobs
from agentrl.learner.pack import MicroBatch
from agentrl.learner.settings import LearnerSettings, Lora
from agentrl.learner.trunk import Trunk

Tensor = torch.Tensor


class ReferencePolicy:
    """A frozen copy, a moving average, or the policy with its adapter off."""

    def __init__(self, trunk: Trunk, settings: LearnerSettings) -> None:
        self._s = settings.reference
        self._policy = trunk.model
        if self._s.kind == "adapter_off":
            if settings.lora is None:
                raise ConfigError(
                    "the reference is the policy without its adapter, but there is no adapter",
                    where="learner.reference.kind",
                    fix="set learner.lora, or use kind: frozen",
                )
            self.trunk = trunk
            return
        model = copy.deepcopy(trunk.model).requires_grad_(False)
        self.trunk = Trunk(model, settings, trunk.vision)

    @torch.no_grad()
    def hidden(self, batch: MicroBatch) -> Tensor:
        """[N, d], the states that predict the trained tokens."""
        with self._active():
            return self.trunk.hidden(batch).index_select(0, batch.where)

    @torch.no_grad()
    def logprobs(self, batch: MicroBatch, power: Tensor | None = None) -> Tensor:
        """[N], of the trained tokens; `power` [N] multiplies each token's logits first."""
        hidden = self.hidden(batch)
        if power is None:
            return self.trunk.score(hidden, batch.target)[0]
        return tempered_logprobs(hidden, self.trunk.head, batch.target, power)

    @torch.no_grad()
    def follow(self) -> None:
        """After an optimiser step: a moving average moves."""
        if self._s.kind != "ema":
            return
        pairs = zip(self.trunk.model.parameters(), self._policy.parameters(), strict=True)
        for mine, theirs in pairs:
            mine.lerp_(theirs, self._s.rate)

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs; the adapter-off reference is in the policy."""
        if self._s.kind == "adapter_off":
            return {}
        return {n: p.detach().clone() for n, p in self.trunk.model.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        mine = dict(self.trunk.model.named_parameters())
        for name, value in state.items():
            mine[name].copy_(value)

    @contextmanager
    def _active(self) -> Iterator[None]:
        if self._s.kind != "adapter_off":
            yield
            return
        layers = _adapters(self.trunk.model)
        for layer in layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in layers:
                layer.enable_adapters(True)


def add_lora(model: Any, s: Lora) -> None:
    """Put fresh adapters into the model, in place, and freeze everything else.

    Raises:
        ConfigError: peft is not installed, or `targets` name no layer of the model.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ConfigError(
            "LoRA needs peft", where="learner.lora", fix='pip install "agentrl[lora]"'
        ) from error
    targets = _targets(model, s)
    config = LoraConfig(r=s.rank, lora_alpha=s.alpha, target_modules=targets, lora_dropout=0.0)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def _targets(model: Any, s: Lora) -> list[str]:
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    if s.targets == "all-linear":
        return sorted(linear)
    wanted = [s.targets] if isinstance(s.targets, str) else s.targets
    unknown = sorted(set(wanted) - linear)
    if unknown:
        raise ConfigError(
            f"no layer is called {unknown[0]!r}; there are: {', '.join(sorted(linear))}",
            where="learner.lora.targets",
        )
    return wanted


def _adapters(model: Any) -> list[Any]:
    from peft.tuners.tuners_utils import (  # type: ignore[import-not-found,unused-ignore]
        BaseTunerLayer,
    )

    return [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
