"""Episodes and their token-exact record.

What the learner trains on is exactly what was sampled. A segment, drawn with letters
(P prompt, S sampled, O observation, H hint):

    tokens    P P P P S S S O O O S S
    origin    P P P P S S S O O O S S
    logprobs  . . . . x x x . . . x x     behaviour policy, untempered, 0 where not sampled
    turn      - - - - 0 0 0 0 0 0 1 1     -1 before the first turn
    weights   - - - - 3 3 3 - - - 4 4     policy version, -1 where not sampled
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np

from agentrl.core.images import PlacedImage
from agentrl.core.messages import Image, Message, ToolCall, ToolResult
from agentrl.core.score import Score
from agentrl.core.task import Task


class Origin(IntEnum):
    """Where a token comes from. Only SAMPLED tokens are ever trained."""

    PROMPT = 0
    SAMPLED = 1
    OBSERVATION = 2
    HINT = 3


class Status(StrEnum):
    """How an episode ended.

    All but INFRA_ERROR are the policy's doing and are learned from. An INFRA_ERROR episode is
    retried, then left out of every group statistic: it is never a reward of zero or minus one.
    """

    RUNNING = "running"
    COMPLETED = "completed"
    MAX_TURNS = "max_turns"
    MAX_TOKENS = "max_tokens"
    DEADLINE = "deadline"
    ABORTED = "aborted"
    INFRA_ERROR = "infra_error"


@dataclass(slots=True, repr=False)
class Segment:
    """One contiguous token sequence as the engine saw it; all arrays have length T.

    An episode has one segment when its chat template only ever appends, and a new one each time
    history is rewritten (stripped thinking, compaction). `images` are in order of their tokens,
    which are never trained.
    """

    tokens: np.ndarray  # int32[T]
    origin: np.ndarray  # uint8[T], values of Origin
    logprobs: np.ndarray  # float32[T]
    turn: np.ndarray  # int16[T]
    weights: np.ndarray  # int32[T]
    images: list[PlacedImage] = field(default_factory=list)

    @property
    def action_mask(self) -> np.ndarray:
        """bool[T], True where the policy sampled the token."""
        return self.origin == Origin.SAMPLED

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Segment({len(self)} tokens, {int(self.action_mask.sum())} sampled)"


class SegmentBuilder:
    """Grows a segment; appending is the only thing that can be done to it."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.images: list[PlacedImage] = []
        self._origin: list[int] = []
        self._logprobs: list[float] = []
        self._turn: list[int] = []
        self._weights: list[int] = []

    def append(self, tokens: Sequence[int], origin: Origin, turn: int) -> None:
        """Append tokens that the policy did not sample."""
        if origin == Origin.SAMPLED:
            raise ValueError("sampled tokens come with log-probabilities: use append_sampled")
        self._extend(tokens, origin, turn, [0.0] * len(tokens), [-1] * len(tokens))

    def append_image(self, image: Image, tokens: Sequence[int], origin: Origin, turn: int) -> None:
        """Append the tokens that an image stands as."""
        start = len(self.tokens)
        self.append(tokens, origin, turn)
        self.images.append(PlacedImage(start, len(self.tokens), image))

    def append_sampled(
        self, tokens: Sequence[int], logprobs: Sequence[float], weights: Sequence[int], turn: int
    ) -> None:
        """Append tokens as sampled, each with its log-probability and weights version."""
        if not len(tokens) == len(logprobs) == len(weights):
            raise ValueError(
                f"{len(tokens)} sampled tokens, {len(logprobs)} log-probabilities and "
                f"{len(weights)} weights versions: the three must match one to one"
            )
        self._extend(tokens, Origin.SAMPLED, turn, logprobs, weights)

    def forget_sampled(self) -> None:
        """Sampled tokens become prompt: context of what follows, and never trained."""
        for i, origin in enumerate(self._origin):
            if origin == Origin.SAMPLED:
                self._origin[i], self._logprobs[i], self._weights[i] = int(Origin.PROMPT), 0.0, -1

    def _extend(
        self,
        tokens: Sequence[int],
        origin: Origin,
        turn: int,
        logprobs: Sequence[float],
        weights: Sequence[int],
    ) -> None:
        n = len(tokens)
        self.tokens.extend(int(t) for t in tokens)
        self._origin.extend([int(origin)] * n)
        self._logprobs.extend(float(x) for x in logprobs)
        self._turn.extend([turn] * n)
        self._weights.extend(int(w) for w in weights)

    def __len__(self) -> int:
        return len(self.tokens)

    def build(self) -> Segment:
        return Segment(
            np.asarray(self.tokens, np.int32),
            np.asarray(self._origin, np.uint8),
            np.asarray(self._logprobs, np.float32),
            np.asarray(self._turn, np.int16),
            np.asarray(self._weights, np.int32),
            list(self.images),
        )


