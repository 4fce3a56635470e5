"""Algorithms as settings of the eight stages, one readable entry each.

A preset is a plain nested dict of `LearnerSettings` keys; what a user gives is merged over it.
"""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

SIGNS = ({"kind": "affine", "scale": 2.0, "shift": -1.0},)
"""0/1 rewards -> -1/+1."""
PLAIN = {"outcome": {"by": (), "baseline": "none"}}
"""The advantage is the reward."""

PRESETS: dict[str, Preset] = {
    # Shao et al. 2024 (DeepSeekMath): group mean and std, clip, mean of sequence means.
    "grpo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "sequence"},
    },
    # Liu et al. 2025 (Understanding R1-Zero): no std, no division by length.
    "dr_grpo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "none"}},
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "constant", "constant": 1024},
    },
    # Yu et al. 2025 (DAPO): clip-higher, token mean, refill, overlong filter by stop reason.
    "dapo": {
        "refill": 3,
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "field": {"flags": {"truncated": 0.0}},
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.28},
        "aggregation": {"kind": "token"},
    },
    # Zheng et al. 2025 (GSPO): the ratio is the sequence's geometric mean.
    "gspo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "ratio": {"level": "row"},
        "coefficient": {"kind": "ppo_clip", "low": 3e-4, "high": 4e-4},
        "aggregation": {"kind": "sequence"},
    },
    # MiniMax 2025 (CISPO): detached ratio, clipped above only; no token loses its gradient.
    "cispo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "coefficient": {"kind": "is_clip", "low": None, "high": 0.28},
        "aggregation": {"kind": "token"},
    },
    # Kool et al. 2019, Ahmadian et al. 2024: leave-one-out baseline, plain policy gradient.
    "rloo": {
        "channels": {"outcome": {"baseline": "leave_one_out", "scale": "none"}},
        "coefficient": {"kind": "reinforce"},
        "aggregation": {"kind": "sequence"},
    },
    # Hu 2025: no group baseline; advantages whitened over all trained tokens of the batch.
    "reinforce++": {
        "channels": {"outcome": {"by": (), "baseline": "none", "scale": "none"}},
        "whiten": True,
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "token"},
    },
    # Hu 2025, baseline form: group mean first, then whitened over the batch.
    "reinforce++_baseline": {
        "channels": {"outcome": {"baseline": "mean", "scale": "none"}},
        "whiten": True,
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "token"},
    },
    # Feng et al. 2025 (GiGPO): episode groups plus groups of turns that start from one state.
    "gigpo": {
        "channels": {
            "outcome": {"baseline": "mean", "scale": "std"},
            "anchor": {
                "source": "return",
                "by": ("group", "state"),
                "baseline": "mean",
                "scale": "std",
                "discount": 0.95,
            },
        },
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "token"},
    },
    # Process rewards: reward-to-go of the steps, compared turn by turn inside the group.
    "process": {
        "channels": {
            "steps": {"source": "steps", "by": ("group", "turn"), "scale": "std"},
        },
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "turn"},
    },
    # Kazemnejad et al. 2024 (VinePPO), in turns: a turn's advantage is the difference of two state
    # values, each the mean of continuations from there (agentrl.episodes.vine).
    "vine": {
        "channels": {
            "steps": {"source": "steps", "by": (), "baseline": "none", "discount": 0.0},
        },
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "turn"},
    },
    # Schulman et al. 2017: a critic, GAE over trained tokens, whitened, clipped both ways.
    "ppo": {
        "critic": {"kind": "head", "gamma": 1.0, "lam": 0.95, "clip": 0.2},
        "whiten": True,
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "token"},
    },
    # Lambert et al. 2024 (Tulu 3 RLVR): 10 for a pass, -10 when cut off, k1 KL in the reward.
    "tulu3": {
        "learning_rate": 3e-7,
        "returns": (
            {"kind": "affine", "scale": 10.0},
            {"kind": "replace", "flag": "truncated", "shift": -10.0},
        ),
        "critic": {
            "kind": "model",
            "gamma": 1.0,
            "lam": 0.95,
            "clip": 0.2,
            "coefficient": 0.1,
            "learning_rate": 3e-7,
            "bootstrap": False,
        },
        "whiten": True,
        "divergences": {"kl": {"estimator": "k1", "place": "reward", "coefficient": 0.05}},
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.2},
        "aggregation": {"kind": "token"},
    },
    # DISPO: detached ratio with bounds of its own for wrong answers (bounds derived, not given).
    "dispo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "coefficient": {
            "kind": "is_clip",
            "low": 0.2,
            "high": 0.28,
            "negative_low": 1.0,
            "negative_high": 9.0,
        },
        "aggregation": {"kind": "token"},
    },
    # PACS: classify each answer by its log ratio against the others' (BCE, balanced classes).
    "pacs": {
        "link": {"kind": "bce", "score": "sum", "contrast": "leave_one_out", "balance": "both"}
    },
    # REAL: rewards as labels; log-sum-exp over both classes with an anchor of zero, tau 0.5.
    "real": {"link": {"kind": "logsumexp", "score": "mean", "scale": 2.0, "threshold": "mean"}},
    # RLVR decomposed (0/1 rewards): only wrong answers, only right ones, right ones at a tenth.
    "nsr": {"returns": SIGNS, "channels": PLAIN, "field": {"positive": 0.0}},
    "psr": {"returns": SIGNS, "channels": PLAIN, "field": {"negative": 0.0}},
    "w_reinforce": {"returns": SIGNS, "channels": PLAIN, "field": {"positive": 0.1}},
    # FAPO: right answers that a judge finds flawed are worth 0 instead of 1, wrong ones -1.
    "fapo": {
        "refill": 3,
        "returns": (*SIGNS, {"kind": "penalty", "flag": "flawed", "shift": 1.0}),
        "channels": {"outcome": {"baseline": "mean", "scale": "std", "ddof": 0}},
        "coefficient": {"kind": "ppo_clip", "low": 0.2, "high": 0.28},
        "aggregation": {"kind": "token"},
    },
    # Noisy verifiers: unbiased reward, or a constant baseline that needs false negatives only.
    "noisy_backward": {
        "returns": ({"kind": "unbias", "false_positive": 0.1, "false_negative": 0.1},),
        "channels": PLAIN,
    },
    "noisy_forward": {
        "channels": {"outcome": {"by": (), "baseline": "constant", "constant": 0.9}},
    },
    # RAPO: forward KL from a reference that low rewards flatten, and entropy (values derived).
    "rapo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "divergences": {
            "reference": {"target": "tempered", "direction": "forward", "coefficient": 1e-3},
            "entropy": {"target": "uniform", "coefficient": 1e-3},
        },
        "aggregation": {"kind": "sequence"},
    },
    # Guide: hints are taken out; what they led to is shaped, not clipped (0.9 quantile of ratios).
    "guide": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "ratio": {"hints": "strip"},
        "off_policy": {"kind": "shape", "quantile": 0.9},
        "aggregation": {"kind": "token"},
    },
    # TraPO: unlabelled tasks are judged by majority; those not selected weigh nothing.
    "trapo": {
        "returns": ({"kind": "majority", "flag": "unlabelled"},),
        "channels": {"outcome": {"baseline": "mean", "scale": "none"}},
        "field": {"flags": {"unselected": 0.0}},
        "coefficient": {"kind": "reinforce"},
        "divergences": {"entropy": {"target": "uniform", "coefficient": 1e-3}},
        "aggregation": {"kind": "constant"},
    },
    # Weighted GRPO: pairs of a hard and an easy task; their rare outcomes weigh more.
    "pairs": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std", "ddof": 0}},
        "field": {"roles": {"hard": (2.0, 1.0), "easy": (1.0, 2.0)}},
        "aggregation": {"kind": "sequence"},
    },
    # THR: tokens that raise the group's correct answers weigh more (p > 0) or less (p < 0).
    "thr": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "field": {"hidden": {"p": 0.1}},
        "aggregation": {"kind": "token"},
    },
    # PIPO: each batch is judged again by whether the next one did better (0.1 if it did worse).
    "pipo": {
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "hindsight": {"window": 8, "negative": 0.1},
        "aggregation": {"kind": "sequence"},
    },
}


def merge(base: Preset, over: Preset) -> Preset:
    """`over` laid on `base`, nested dicts merged, everything else replaced; inputs untouched."""
    out = dict(base)
    for key, value in over.items():
        known = out.get(key)
        nested = isinstance(known, dict) and isinstance(value, dict)
        out[key] = merge(known, value) if nested else value  # type: ignore[arg-type]
    return out
