"""Paper 58, LaRe: an episode's return over its steps, by factors that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from agentrl.papers.kit.toys import Fixed, listed, table
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.learned.decomposition import (
    FactorCode,
    ReturnDecomposition,
    checked_factors,
    decomposition_loss,
    random_decomposition_loss,
)
from agentrl.rewards.resources import Resources

CLAIM = (
    "Constant factors, return 6, three steps: 2 each, which sum to 6; a function of the wrong "
    "shape is sent back with a message; an informative factor ranks good above bad steps."
)


def _model() -> ReturnDecomposition:
    writer = ScriptedChat(lambda text, seed: "")
    sandboxes = Resources.none().sandboxes
    assert sandboxes is not None
    return ReturnDecomposition(
        Fixed(), FactorCode(writer, sandboxes, source="-"), learning_rate=3e-2, epochs=150
    )


def _steps(model: ReturnDecomposition, factors: torch.Tensor) -> list[float]:
    assert model._decoder is not None
    with torch.no_grad():
        return model._decoder(factors).tolist()


def run(seeds: Sequence[int]) -> Measured:
    constant = torch.ones(3, 1)
    model = _model()
    model.update([(constant, 6.0)])
    found = _steps(model, constant)
    cases = listed("constant factors", [2, 2, 2], found)
    cases.append(("their sum", 6.0, sum(found)))
    r = torch.tensor([1.0, 2.0, 6.0])
    whole = float(random_decomposition_loss(r, 6.0, [0, 1, 2]))
    cases.append(("all steps drawn: no variance term", float(decomposition_loss(r, 6.0)), whole))
    cases.append(("shape [2] is refused", 1.0, float("shape" in checked_factors([1.0, 2.0], 2)[1])))
    cases.append(("shape [2, 1] is taken", 1.0, float(checked_factors([[1.0], [2.0]], 2)[1] == "")))
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        good = [(torch.rand(5, generator=generator) < 0.5).float() for _ in range(24)]
        model = _model()
        model.update([(g[:, None], float(g.sum())) for g in good])
        ranked = _steps(model, torch.tensor([[0.0], [1.0]]))
        kept = sum(_steps(model, good[0][:, None]))
        cases.append(
            (f"seed {seed}: a good step is worth more", 1.0, float(ranked[1] > ranked[0] + 0.5))
        )
        cases.append(
            (
                f"seed {seed}: return kept within .2",
                1.0,
                float(abs(kept - float(good[0].sum())) < 0.2),
            )
        )
    return table(cases, tolerance=0.01)
