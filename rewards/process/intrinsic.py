"""ONI: intrinsic rewards from a judge that never keeps the policy waiting (paper 72)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from torch.nn import functional

from agentrl.core import ChatModel, Episode, InfraError, Reward, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.learned.text_models import HashedText

Form = Literal["retrieval", "classifier", "ranker"]


class Helpful(BaseModel):
    """Whether an observation is a sign of progress."""

    helpful: bool


ANNOTATE = Template(
    "oni",
    "You decide whether what an agent has just observed is a sign that it makes progress towards"
    " its goal.",
    "The goal:\n{goal}\n\nThe observation:\n{observation}",
)


def intrinsic(q: float, visits: int, beta: float = 3.0) -> float:
    """q / N^beta, N the visits of this observation in the episode, this one included."""
    return q / visits**beta


def ranking_loss(first: torch.Tensor, second: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Bradley-Terry cross entropy; label 1 when the first is better, 0.5 for a tie."""
    return functional.binary_cross_entropy_with_logits(first - second, label)


@dataclass(slots=True)
class Intrinsic:
    """r_t = extrinsic * outcome (last turn) + scale * q(o_t) / N_ep(o_t)^beta.

    o_t is the turn's observation, cut to `longest` characters. Observations that were never seen go
    to a queue; `annotate` takes the newest first, up to `batch` at once, asks the judge, and labels
    flow back while episodes go on. Until its label arrives an observation is worth 0.

        retrieval   q is the label itself
        classifier  q = [p > threshold] of a small text model trained on the labels
        ranker      q = (s - mean) / std of a Bradley-Terry score, 0 where not above `threshold`

    beta = 0 is farmed by repeating one message. When a label arrives depends on the judge's speed,
    so runs with this reward are not reproducible to the bit.
    """

    outcome: Reward
    judge: ChatModel
    form: Form = "retrieval"
    scale: float = 0.1
    extrinsic: float = 1.0
    beta: float = 3.0
    threshold: float = 0.5
    batch: int = 100
    longest: int = 500
    most_labels: int = 25_000
    steps: int = 32
    name: str = "intrinsic"
    labels: dict[str, float] = field(default_factory=dict, repr=False)
    _queue: OrderedDict[str, str] = field(init=False, repr=False, default_factory=OrderedDict)
    _model: HashedText | None = field(init=False, default=None, repr=False)
    _optimizer: torch.optim.Optimizer | None = field(init=False, default=None, repr=False)
    _moments: tuple[float, float] = field(init=False, default=(0.0, 1.0), repr=False)
    _task: asyncio.Task[int] | None = field(init=False, default=None, repr=False)

    @property
    def parts(self) -> Sequence[Reward]:
        return [self.outcome]

    def combine(self, episode: Episode, scores: Sequence[Score]) -> Score:
        (outcome,) = scores
        if outcome.abstained:
            return Score(abstained=True, evidence="the outcome abstained")
        seen: Counter[str] = Counter()
        steps = []
        for turn in episode.turns:
            key = "\n".join(m.content for m in turn.observations)[: self.longest]
            self.observe(key, episode.task.prompt)
            seen[key] += 1
            steps.append(self.scale * intrinsic(self.q(key), seen[key], self.beta))
        if steps:
            steps[-1] += self.extrinsic * outcome.value
        self._start()
        return Score(sum(steps) or self.extrinsic * outcome.value, steps=steps)

    async def score(self, episode: Episode) -> Score:
        return self.combine(episode, [await self.outcome.score(episode)])

    def observe(self, key: str, goal: str = "") -> None:
        """Queue an observation to be labelled, once; never waits."""
        if key and key not in self.labels and key not in self._queue:
            self._queue[key] = goal

    def q(self, key: str) -> float:
        if self.form == "retrieval":
            return self.labels.get(key, 0.0)
        if self._model is None:
            return 0.0
        with torch.no_grad():
            logit = float(self._model([key])[0])
        if self.form == "classifier":
            return float(1 / (1 + math.exp(-logit)) > self.threshold)
        mean, std = self._moments
        standard = (logit - mean) / std
        return standard if standard > self.threshold else 0.0

    def _start(self) -> None:
        """Annotate in the background, one batch at a time."""
        if self._queue and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self.annotate())

    async def annotate(self) -> int:
        """Label the newest `batch` of the queue; how many labels came. A judge that is down leaves
        them in the queue."""
        newest = [self._queue.popitem(last=True) for _ in range(min(self.batch, len(self._queue)))]
        judge = Judge(self.judge, ANNOTATE, Helpful)
        try:
            ballots = await judge.ask_all([{"goal": g, "observation": k} for k, g in newest])
        except (InfraError, asyncio.CancelledError) as error:
            self._queue.update(reversed(newest))
            if isinstance(error, asyncio.CancelledError):
                raise
            return 0
        found = {
            k: float(b.answers[0].helpful)
            for (k, _), b in zip(newest, ballots, strict=True)
            if not b.silent
        }
        self.labels |= found
        if self.form != "retrieval" and len(self.labels) <= self.most_labels:
            self._fit()
        return len(found)

    def _fit(self, rate: float = 1e-2, size: int = 256) -> None:
        """`steps` gradient steps on batches of the labels so far."""
        if self._model is None:
            self._model = HashedText()
            self._optimizer = torch.optim.Adam(self._model.parameters(), lr=rate)
        assert self._optimizer is not None
        keys = list(self.labels)
        generator = np.random.default_rng(len(keys))
        for _ in range(self.steps):
            chosen = [keys[i] for i in generator.integers(0, len(keys), min(size, len(keys)))]
            label = torch.tensor([self.labels[k] for k in chosen])
            logits = self._model(chosen)
            if self.form == "classifier":
                loss = functional.binary_cross_entropy_with_logits(logits, label)
            else:
                other = torch.as_tensor(generator.permutation(len(chosen)))
                better = (label - label[other] + 1) / 2
                loss = ranking_loss(logits, logits[other], better)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        with torch.no_grad():
            scores = self._model(keys)
        self._moments = (float(scores.mean()), max(float(scores.std(correction=0)), 1e-6))

    def metrics(self) -> dict[str, float]:
        """Queue length, labels, share of positive ones."""
        positive = float(np.mean(list(self.labels.values()))) if self.labels else 0.0
        return {"queue": len(self._queue), "labels": len(self.labels), "positive": positive}

    def state_dict(self) -> dict[str, Any]:
        return {"labels": dict(self.labels), "queue": dict(self._queue)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.labels = dict(state["labels"])
        self._queue = OrderedDict(state["queue"])
        if self.form != "retrieval" and self.labels:
            self._fit()
