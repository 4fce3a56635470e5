"""The probability of the reference answer as the reward: no verifier, no judge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from agentrl.core import Check, ConfigError, Episode, Score, Scorer
from agentrl.rewards.probability.contexts import (
    Contexts,
    Reduce,
    forced_logprobs,
    reduce_logprobs,
)
from agentrl.rewards.verifiers.extract import answer_in


@dataclass(slots=True)
class ReferenceLikelihood:
    """R = reduce(log pi(a*_t | x, z, a*_<t)) (paper 56).

    `reduce` names the family's members: exp_sum VeriFree, mean_exp RLPR, sum LogProb, mean
    AvgLogProb, ppl NOVER. On long references only `sum` and `mean` still rank.
    """

    scorer: Scorer
    reduce: Reduce = "mean"
    bridge: str = "\nAnswer: "
    before: str = ""
    reference: str = "answer"
    name: str = "reference_likelihood"

    async def score(self, episode: Episode) -> Score:
        if self.reference not in episode.task.reference or not episode.segments:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}")
        contexts = Contexts(self.scorer, self.bridge, self.before)
        forced = contexts.with_trace(episode, str(episode.task.reference[self.reference]))
        if forced.start == len(forced.tokens):
            return Score(abstained=True, evidence="the reference has no tokens")
        value = reduce_logprobs(await forced_logprobs(self.scorer, forced), self.reduce)
        return Score(
            value, evidence=f"{self.reduce} over {len(forced.tokens) - forced.start} tokens"
        )


@dataclass(slots=True)
class Rlpr:
    """RLPR (paper 26): mean token probability of the reference, debiased.

        r = max(0, f(a*|x, z) - f(a*|x)),   total = (1 - format) * r + format * fmt

    f is the mean token probability. The base f(a*|x), without a trace, is computed with the weights
    of the first time a task is seen and kept: "frozen" at the initial policy, as in the paper, when
    `freeze` has been called over all tasks before training. A missing base is an error when
    `frozen`, never 0. fmt = 1 when `before`'s tag pair stands once.

    With `band` > 0 the own answer's deviation pays too (DARL, paper 40):
    rho(y) its mean token probability, D = max(rho(y*) - rho(y), 0),

        r = rho(y*) + beta * D * [D <= rho(y*) / band]      (band: its gamma, 8 to 10; beta 0.01)
    """

    scorer: Scorer
    bridge: str = ""
    before: str = "<answer>"
    format: float = 0.1
    debias: bool = True
    frozen: bool = False
    band: float = 0.0
    beta: float = 0.01
    reference: str = "answer"
    name: str = "rlpr"
    base: dict[str, float] = field(default_factory=dict, repr=False)

    async def score(self, episode: Episode) -> Score:
        if self.reference not in episode.task.reference or not episode.segments:
            return Score(abstained=True, evidence=f"no reference {self.reference!r}")
        wanted = str(episode.task.reference[self.reference])
        contexts = Contexts(self.scorer, self.bridge + self.before, self.before)
        own = self._own_answer(episode)
        f, base, rho = await asyncio.gather(
            self._mean(contexts, episode, wanted),
            self._base(contexts, episode, wanted),
            self._mean(contexts, episode, own) if self.band and own else _nothing(),
        )
        if f is None or base is None:
            return Score(abstained=True, evidence="the reference has no tokens")
        r = debiased(f, base) if self.debias else f
        if self.band and rho is not None:
            r += deviation_bonus(f, rho, self.beta, self.band)
        fmt = float(own is not None)
        value = (1 - self.format) * r + self.format * fmt
        checks = [Check("f", f), Check("base", base), Check("format", fmt, fmt == 1)]
        return Score(value, checks)

    async def freeze(self, episodes: list[Episode]) -> None:
        """Compute the base of the tasks of these episodes with the weights of now, and only use
        kept ones from here on."""
        contexts = Contexts(self.scorer, self.bridge + self.before, self.before)
        for episode in episodes:
            await self._base(contexts, episode, str(episode.task.reference[self.reference]))
        self.frozen = True

    async def _base(self, contexts: Contexts, episode: Episode, wanted: str) -> float | None:
        if not self.debias:
            return 0.0
        key = episode.task.id
        if key not in self.base:
            if self.frozen:
                raise ConfigError(
                    f"no base of task {key!r}", where=self.name, fix="freeze() over all tasks"
                )
            forced = contexts.without_trace(episode, wanted)
            if forced.start == len(forced.tokens):
                return None
            self.base[key] = reduce_logprobs(await forced_logprobs(self.scorer, forced), "mean_exp")
        return self.base[key]

    async def _mean(self, contexts: Contexts, episode: Episode, text: str) -> float | None:
        forced = contexts.with_trace(episode, text)
        if forced.start == len(forced.tokens):
            return None
        return reduce_logprobs(await forced_logprobs(self.scorer, forced), "mean_exp")

    def state_dict(self) -> dict[str, Any]:
        """The kept bases: a resumed run must not take them from weights that have learned."""
        return {"base": dict(self.base), "frozen": self.frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base, self.frozen = dict(state["base"]), state["frozen"]

    def _own_answer(self, episode: Episode) -> str | None:
        tag = self.before.strip("<>")
        return answer_in(episode.turns[-1].text, f"tag:{tag}") if tag and episode.turns else None


async def _nothing() -> None:
    return None


def debiased(f: float, base: float) -> float:
    """max(0, f - base)."""
    return max(0.0, f - base)


def deviation_bonus(reference: float, own: float, beta: float = 0.01, gamma: float = 8.0) -> float:
    """DARL's bonus, at most beta * reference / gamma."""
    deviation = max(reference - own, 0.0)
    return beta * deviation if deviation <= reference / gamma else 0.0
