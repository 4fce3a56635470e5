"""GRPO-VPS: how each turn moves the belief in the right answer (paper 35)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agentrl.core import Check, Episode, Score, Scorer
from agentrl.rewards.probability.contexts import Contexts, forced_logprobs, reduce_logprobs


@dataclass(slots=True)
class BeliefProgress:
    """Step reward D_m = b_{m+1} - b_m, b the belief P(a* | everything before turn m).

    Belief: exp(mean log-prob) of the reference after `bridge`. The steps telescope: their sum, the
    value, is the last belief minus the first. All turns are scored at once; they share prefixes.
    Learn with two channels: the outcome, and {source: steps, discount: 0, baseline: none, by: [],
    weight: 0.5} (the paper's alpha; its value is not published).
    """

    scorer: Scorer
    bridge: str = "\nAnswer: "
    reference: str = "answer"
    name: str = "belief"

    async def score(self, episode: Episode) -> Score:
        if self.reference not in episode.task.reference or not episode.segments:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}")
        wanted = str(episode.task.reference[self.reference])
        if not self.scorer.encode(wanted):
            return Score(abstained=True, evidence="the reference has no tokens")
        contexts = Contexts(self.scorer, self.bridge)
        forced = [contexts.at_turn(episode, t, wanted) for t in range(len(episode.turns) + 1)]
        found = await asyncio.gather(*(forced_logprobs(self.scorer, f) for f in forced))
        beliefs = [reduce_logprobs(logprobs, "exp_mean") for logprobs in found]
        steps = progress(beliefs)
        checks = [Check(f"belief/{m}", b, turn=m) for m, b in enumerate(beliefs)]
        return Score(sum(steps), checks, steps)


def progress(beliefs: Sequence[float]) -> list[float]:
    """D_m = b_{m+1} - b_m of M + 1 beliefs."""
    return [after - before for before, after in pairwise(beliefs)]