@dataclass(slots=True, repr=False)
class Turn:
    """One policy message and what the environment answered.

    Attributes:
        tokens: int32[N] as sampled; logprobs: float32[N].
        forced: how many of them, from the first, were given and not sampled (see `Start.head`);
            their log-probability is 0.
        text: the tokens decoded, without the end-of-turn token.
        calls: parsed from the text; `results` answer them in the same order.
        observations: the messages that the environment added.
        rewards: by name, given by the environment as it went.
        finish_reason: of the engine.
        seconds: {"generate": .., "tools": ..} wall time.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    text: str
    calls: list[ToolCall] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)
    observations: list[Message] = field(default_factory=list)
    rewards: dict[str, float] = field(default_factory=dict)
    finish_reason: str = "stop"
    forced: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Turn({len(self.tokens)} tokens, {len(self.calls)} calls, {self.text[:60]!r})"


@dataclass(slots=True, repr=False)
class Episode:
    """One attempt at a task, from the first message to the verdict.

    Attributes:
        outcome: what the environment knows at the end, JSON-able (submitted, diff, tests, ..);
            rewards read it, so that an episode can be judged again from the store.
        scores: every reward by name; "reward" is the composed one that is learned from.
        cause: for INFRA_ERROR, what broke.
        guidance: which hint it was given, empty for none; see `agentrl.core.Guide`.
        source: "policy", "script", "replay": where its tokens come from.
        tools: the specifications of the tools that the policy was offered.
        branch: of an episode that took up another (see `Start`): {"episode": its id, "turn": the
            first new one, "how": "start", "snapshot" or "replay", "checked": observations that
            were compared}.
        timings: seconds by stage.
    """

    task: Task
    id: str = ""
    seed: int = 0
    status: Status = Status.RUNNING
    cause: str = ""
    prompt: list[Message] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    guidance: dict[str, Any] = field(default_factory=dict)
    source: str = "policy"
    tools: list[dict[str, Any]] = field(default_factory=list)
    branch: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    # Short on purpose: asyncio and tracebacks print what they hold, and an episode is megabytes.
    def __repr__(self) -> str:
        status = f"{self.status}, {self.cause}" if self.cause else str(self.status)
        return f"Episode({self.task.id!r}, {status}, {len(self.turns)} turns)"

    @property
    def judged(self) -> bool:
        """True when the episode may enter a statistic or a loss."""
        score = self.scores.get("reward")
        return self.status != Status.INFRA_ERROR and score is not None and not score.abstained

    @property
    def reward(self) -> float:
        """The composed reward. Raises KeyError before the episode was judged."""
        return self.scores["reward"].value

    @property
    def guided(self) -> bool:
        """True when it was sampled with a hint in its context: no measure of the plain policy."""
        return bool(self.guidance) and self.guidance.get("placement") != "teacher_only"

    @property
    def trained_tokens(self) -> int:
        return int(sum(s.action_mask.sum() for s in self.segments))

    @property
    def weights_versions(self) -> set[int]:
        return {int(v) for s in self.segments for v in np.unique(s.weights[s.action_mask])}


@dataclass(slots=True)
class Group:
    """Episodes that are compared with each other; keys are free: (task,), (task, turn), .."""

    key: tuple[Any, ...]
    episodes: list[Episode]

    @property
    def judged(self) -> list[Episode]:
        return [e for e in self.episodes if e.judged]


def solved(episode: Episode, above: float = 0.0) -> bool:
    """Did the episode do its task? What the environment says counts before the reward, which says
    so by being more than `above`."""
    if "resolved" in episode.outcome:
        return bool(episode.outcome["resolved"])
    return episode.judged and episode.reward > above
