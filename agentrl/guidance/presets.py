"""Guidance papers as settings of the seven choices, one readable entry each.

A preset is a plain nested dict of `GuidanceSettings` keys; what a user gives is merged over it.
"""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]

SELF = {"kind": "self", "levels": 3}
SCAFFOLD = [
    {"kind": "static", "key": "knowledge", "levels": 4},
    {"kind": "static", "key": "planning", "levels": 4},
    {"kind": "static", "key": "solution", "levels": 4},
]
TEACHER = {
    "target": "hinted",
    "estimator": "full",
    "direction": "jsd",
    "mix": 0.5,
    "top": 100,
    "coefficient": 1.0,
}
MIXED = {"kind": "shape", "gamma": 0.1}
PAIRS = {"link": {"kind": "dpo", "score": "sum", "scale": 0.1}}

PRESETS: dict[str, Preset] = {
    "custom": {},
    # Agent-RLVR (2506.11425): attempt, tests, guidance made for each failure, re-attempt; learned
    # without the guidance, the ratio of the two contexts capped at 2.
    "agent_rlvr": {
        "ladder": {"tiers": ["plan", "feedback", "file"], "show": "all"},
        "trigger": {"kind": "has_feedback"},
        "search": {"kind": "reattempt", "start": 3},
        "merge": {"kind": "append_members"},
        "train": {
            "context": "unhinted",
            "off_policy": {"kind": "is_clip", "low": None, "high": 1.0},
        },
    },
    # SAGE: the policy hints itself, level by level, until the group has a success.
    "sage": {
        "ladder": {"tiers": [SELF]},
        "merge": {"kind": "replace_group", "keep_failures": True},
        "train": {
            "learner": {
                "channels": {"outcome": {"ddof": 0}},
                "coefficient": {"low": 0.2, "high": 0.28},
            }
        },
    },
    # SAGE-light: each task keeps its level from epoch to epoch; a failed one is raised (0.35).
    "sage_light": {
        "trigger": {"kind": "always"},
        "ladder": {"tiers": [SELF]},
        "search": {"kind": "persistent", "up_below": 0.35},
        "train": {"learner": {"coefficient": {"low": 0.2, "high": 0.28}}},
    },
    # Scaf-GRPO: tiers of written hints, the least that works, one member replaced.
    "scaf_grpo": {
        "ladder": {"tiers": SCAFFOLD, "show": "tier"},
        "search": {"kind": "probe"},
        "merge": {"kind": "replace_members", "count": 1},
        "retirement": {"exempt_share": 0.15},
    },
    # GHPO: a quarter, half, three quarters of the reference solution.
    "ghpo": {
        "ladder": {"tiers": [{"kind": "prefix", "fractions": [0.25, 0.5, 0.75]}]},
        "merge": {"kind": "replace_group", "keep_failures": True},
    },
    # Guide: one hint; the hinted group is learned without it, shaped by the 0.9 quantile of ratios.
    "guide": {
        "trigger": {"kind": "accuracy", "threshold": 0.001},
        "ladder": {"tiers": [{"kind": "static", "key": "hint"}]},
        "merge": {"kind": "append_group"},
        "train": {"context": "unhinted", "off_policy": {"kind": "shape", "quantile": 0.9}},
        "leaks": {"drop": True},
    },
    # SCOPE: keep the right steps of a failure, repair from the first wrong one.
    "scope": {
        "trigger": {"kind": "first_error"},
        "ladder": {"tiers": ["plan"]},
        "placement": {"kind": "splice", "point": "first_error", "keep": "trained"},
        "search": {"kind": "branch", "branches": 1},
        "merge": {"kind": "replace_members"},
        "train": {"context": "unhinted", "off_policy": MIXED},
    },
    # CURE, first stage: 4 rollouts, each sampled again 3 times from one of its 20 least certain
    # tokens; the second stage (`retirement.until`) is plain DAPO.
    "cure": {
        "trigger": {"kind": "always"},
        "placement": {"kind": "splice", "point": "entropy", "top": 20, "keep": "context"},
        "search": {"kind": "branch", "branches": 3},
        "merge": {"kind": "append_members", "keep_failures": True},
        "train": {"learner": {"coefficient": {"low": 0.2, "high": 0.28, "dual": 10.0}}},
    },
    # SDPO: the policy that sees a right answer or the feedback teaches the one that does not.
    "sdpo": {
        "trigger": {"kind": "has_feedback"},
        "ladder": {"tiers": ["sibling", "feedback"], "show": "all"},
        "placement": {"kind": "teacher_only", "role": "system"},
        "search": {"kind": "none", "start": 2},
        "merge": {"kind": "none"},
        "train": {
            "learner": {
                "channels": {"outcome": {"weight": 0.0}},
                "divergences": {"teacher": TEACHER},
                "reference": {"kind": "ema", "rate": 0.05},
            }
        },
    },
}
PRESETS["after_failure"] = PRESETS["agent_rlvr"]
# The published form: direct preference between what passed and what failed (beta 0.1 derived).
PRESETS["agent_rlvr_dpo"] = PRESETS["agent_rlvr"] | {
    "train": {"context": "unhinted", "learner": PAIRS}
}
