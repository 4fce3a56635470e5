"""Paper 38, SmartSnap: its claim in the small.

A mail application, recorded from a real browser: archiving a mail leads to a page that only says
"done", and what was archived is seen in the archive. One small transformer is warm-started on a
careless user, who mostly submits from that page and names rounds by habit (too many, none, one that
was not), then trained by GRPO with the reward of evidence; rules over the named rounds are the
judge. Environment, recording, task and reward are those that run files name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentrl.core import Episode, Task
from agentrl.environments.gui import GuiEnvironment, world
from agentrl.environments.gui.recording import RecordedScreens, Recording
from agentrl.environments.gui.words import words
from agentrl.papers.kit.world import World, on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards import EvidenceReward, evidence_metrics

CLAIM = (
    "Rewarded for evidence that is complete and concise, an agent learns to go on after the task "
    "to a screen that shows its result and to name that: proofs rise, submissions that are none "
    "fall, and the evidence settles between one and three rounds."
)
RECORDED = Path(world.__file__).parent / "recorded" / "archive"
UPDATES, EPISODES, EVALUATED = 12, 32, 64
RATE = 2e-3
MOVED = 0.3
# Lines of a screen are one token each; numbers, and what calls consist of, are tokens too.
PIECES = (
    r"## Round |\[\w+\(element=|\[submit\(message=\"done\", evidence=\[|\]?\)\]|, |%s|\n|[^\n]+"
)
_ACTS = "(?:link|button)"


def task() -> Task:
    """The one that the recording is of."""
    (made,) = world.make_tasks(1, seed=3, kinds=("archive",), starts=1)
    return made


@cache
def recording() -> Recording:
    return Recording.open(RECORDED)


def make_world() -> World:
    screens = RecordedScreens(recording())
    shown = [words(node.view) for node in recording().nodes.values()]
    calls = ["[click(element=1)]", '[submit(message="done", evidence=[1, 2])]', "## Round 1\n"]
    return World(
        task(),
        lambda luck: GuiEnvironment(screens, screenshots=False),
        [*shown, *calls, "submitted"],
        turns=8,
        tokens=24,
        pieces=PIECES,
        vocabulary=3000,
    )


def careless(seed: int) -> Generator[str, str, None]:
    """Archives the mail, nine times out of ten the right one; looks at the archive now and then."""
    rng = random.Random(seed)
    seen = yield ""
    person = re.search(r"the mail of (\w+)", seen)
    assert person is not None
    links = re.findall(r'\[(\d+)\] link "(\w+): ', seen)
    right = [number for number, name in links if name == person[1]]
    wrong = [number for number, name in links if name != person[1]]
    seen = yield _click(rng.choice(right if rng.random() < 0.9 else wrong))
    seen = yield _click(_find(seen, "Archive it"))
    if rng.random() < 0.3:
        seen = yield _click(_find(seen, "Archive"))
    (last,) = re.findall(r"## Round (\d+)", seen)[-1:]
    n = int(last)
    habits = [[n], [n - 1, n], list(range(n + 1)), [n + 1], []]
    (evidence,) = rng.choices(habits, [0.25, 0.15, 0.25, 0.2, 0.15])
    yield f'[submit(message="done", evidence={evidence})]'


def _click(number: str) -> str:
    return f"[click(element={number})]"


def _find(seen: str, name: str) -> str:
    (number,) = re.findall(rf'\[(\d+)\] {_ACTS} "{name}"', seen)[-1:]
    return str(number)


@dataclass(slots=True)
class Found:
    """Over the evaluated episodes: complete proofs, mails archived as asked, submissions that are
    none; evidences of the others, and how much of the episode they show a judge."""

    proved: float
    solved: float
    invalid: float
    count: float
    shown: float


def run(seeds: Sequence[int]) -> Measured:
    """Train on every seed; passes when the effect is there on each of them."""
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        start, end = await compare(seed)
        passed &= holds(start, end)
        for name, f in (("imitation", start), ("trained", end)):
            rows.append([seed, name, f.proved, f.solved, f.invalid, f.count, f.shown])
    columns = ["seed", "policy", "proves", "archives", "invalid", "evidences", "shown"]
    return Measured(passed, columns, rows)


async def compare(seed: int) -> tuple[Found, Found]:
    """What the warm start does, and where evidence leads from there."""
    there, reward = make_world(), EvidenceReward()
    policy = await there.imitate(careless, reward, seed, episodes=32, steps=40)
    settings = there.settings(RATE, group_size=EPISODES)
    found = []
    for updates in (0, UPDATES):
        episodes = await there.train(
            policy,
            reward,
            settings,
            seed,
            updates=updates,
            group_size=EPISODES,
            evaluated=EVALUATED,
        )
        found.append(_found(episodes))
    return found[0], found[1]


def _found(episodes: Sequence[Episode]) -> Found:
    metrics = evidence_metrics(episodes)
    names = ("proved", "solved", "invalid", "count", "shown")
    return Found(*(metrics.get(name, 0.0) for name in names))


def holds(start: Found, end: Found) -> bool:
    """The effect: proofs rise by `MOVED`, invalid submissions fall, one to three evidences."""
    return (
        end.proved >= start.proved + MOVED
        and end.invalid < start.invalid
        and 1.0 <= end.count <= 3.0
    )
