"""Forced text after an episode: with its trace, without it, and the answer without the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentrl.core import Episode, Scorer

Reduce = Literal["sum", "mean", "exp_sum", "mean_exp", "exp_mean", "ppl"]


def reduce_logprobs(logprobs: Sequence[float] | np.ndarray, how: Reduce) -> float:
    """One number of the log-probabilities l_t of forced tokens (paper 56's family).

    sum       sum l                 log-probability (LogProb)
    mean      mean l                per token (AvgLogProb)
    exp_sum   exp(sum l)            probability (VeriFree); 0 to float precision on long text
    mean_exp  mean exp(l)           mean token probability (RLPR)
    exp_mean  exp(mean l)           geometric mean
    ppl       exp(-mean l)          perplexity

    Raises ValueError for no tokens.
    """
    values = np.asarray(logprobs, np.float64)
    if len(values) == 0:
        raise ValueError("no tokens to score")
    return float(
        {
            "sum": lambda: values.sum(),
            "mean": lambda: values.mean(),
            "exp_sum": lambda: np.exp(values.sum()),
            "mean_exp": lambda: np.exp(values).mean(),
            "exp_mean": lambda: np.exp(values.mean()),
            "ppl": lambda: np.exp(min(-values.mean(), 700.0)),
        }[how]()
    )


@dataclass(slots=True)
class Forced:
    """Tokens of which those from `start` are scored."""

    tokens: list[int]
    start: int


@dataclass(slots=True)
class Contexts:
    """Builds forced contexts of an episode's last segment.

    Attributes:
        bridge: text between the trace and what is forced.
        before: the trace ends where this stands in the last message ("" for its end): with
            "<answer>" the policy's own answer is replaced. The part of that message before it is
            tokenised anew, everything else keeps the tokens as sampled.
        header: tokens of the prompt's end that stay where the question is left out: the
            template's start of an assistant message.
    """

    scorer: Scorer
    bridge: str = "\nAnswer: "
    before: str = ""
    header: int = 3

    def with_trace(self, episode: Episode, text: str) -> Forced:
        """(question, trace, bridge) -> text."""
        return self._forced(self._trace(episode), text)

    def without_trace(self, episode: Episode, text: str) -> Forced:
        """(question, bridge) -> text."""
        return self._forced(prompt_tokens(episode), text)

    def at_turn(self, episode: Episode, turn: int, text: str) -> Forced:
        """(everything before turn `turn`, bridge) -> text; the number of turns for the end."""
        segment = episode.segments[-1]
        later = np.flatnonzero(segment.turn >= turn)
        end = int(later[0]) if len(later) else len(segment)
        return self._forced(segment.tokens[:end].tolist(), text)

    def without_question(self, episode: Episode) -> Forced:
        """(template header) -> what the policy said."""
        segment = episode.segments[-1]
        said = segment.tokens[segment.action_mask].tolist()
        header = prompt_tokens(episode)[-self.header :] if self.header else []
        start = header or said[:1]
        return Forced([*start, *(said if header else said[1:])], len(start))

    def _trace(self, episode: Episode) -> list[int]:
        segment = episode.segments[-1]
        text = episode.turns[-1].text if episode.turns else ""
        at = text.find(self.before) if self.before else -1
        if at < 0:
            return segment.tokens.tolist()
        first = int(np.flatnonzero(segment.turn == len(episode.turns) - 1)[0])
        return [*segment.tokens[:first].tolist(), *self.scorer.encode(text[:at])]

    def _forced(self, context: list[int], text: str) -> Forced:
        context = [*context, *self.scorer.encode(self.bridge)]
        return Forced([*context, *self.scorer.encode(text)], len(context))


def prompt_tokens(episode: Episode) -> list[int]:
    """What stood before the policy's first token."""
    segment = episode.segments[-1]
    sampled = np.flatnonzero(segment.action_mask)
    return segment.tokens[: int(sampled[0]) if len(sampled) else len(segment)].tolist()


async def forced_logprobs(scorer: Scorer, forced: Forced) -> np.ndarray:
    """float32[N], the log-probabilities of the forced tokens."""
    return (await scorer.score(forced.tokens, forced.start)).logprobs
