"""The papers that are settings of the learner: their numbers hold, and their checks can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from agentrl.learner import PRESETS, credit, losses
from agentrl.learner.extensions import hindsight, influence
from agentrl.papers import check
from agentrl.training import diagnostics

Break = Callable[[pytest.MonkeyPatch], None]


def preset(name: str, **changes: Any) -> Break:
    """The algorithm of that name without what makes it the paper's."""
    return lambda patch: patch.setitem(PRESETS, name, PRESETS[name] | changes)  # type: ignore[arg-type]


def replaced(owner: Any, name: str, value: Any) -> Break:
    return lambda patch: patch.setattr(owner, name, value)


def as_biased(n: int, correct: int, k: int) -> float:
    return 1.0 - (1.0 - correct / n) ** k


def only_reverse(
    logp: torch.Tensor, target: torch.Tensor, estimator: str, _: str, ratio: torch.Tensor
) -> torch.Tensor:
    return divergence(logp, target, estimator, "reverse", ratio)


def unclipped(advantage: torch.Tensor, _: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros_like(advantage), torch.full_like(advantage, torch.inf)


def without_transforms(episodes: Any, group: Any, _: Any) -> np.ndarray:
    return returns(episodes, group, ())


divergence, returns, change = losses.divergence, credit.returns, hindsight.change

BROKEN: dict[str, Break] = {
    "noisy_verifier": replaced(credit, "returns", without_transforms),
    "real": preset("real", link={"kind": "logsumexp", "score": "mean", "threshold": "mean"}),
    "pipo": replaced(hindsight, "change", lambda *given: abs(change(*given))),
    "trapo": preset("trapo", returns=()),
    "dispo": preset("dispo", coefficient=PRESETS["cispo"]["coefficient"]),
    "pacs": preset("pacs", link={"kind": "bce", "balance": "both"}),
    "clip_entropy": replaced(losses, "clip_bounds", unclipped),
    "fapo": preset("fapo", returns=PRESETS["nsr"]["returns"]),
    "thr": replaced(influence, "emphasis", lambda s, *_: np.ones(len(s))),
    "invisible_leash": replaced(diagnostics, "pass_at_k", as_biased),
    "tulu3": preset("tulu3", returns=PRESETS["tulu3"]["returns"][:1]),
    "policy_cliff": replaced(diagnostics, "policy_shift_bound", lambda *_: 1e-6),
    "rapo": replaced(losses, "divergence", only_reverse),
    "bidirectional": preset("pairs", field={"roles": {}}),
    "nsr": preset("nsr", field=PRESETS["psr"]["field"]),
}


@pytest.mark.parametrize("key", BROKEN)
def test_the_numbers_of_the_source_hold(key: str) -> None:
    result = check(key, seeds=(0,))
    assert result.passed, result.table()


@pytest.mark.parametrize("key", BROKEN)
def test_the_check_fails_where_the_method_is_broken(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN[key](monkeypatch)
    assert not check(key, seeds=(0,)).passed
