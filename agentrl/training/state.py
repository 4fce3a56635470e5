"""What a checkpoint of a run holds, and how it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from agentrl.core import ModelError
from agentrl.store import RunStore

if TYPE_CHECKING:
    from agentrl.learner import Learner
    from agentrl.models import Policy


def save_state(
    store: RunStore,
    step: int,
    policy: Policy,
    learner: Learner,
    keep: int,
    remembered: Mapping[str, Any] | None = None,
) -> None:
    """Everything that the next step depends on: weights, optimiser, generators, and what parts of
    the loop (rewards, guidance, sampler) remember, by their names."""
    state = learner.state_dict()
    weights = dict(policy.model.state_dict())
    # The learner's copy of weights that the model's tensors already hold would double the file.
    state["weights"] = {n: t for n, t in state["weights"].items() if n not in weights}
    kept = {"learner": state, "torch_rng": torch.get_rng_state(), **(remembered or {})}
    store.save_checkpoint(step, weights, kept, keep=keep)


def restore_state(store: RunStore, policy: Policy, learner: Learner) -> tuple[int, dict[str, Any]]:
    """Go on where the newest sound checkpoint was taken; its step, and what parts remembered."""
    found = store.load_checkpoint("latest", fall_back=True)
    _load(policy, found.tensors, str(store.directory))
    state: dict[str, Any] = dict(found.state["learner"])
    mine = learner.state_dict()["weights"]
    state["weights"] = {
        n: state["weights"][n] if n in state["weights"] else found.tensors[n] for n in mine
    }
    learner.load_state_dict(state)
    torch.set_rng_state(found.state["torch_rng"])
    known = ("learner", "torch_rng")
    return found.step, {name: kept for name, kept in found.state.items() if name not in known}


def restore_weights(store: RunStore, policy: Policy) -> int | None:
    """Only the policy's newest weights; None when the run has no checkpoint."""
    if store.checkpoints.latest() is None:
        return None
    found = store.load_checkpoint("latest", fall_back=True)
    _load(policy, found.tensors, str(store.directory))
    return found.step


def _load(policy: Policy, tensors: dict[str, torch.Tensor], where: str) -> None:
    mine = policy.model.state_dict()
    odd = sorted(set(mine) ^ set(tensors)) or [
        n for n, t in mine.items() if t.shape != tensors[n].shape
    ]
    if odd:
        raise ModelError(
            f"the checkpoint is of another model: {odd[0]!r} does not match",
            where=where,
            fix="resume with the model that the run was started with",
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
