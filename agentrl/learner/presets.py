"""Algorithms as settings of the eight stages, one readable entry each.

A preset is a plain nested dict of `LearnerSettings` keys; what a user gives is merged over it.
"""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

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
        "refill": True,
        "channels": {"outcome": {"baseline": "mean", "scale": "std"}},
        "field": {"drop_truncated": True},
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
}


def merge(base: Preset, over: Preset) -> Preset:
    """`over` laid on `base`, nested dicts merged, everything else replaced; inputs untouched."""
    out = dict(base)
    for key, value in over.items():
        known = out.get(key)
        nested = isinstance(known, dict) and isinstance(value, dict)
        out[key] = merge(known, value) if nested else value  # type: ignore[arg-type]
    return out
