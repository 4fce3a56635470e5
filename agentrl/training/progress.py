"""What the loop tells whoever watches; a view reads it, nothing here draws."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agentrl.core import Episode, Status, solved

_RATE_SECONDS = 30.0
_HISTORY = 400


class Rate:
    """Events per second over the last half minute; a view may ask from its own thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started = clock, clock()
        self._events: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()
        self.total = 0.0

    def add(self, amount: float) -> None:
        with self._lock:
            self.total += amount
            self._events.append((self._clock(), amount))

    @property
    def per_second(self) -> float:
        now = self._clock()
        with self._lock:
            while self._events and self._events[0][0] < now - _RATE_SECONDS:
                self._events.popleft()
            span = min(_RATE_SECONDS, max(now - self._started, 1.0))
            return sum(amount for _, amount in self._events) / span


@dataclass
class Progress:
    """The state of a run as it goes; the loop calls the methods, from its own thread.

    Attributes:
        steps: how many the run will have; `step` are done.
        expected: episodes of the current batch; `finished` of them are done, `running` under way.
        solved: episodes of the current batch whose outcome says resolved, or whose reward is
            above zero where the environment does not say.
        rewards: mean reward of each step, newest last.
        containers: sandboxes in use, where the loop reports it.
        tokens, calls, tests: sampled tokens, tool calls, and those that ran tests (tools with
            "test" in their name), counted when an episode ends.
        listeners: called with the name of each event after the state has changed; a view hangs
            here. They must be quick.
    """

    steps: int = 0
    step: int = 0
    stage_name: str = ""
    expected: int = 0
    running: int = 0
    finished: int = 0
    broken: int = 0
    solved: int = 0
    containers: int = 0
    title: str = ""
    clock: Callable[[], float] = time.monotonic
    metrics: dict[str, float] = field(default_factory=dict)
    rewards: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    listeners: list[Callable[[str], None]] = field(default_factory=list)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=5))

    def __post_init__(self) -> None:
        self.started = self.clock()
        self.stage_started = self.started
        self.tokens = Rate(self.clock)
        self.calls = Rate(self.clock)
        self.tests = Rate(self.clock)
        self._begun_at_step = self.step

    def _tell(self, event: str) -> None:
        for listener in self.listeners:
            listener(event)

    def begin(self, title: str, *, steps: int, step: int = 0) -> None:
        """A run starts (or goes on) with `step` of `steps` done."""
        self.title, self.steps, self.step, self._begun_at_step = title, steps, step, step
        self.started = self.clock()
        self._tell("begin")

    def stage(self, name: str, *, expected: int = 0) -> None:
        """What is being done now: sampling, learning, evaluating, ...; with how many episodes."""
        self.stage_name, self.stage_started = name, self.clock()
        self.expected, self.running, self.finished = expected, 0, 0
        self.broken = self.solved = 0
        self._tell("stage")

    def episode_started(self) -> None:
        self.running += 1
        self._tell("episode_started")

    def episode_finished(self, episode: Episode) -> None:
        """Count one episode; one that infrastructure broke counts as nothing but broken."""
        self.running = max(0, self.running - 1)
        self.tokens.add(episode.trained_tokens)
        names = [call.name for turn in episode.turns for call in turn.calls]
        self.calls.add(len(names))
        self.tests.add(sum("test" in name for name in names))
        if episode.status == Status.INFRA_ERROR:
            self.broken += 1
        else:
            self.finished += 1
            self.solved += solved(episode)
        self._tell("episode_finished")

    def sandboxes(self, count: int) -> None:
        self.containers = count
        self._tell("sandboxes")

    def note(self, text: str) -> None:
        """Something worth a line: an evaluation, a checkpoint, a warning."""
        self.notes.append(text)
        self._tell("note")

    def step_done(self, step: int, metrics: Mapping[str, float]) -> None:
        """One step is over; `metrics` holds `reward_mean` when rewards were given."""
        self.step = step
        self.metrics = dict(metrics)
        reward = find_metric(metrics, "reward_mean")
        if reward is not None:
            self.rewards.append(metrics[reward])
        self._tell("step_done")

    def end(self, summary: str = "") -> None:
        self.stage_name = "done"
        if summary:
            self.notes.append(summary)
        self._tell("end")

    @property
    def solved_rate(self) -> float | None:
        return self.solved / self.finished if self.finished else None

    @property
    def seconds_left(self) -> float | None:
        """At the pace of this process so far; None before it has done a step."""
        done = self.step - self._begun_at_step
        if done <= 0 or not self.steps:
            return None
        return (self.clock() - self.started) / done * max(self.steps - self.step, 0)


def find_metric(names: Iterable[str], name: str) -> str | None:
    """The one of `names` that is `name`, or `name` behind a prefix such as `train/`."""
    return next((n for n in names if n == name or n.endswith(f"/{name}")), None)
