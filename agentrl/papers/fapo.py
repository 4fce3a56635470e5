"""Paper 47, FAPO: right answers with a flawed step are worth less than clean ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentrl.core import Check, Group
from agentrl.papers.kit.bandit import advantages, gradient, toy_group, toy_learner
from agentrl.papers.kit.properties import Property, measured
from agentrl.papers.registry import Measured

if TYPE_CHECKING:
    from agentrl.learner import Learner

CLAIM = (
    "with a penalty of 1, flawed right answers are learned while wrong ones prevail and unlearned "
    "once clean ones do, without a schedule; the judge of flaws is itself rewarded by distance"
)
GROUPS = {
    (2, 1, 5): (1.605, 0.438, -0.729),
    (4, 1, 3): (0.944, -0.135, -1.214),
    (3, 2, 3): (None, 0.0, None),
    (6, 2, 0): (0.577, -1.732, None),
}
"""Clean, flawed and wrong answers of a group -> their advantages (None: not given)."""


PLAIN = {"outcome": {"by": (), "baseline": "none", "scale": "none"}}


def run(seeds: Sequence[int]) -> Measured:
    """Advantages by share, the judge's reward, and the sign of the update on real gradients."""
    found = []
    for shares, wanted in GROUPS.items():
        clean, flawed, wrong = shares
        values = advantages(flawed_group(clean, flawed, wrong), algorithm="fapo")
        got = (values[0], values[clean], values[-1])
        pairs = [(w, g) for w, g in zip(wanted, got, strict=True) if w is not None]
        what = f"advantages of {clean} clean, {flawed} flawed, {wrong} wrong"
        found.append(Property(what, [w for w, _ in pairs], [g for _, g in pairs], 1.5e-3))
    found.append(Property("reward of the judge", (-1, 1, -1, -1, 1, 0.75), judge_rewards()))
    for seed in seeds:
        early, late = (_moves_flawed(seed, *shares) for shares in ((2, 1, 5), (5, 1, 2)))
        found.append(
            Property(f"seed {seed}: flawed up early, down late", 1, float(early > 0 > late))
        )
    return measured(found)


def flawed_group(clean: int, flawed: int, wrong: int) -> Group:
    """0/1 rewards; a process judge left a passed check `flawed` on some of the right answers."""
    group = toy_group([1.0] * (clean + flawed) + [0.0] * wrong)
    for episode in group.episodes[clean : clean + flawed]:
        episode.scores["reward"].checks.append(Check("flawed", 1.0, passed=True))
    return group


def judge_rewards() -> list[float]:
    """Unparsable; clean said clean, said wrong; wrong said clean, said right, said one off."""
    from agentrl.rewards.process.flaws import FlawFound

    reward = FlawFound()
    cases = [(None, -1), (-1, -1), (2, -1), (-1, 2), (2, 2), (3, 2)]
    out = []
    for said, truth in cases:
        (episode,) = toy_group([0.0]).episodes
        episode.outcome["first_error"] = said
        episode.task.reference = {"first_error": truth, "steps": 4}
        out.append(asyncio.run(reward.score(episode)).value)
    return out


def _moves_flawed(seed: int, clean: int, flawed: int, wrong: int) -> float:
    """How the flawed answer's own share of the update moves its log-probability."""
    group = flawed_group(clean, flawed, wrong)
    mine = group.episodes[clean]
    for episode in group.episodes:
        episode.outcome["other"] = episode is not mine
    share = -gradient(_alone(seed), [group])
    rise = -gradient(_alone(seed, channels=PLAIN, returns=()), [Group(("flawed",), [mine])])
    return float(share @ rise)


def _alone(seed: int, **more: Any) -> Learner:
    """The baseline is the whole group's, the loss one answer's."""
    return toy_learner(seed, algorithm="fapo", field={"flags": {"other": 0.0}}, **more)
