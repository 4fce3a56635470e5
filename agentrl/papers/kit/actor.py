"""A small transformer that acts word by word, many episodes in lockstep: claims about training.

Every word is one token and one step of the policy; forward passes share prefixes, so that groups
of dozens of episodes cost little. Rollouts, log-probabilities and gradients are real; for
policies that write text through an engine, see world.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from agentrl.core import Episode, Group, Origin, SegmentBuilder, Status, Task, Turn, derive_seed

if TYPE_CHECKING:
    from agentrl.learner import Learner


class Game(Protocol):
    """One episode of a world that is read and acted in by words."""

    task: Task

    async def start(self) -> list[str]:
        """What the policy reads first."""
        ...

    async def act(self, word: str) -> list[str] | None:
        """What it reads after its word; nothing while a message is not at its end. None: over."""
        ...

    async def finish(self, episode: Episode) -> None:
        """Fill in turns, outcome and scores: the message texts are `episode.turns`' already."""
        ...


@dataclass(slots=True)
class _Record:
    game: Game
    builder: SegmentBuilder = field(default_factory=SegmentBuilder)
    said: list[list[int]] = field(default_factory=lambda: [[]])
    over: bool = False


class Actor:
    """A transformer over a vocabulary of words, and the learner that trains it.

    Args:
        words: all that is read or said; anything else is refused with a KeyError.
    """

    def __init__(
        self, words: Iterable[str], seed: int, *, hidden: int = 32, layers: int = 2
    ) -> None:
        from agentrl.papers.kit.bandit import toy_learner

        self.words = ["<start>", *dict.fromkeys(words)]
        self.ids = {word: i for i, word in enumerate(self.words)}
        size = {"vocab_size": len(self.words), "hidden_size": hidden, "num_hidden_layers": layers}
        self.learner: Learner = toy_learner(seed, size=size)

    def fork(self, **settings: Any) -> Actor:
        """A copy of the policy, with a fresh learner of these settings (GRPO where none)."""
        from agentrl.learner import Learner, LearnerSettings

        other = copy.copy(self)
        policy = copy.deepcopy(self.learner.policy)
        other.learner = Learner(policy, LearnerSettings(**settings))
        return other

    def chances(self, contexts: Sequence[tuple[int, ...]]) -> np.ndarray:
        """float64[len(contexts), words], of the next word behind each."""
        import torch

        from agentrl.learner.auxiliary import forced_row

        distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
        rows = [forced_row(i, context, [0]) for context, i in distinct.items()]
        out = np.empty((len(rows), len(self.words)))
        with torch.no_grad():
            for batch in self.learner.looks.micro_batches(rows):
                states = self.learner.trunk.hidden(batch)[batch.where]
                found = self.learner.trunk.head(states).softmax(-1).double().numpy()
                out[[row.episode for row in batch.rows]] = found
        return out[[distinct[context] for context in contexts]]

    async def play(
        self,
        games: Sequence[Game],
        seed: int,
        *,
        most: int,
        clerk: Callable[[np.random.Generator], str] | None = None,
    ) -> list[Episode]:
        """An episode of at most `most` words of every game; a clerk may speak for the policy."""
        rng = np.random.default_rng(derive_seed(seed, "words"))
        records = [_Record(game) for game in games]
        for record in records:
            read = [self.ids[w] for w in await record.game.start()]
            record.builder.append([0, *read], Origin.PROMPT, -1)
        for _ in range(most):
            live = [r for r in records if not r.over]
            if not live:
                break
            p = self.chances([tuple(r.builder.tokens) for r in live])
            if clerk is None:
                drawn = (rng.random((len(live), 1)) > p.cumsum(-1)).sum(-1)
                drawn = drawn.clip(max=len(self.words) - 1)
            else:
                drawn = np.array([self.ids[clerk(rng)] for _ in live])
            for record, word, row in zip(live, drawn.tolist(), p, strict=True):
                await self._step(record, word, float(np.log(row[word])))
        return [await self._episode(r, i) for i, r in enumerate(records)]

    async def _step(self, record: _Record, word: int, logp: float) -> None:
        turn = len(record.said) - 1
        record.builder.append_sampled([word], [logp], [self.learner.version], turn)
        record.said[-1].append(word)
        read = await record.game.act(self.words[word])
        record.over = read is None
        if read:
            record.builder.append([self.ids[w] for w in read], Origin.OBSERVATION, turn)
            record.said.append([])

    async def _episode(self, record: _Record, number: int) -> Episode:
        said = [tokens for tokens in record.said if tokens]
        episode = Episode(
            record.game.task,
            id=f"{record.game.task.id}-{number}",
            status=Status.COMPLETED if record.over else Status.MAX_TURNS,
            turns=[
                Turn(np.array(t, np.int32), np.zeros(len(t), np.float32), self.text(t))
                for t in said
            ],
            segments=[record.builder.build()],
        )
        await record.game.finish(episode)
        return episode

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self.words[t] for t in tokens)

    async def imitate(
        self,
        games: Sequence[Game],
        clerk: Callable[[np.random.Generator], str],
        seed: int,
        *,
        most: int,
        steps: int = 40,
        rate: float = 1e-2,
    ) -> None:
        """Steps of cross entropy on episodes of a clerk, at a learning rate of their own."""
        from agentrl.learner import Learner, LearnerSettings

        shown = await self.play(games, derive_seed(seed, "clerk"), most=most, clerk=clerk)
        teacher = Learner(self.learner.policy, LearnerSettings(learning_rate=rate))
        for _ in range(steps):
            teacher.imitate(shown)

    def learn(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """One update on judged episodes, grouped by their tasks."""
        groups: dict[str, Group] = {}
        for episode in episodes:
            key = episode.task.id
            groups.setdefault(key, Group((key,), [])).episodes.append(episode)
        return self.learner.step(list(groups.values()))
