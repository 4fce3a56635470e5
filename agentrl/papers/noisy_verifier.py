"""Paper 8, noisy verifiers: correct the reward, or weigh the score function instead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from agentrl.papers.kit.bandit import advantages, cosine, gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

CLAIM = (
    "with known error rates the expected gradient under a noisy verifier is the clean one: exactly "
    "(backward), or up to its length from the false negatives alone (forward)"
)
FALSE_POSITIVE, FALSE_NEGATIVE = 0.1, 0.3
TRUTH = (1.0, 0.0, 0.0)
KEPT = 1 - FALSE_POSITIVE - FALSE_NEGATIVE


def run(seeds: Sequence[int]) -> Measured:
    """Means over the channel, and the gradient averaged over every outcome of the noise."""
    from agentrl.training.diagnostics import AppealRate

    unbias = {
        "kind": "unbias",
        "false_positive": FALSE_POSITIVE,
        "false_negative": FALSE_NEGATIVE,
    }
    backward = {"algorithm": "noisy_backward", "returns": (unbias,)}
    forward = {
        "algorithm": "noisy_forward",
        "channels": {"outcome": {"constant": 1 - FALSE_NEGATIVE}},
    }
    scaled = {"outcome": {"scale": "std", "epsilon": 0}}
    group = toy_group([1.0, 0.0, 0.0, 1.0, 1.0])
    appeals = AppealRate(share=0.25)
    found = [
        Property("mean backward reward, right and wrong", (1.0, 0.0), _means(backward)),
        Property("mean forward weight", (0.0, -KEPT), _means(forward)),
        Property(
            "before group normalisation it does nothing",
            advantages(group, channels=scaled),
            advantages(group, channels=scaled, returns=(unbias,)),
            1e-12,
        ),
        Property(
            "false negatives by appeal (60 passed, 1 in 4 asked again, 10 flip)",
            0.4,
            appeals.update(positives=60, flipped=10),
        ),
    ]
    for seed in seeds:
        clean = gradient(toy_learner(seed, **_plain(backward)), [toy_group(TRUTH)])
        back, fore = (_expected_gradient(seed, s) for s in (backward, forward))
        raw = _expected_gradient(seed, _plain(backward))
        found += [
            Property(f"seed {seed}: backward, cosine with clean", 1.0, cosine(back, clean), 1e-9),
            Property(f"seed {seed}: ... length", 1.0, float(back.norm() / clean.norm())),
            Property(
                f"seed {seed}: forward is {KEPT:.1f} x clean with the baseline 1",
                0.0,
                float((fore - KEPT * (clean - _score(seed))).norm() / fore.norm()),
                1e-5,
            ),
            Property(f"seed {seed}: uncorrected is off", 1.0, float(cosine(raw, clean) < 0.999)),
        ]
    return measured(found)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"returns": ()}


def _means(settings: dict[str, Any]) -> tuple[float, float]:
    """Mean advantage of a truly right and of a truly wrong answer, over the channel."""
    high, low = advantages(toy_group([1.0, 0.0]), **settings)
    right = (1 - FALSE_NEGATIVE) * high + FALSE_NEGATIVE * low
    wrong = FALSE_POSITIVE * high + (1 - FALSE_POSITIVE) * low
    return right, wrong


def _expected_gradient(seed: int, settings: dict[str, Any]) -> Any:
    total: Any = 0.0
    for seen in product((0.0, 1.0), repeat=len(TRUTH)):
        chance = 1.0
        for truth, reward in zip(TRUTH, seen, strict=True):
            flips = FALSE_NEGATIVE if truth else FALSE_POSITIVE
            chance *= flips if truth != reward else 1 - flips
        total = total + chance * gradient(toy_learner(seed, **settings), [toy_group(seen)])
    return total


def _score(seed: int) -> Any:
    """The gradient of an advantage of one for every answer."""
    plain = {"algorithm": "noisy_backward", "returns": ()}
    return gradient(toy_learner(seed, **plain), [toy_group([1.0] * len(TRUTH))])
