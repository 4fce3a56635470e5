"""A small transformer that acts word by word, the episodes of a group in lockstep.

Every word is a token, and a whole message of the policy. So groups of dozens of episodes cost
little; for policies that write text through an engine, see world.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from agentrl.core import Episode, Group, Origin, SegmentBuilder, Status, Task, Turn, derive_seed

if TYPE_CHECKING:
    from agentrl.learner import Learner

START = "<start>"


class Game(Protocol):
    """One episode of a world in which the policy's messages are words."""

    task: Task

    async def start(self) -> list[str]:
        """What the policy reads first."""
        ...

    async def act(self, turn: Turn) -> list[str] | None:
        """What the policy reads after a message of `turn.text`; None when it is over."""
        ...

    async def finish(self, episode: Episode) -> None:
        """Fill in outcome and scores."""
        ...


@dataclass(slots=True)
class _Record:
    game: Game
    builder: SegmentBuilder = field(default_factory=SegmentBuilder)
    turns: list[Turn] = field(default_factory=list)
    script: list[int] = field(default_factory=list)
    over: bool = False


class Actor:
    """A transformer over a vocabulary of words, and the learner that trains it.

    Args:
        words: all that is read or said; anything else is refused with a KeyError.
    """

    def __init__(self, words: Iterable[str], seed: int) -> None:
        from agentrl.papers.kit.bandit import toy_learner

        self.words = [START, *words]
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.learner: Learner = toy_learner(seed)

    def fork(self, **settings: Any) -> Actor:
        """A copy of the policy, with a fresh learner of these settings."""
        from agentrl.learner import Learner, LearnerSettings

        other = copy.copy(self)
        policy = copy.deepcopy(self.learner.policy)
        other.learner = Learner(policy, LearnerSettings(**settings))
        return other

    def chances(self, contexts: Sequence[tuple[int, ...]]) -> np.ndarray:
        """float64[len(contexts), words], of the next word behind each."""
        import torch

        from agentrl.learner.extensions.auxiliary import forced_row

        distinct = {context: i for i, context in enumerate(dict.fromkeys(contexts))}
        rows = [forced_row(i, context, [0]) for context, i in distinct.items()]
        out = np.empty((len(rows), len(self.words)))
        with torch.no_grad():
            for batch in self.learner.looks.micro_batches(rows):
                states = self.learner.trunk.hidden(batch)[batch.where]
                found = self.learner.trunk.head(states)[:, : len(self.words)].softmax(-1)
                out[[row.episode for row in batch.rows]] = found.numpy()
        return out[[distinct[context] for context in contexts]]

    async def play(
        self,
        games: Sequence[Game],
        seed: int,
        *,
        most: int,
        scripts: Sequence[Sequence[str]] = (),
    ) -> list[Episode]:
        """An episode of at most `most` words of every game, each begun by the words of its
        script, if any."""
        rng = np.random.default_rng(derive_seed(seed, "words"))
        records = [_Record(game) for game in games]
        for record in records:
            read = [self.ids[w] for w in [START, *await record.game.start()]]
            record.builder.append(read, Origin.PROMPT, -1)
        for record, script in zip(records, scripts, strict=False):
            record.script = [self.ids[word] for word in script]
        for at in range(most):
            live = [r for r in records if not r.over]
            if not live:
                break
            p = self.chances([tuple(r.builder.tokens) for r in live])
            drawn = (rng.random((len(live), 1)) > p.cumsum(-1)).sum(-1)
            drawn = drawn.clip(max=len(self.words) - 1)
            for record, word, row in zip(live, drawn.tolist(), p, strict=True):
                said = record.script[at] if at < len(record.script) else word
                await self._step(record, said, float(np.log(row[said])))
        return [await self._episode(r, i) for i, r in enumerate(records)]

    async def _step(self, record: _Record, word: int, logp: float) -> None:
        number = len(record.turns)
        record.builder.append_sampled([word], [logp], [self.learner.version], number)
        said = np.array([word], np.int32), np.array([logp], np.float32)
        record.turns.append(Turn(*said, self.words[word]))
        read = await record.game.act(record.turns[-1])
        record.over = read is None
        if read:
            record.builder.append([self.ids[w] for w in read], Origin.OBSERVATION, number)

    async def _episode(self, record: _Record, number: int) -> Episode:
        episode = Episode(
            record.game.task,
            id=f"{record.game.task.id}-{number}",
            status=Status.COMPLETED if record.over else Status.MAX_TURNS,
            turns=record.turns,
            segments=[record.builder.build()],
        )
        await record.game.finish(episode)
        return episode

    def imitate(
        self, shown: Sequence[Episode], *, steps: int, rate: float, batch: int = 32
    ) -> Actor:
        """A copy after steps of cross entropy on these episodes, `batch` at a time in their
        order."""
        student = self.fork(learning_rate=rate, schedule="linear", total_steps=steps)
        for step in range(steps):
            at = step * batch % len(shown)
            student.learner.imitate(shown[at : at + batch])
        return student

    def learn(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """One update on judged episodes, in a group for each of their tasks."""
        groups: dict[str, Group] = {}
        for episode in episodes:
            key = episode.task.id
            groups.setdefault(key, Group((key,), [])).episodes.append(episode)
        return self.learner.step(list(groups.values()))
