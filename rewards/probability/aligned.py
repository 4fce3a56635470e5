"""SAR: is the answer about this question (paper 24)?"""

from __future__ import annotations

from dataclasses import dataclass

from agentrl.core import Check, Episode, Score, Scorer
from agentrl.rewards.probability.contexts import Contexts, forced_logprobs, reduce_logprobs


@dataclass(slots=True)
class SelfAligned:
    """R_SA = clip((ppl(y) - ppl(y|x)) / ppl(y), -1, 1), ppl under the policy's weights of now.

    y is what the policy said; ppl(y|x) comes from the recorded log-probabilities, ppl(y) from a
    pass without the question. Filler that any question could have got is worth 0. The paper adds
    0.2 of it to the outcome: {kind: weighted, parts: [OUTCOME, {kind: self_aligned, weight: 0.2}]}.
    """

    scorer: Scorer
    header: int = 3
    name: str = "self_aligned"

    async def score(self, episode: Episode) -> Score:
        if not episode.segments or episode.trained_tokens < 2:
            return Score(abstained=True, evidence="too few tokens")
        segment = episode.segments[-1]
        given = reduce_logprobs(segment.logprobs[segment.action_mask], "ppl")
        forced = Contexts(self.scorer, header=self.header).without_question(episode)
        alone = reduce_logprobs(await forced_logprobs(self.scorer, forced), "ppl")
        return Score(aligned(alone, given), [Check("ppl", given), Check("ppl_alone", alone)])


def aligned(alone: float, given: float) -> float:
    """The reward from both perplexities; below 1 by construction, clipped at -1."""
    return min(max((alone - given) / (alone + 1e-9), -1.0), 1.0)
