"""The policy that divergences compare with."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch

from agentrl.core import ConfigError
from agentrl.learner.pack import MicroBatch
from agentrl.learner.settings import LearnerSettings
from agentrl.learner.trunk import Trunk
from agentrl.models.logprobs import tempered_logprobs
from agentrl.models.lora import adapters_off

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
        off = adapters_off(self._policy) if self._s.kind == "adapter_off" else nullcontext()
        with off:
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
