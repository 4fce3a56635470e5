"""Paper 38, SmartSnap: an agent that chooses its own evidence learns to go and find it.

A mail program as a browser showed it, played from its recording. Archiving a mail leads to a page
that says no more than "It is done."; only the archive shows the mail. Two small transformers are
warm-started. One imitates a careless user, who often does not do the task, seldom looks where the
mail went and names rounds by habit; it is trained by GRPO twice from there: on the evidence, and on
the report, which is the message of the submission alone. The other imitates a thorough user, who
always shows the archive but mostly names every round there was; it is trained with the charge for
over-evidence and without, its proofs being compared among themselves, so that they differ in
nothing but the rounds they name. What proves the task is judged here, not by what was trained on.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import Episode, Group, Reward, Score, Task
from agentrl.environments.gui import GuiEnvironment
from agentrl.environments.gui.environment import SYSTEM
from agentrl.environments.gui.recording import RecordedScreens, Recording
from agentrl.environments.gui.words import words
from agentrl.environments.gui.world import SITE, make_tasks
from agentrl.papers.kit.world import Rows, Script, World, on_every_seed
from agentrl.papers.registry import Measured
from agentrl.rewards.evidence import EvidenceReward, read_submission

if TYPE_CHECKING:
    from agentrl.models import Policy

CLAIM = (
    "Rewarded for evidence, a policy learns to go on to the screen that shows the result and to "
    "name it: proofs rise, invalid submissions fall. Rewarded for its report, it learns to claim "
    "what it does not prove. The charge for over-evidence brings the rounds that a proof names to "
    "between one and three; without it they stay."
)
DONE, NOT_DONE = "done", "not done"
IMITATED, EPISODES, UPDATES, EVALUATED, RATE = 100, 32, 10, 64, 1e-3
MOVED = 0.3
Finish = Callable[[Group], Coroutine[None, None, None]]
# A line of a screen is one token, a click is one, and so is each round that is named.
PIECES = (
    r"## Round |\[click\(element=\d+\)\]|\[submit\(message=\"[\w ]+\", evidence=\[|\]\)\]|, \d+|%s"
    r"|\n|[^\n]+"
)


@cache
def recording() -> Recording:
    return Recording.open(SITE.parent / "recorded" / "archive")


@cache
def world() -> World:
    screens = RecordedScreens(recording())
    shown = [words(node.view) for node in recording().nodes.values()]
    calls = [_submit(said, range(9)) for said in (DONE, NOT_DONE)]
    calls += [f"[click(element={number})]" for number in range(1, 12)]
    return World(
        _task(),
        lambda luck: GuiEnvironment(screens, screenshots=False, offered=["click", "submit"]),
        [SYSTEM, *shown, *calls, "## Round 0\nsubmitted"],
        turns=8,
        tokens=24,
        pieces=PIECES,
        vocabulary=4000,
        spread=0.1,
    )


def _task() -> Task:
    """One of those that begin where the recording does."""
    tasks = make_tasks(4, kinds=("archive",), starts=1)
    return next(task for task in tasks if task.prompt == "Archive the mail of Dan.")


def careless(seed: int) -> Generator[str, str, None]:
    """Works every other time, looks at the archive one time out of three, and names rounds by
    habit: the last, the last two, all, one that there was not, or none."""
    rng = random.Random(seed)
    seen = yield ""
    works = rng.random() < 0.5
    for name in ("Dan: Garden", "Archive it") if works else ("Dan: Garden",):
        seen = yield _click(seen, name)
    if rng.random() < 0.35:
        seen = yield _click(seen, "Archive")
    last = _last(seen)
    habits = [[last], [last - 1, last], list(range(last + 1)), [last + 1], []]
    (named,) = rng.choices(habits, [0.35, 0.1, 0.2, 0.2, 0.15])
    yield _submit(DONE if works or rng.random() < 0.2 else NOT_DONE, named)


def thorough(seed: int) -> Generator[str, str, None]:
    """Does the work, shows the archive, and mostly names all six rounds."""
    rng = random.Random(seed)
    seen = yield ""
    for name in ("Sent", "Inbox", "Dan: Garden", "Archive it", "Archive"):
        seen = yield _click(seen, name)
    last = _last(seen)
    habits = [list(range(last + 1)), [last - 1, last], [last]]
    (named,) = rng.choices(habits, [0.7, 0.15, 0.15])
    yield _submit(DONE, named)


def _click(seen: str, name: str) -> str:
    """On the last link or button of that name."""
    number = re.findall(rf'\[(\d+)\] (?:link|button) "{name}"', seen)[-1]
    return f"[click(element={number})]"


def _last(seen: str) -> int:
    return int(re.findall(r"## Round (\d+)", seen)[-1])


def _submit(message: str, evidence: Sequence[int]) -> str:
    return f'[submit(message="{message}", evidence={list(evidence)})]'


@dataclass(slots=True)
class Report:
    """Trusts what the agent says: 1 when it reports that the task is done."""

    name: str = "report"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["message"] == DONE))


@dataclass(slots=True)
class Found:
    """Over the evaluated episodes: shares that prove the task, that claim it without a proof, and
    whose submission is none; rounds named in a submission."""

    proved: float
    empty: float
    invalid: float
    count: float


def measure(episodes: Sequence[Episode]) -> Found:
    sent = [read_submission(episode) for episode in episodes]
    proved = np.array([proves(episode) for episode in episodes])
    claimed = np.array([episode.outcome["message"] == DONE for episode in episodes])
    named = [len(s.evidence) for s in sent if not s.problem]
    return Found(
        float(proved.mean()),
        float((claimed & ~proved).mean()),
        float(np.mean([bool(s.problem) for s in sent])),
        float(np.mean(named)) if named else 0.0,
    )


def proves(episode: Episode) -> bool:
    """Is the mail archived, and does a round that is named show it in the archive?"""
    named = read_submission(episode)
    shown = any("Archive  " in s.text and "Dan: Garden" in s.text for s in named.snapshots)
    return bool(episode.outcome["solved"]) and not named.problem and shown


def run(seeds: Sequence[int]) -> Measured:
    """Train four ways on every seed; passes when the effects are there on each of them."""
    columns = ["seed", "imitated", "rewarded for", "proved", "claims only", "invalid", "rounds"]
    return on_every_seed(seeds, columns, _run)


async def _run(seed: int) -> tuple[bool, Rows]:
    sought = await compare(careless, {"evidence": EvidenceReward(), "report": Report()}, seed)
    kept = {"charged": EvidenceReward(), "free": EvidenceReward(over=0.0)}
    named = await compare(thorough, kept, seed, finish=proofs_alone)
    return learns_to_prove(**sought) and settles(**named), [
        [seed, user, reward, f.proved, f.empty, f.invalid, f.count]
        for user, found in (("careless", sought), ("thorough", named))
        for reward, f in found.items()
    ]


def learns_to_prove(start: Found, evidence: Found, report: Found) -> bool:
    """Proofs and invalid submissions move by `MOVED` and half of it; reports only empty ones."""
    return (
        evidence.proved >= start.proved + MOVED
        and evidence.invalid <= start.invalid - MOVED / 2
        and evidence.empty < start.empty
        and report.empty >= start.empty + MOVED / 2
        and report.proved <= start.proved + MOVED / 2
    )


def settles(start: Found, charged: Found, free: Found) -> bool:
    """From more than three and a half rounds to between one and three; else within a half."""
    return start.count > 3.5 and 1.0 <= charged.count <= 3.0 and free.count >= start.count - 0.5


async def proofs_alone(group: Group) -> None:
    """Leave only those to be compared that prove the task: they differ in the rounds they name."""
    group.episodes[:] = [episode for episode in group.episodes if proves(episode)]


async def compare(
    script: Script, rewards: Mapping[str, Reward], seed: int, finish: Finish | None = None
) -> dict[str, Found]:
    """What imitation of a script comes to ("start"), and where each reward leads from there."""
    there = world()
    start = await there.imitate(script, EvidenceReward(), seed, steps=IMITATED)
    ends = {"start": await train(copy.deepcopy(start), EvidenceReward(), seed, updates=0)}
    for name, reward in rewards.items():
        ends[name] = await train(copy.deepcopy(start), reward, seed, finish=finish)
    return ends


async def train(
    policy: Policy,
    reward: Reward,
    seed: int,
    updates: int = UPDATES,
    finish: Finish | None = None,
) -> Found:
    episodes = await world().train(
        policy,
        reward,
        world().settings(RATE, group_size=EPISODES),
        seed,
        updates=updates,
        group_size=EPISODES,
        evaluated=EVALUATED,
        finish=finish,
    )
    return measure(episodes)
