"""Paper 38, SmartSnap: an agent that must choose its own evidence learns to go and find it.

A mail program of six screens. Archiving leads to a page that says no more than "Done."; only the
list of archived mail shows it. One small transformer imitates a user who mostly submits from the
wrong page and names rounds by habit. It is trained by GRPO from there twice: on the end state,
as where somebody else verifies, and on the evidence.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import Reward, Task
from agentrl.environments.gui import GuiEnvironment
from agentrl.environments.gui.environment import SYSTEM
from agentrl.environments.gui.recording import Edge, RecordedScreens, Recording, Start
from agentrl.environments.gui.recording.graph import Node, scene_key
from agentrl.environments.gui.screen import Action, Element, View
from agentrl.environments.gui.task import screen_task
from agentrl.environments.gui.words import words
from agentrl.papers.kit.toys import Fixed
from agentrl.papers.kit.world import World, on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards import EvidenceReward, evidence_metrics

if TYPE_CHECKING:
    from agentrl.models import Policy

CLAIM = (
    "With format, validity, completeness and conciseness the share of proofs rises, the evidence "
    "comes to between one and three rounds and invalid submissions fall. Trained on the end state "
    "alone the task is done more often, and proved no better."
)
UPDATES, EPISODES, EVALUATED, MOVED = 12, 40, 80, 0.3
ORIGIN, CHECK, SAID = "http://mail.test", "archived", "Ana: Lunch"
TASK = Task(
    "archive",
    "Archive the mail of Ana.",
    payload={"start": ORIGIN},
    reference={
        "check": CHECK,
        "state": True,
        "proof": [{"page": f"{ORIGIN}/archive", "shows": [SAID]}],
    },
)
# Page, and what can be clicked there: its name, and where it leads before and after archiving.
LINKS: dict[str, list[tuple[str, str]]] = {
    "welcome": [("Home", "home")],
    "home": [("Inbox", "inbox"), ("Archive", "archive")],
    "inbox": [("Archive", "archive"), (SAID, "mail")],
    "mail": [("Inbox", "inbox"), ("Archive it", "done")],
    "done": [("Inbox", "inbox"), ("Archive", "archive")],
    "archive": [("Inbox", "inbox")],
}


def recording(start: str) -> Recording:
    """The mail program as a screen graph, episodes of which begin on a page."""
    graph = Recording(Path("mail"))
    nodes: dict[tuple[str, bool], Node] = {}
    for page in LINKS:
        for archived in (False, True):
            nodes[page, archived] = graph.add(_view(page, archived), {CHECK: archived}, "")
    for (page, archived), node in nodes.items():
        for element in node.view.elements:
            if to := dict(LINKS[page]).get(element.name):
                action = str(Action("click", element.id))
                graph.connect(node.id, action, Edge(nodes[to, archived or to == "done"].id))
    graph.starts[scene_key(screen_task(TASK))] = Start(nodes[start, False].id)
    return graph


def _view(page: str, archived: bool) -> View:
    links = [name for name, _ in LINKS[page] if not (page == "inbox" and archived and name == SAID)]
    still = {"done": ["Done."], "archive": [SAID if archived else "Nothing."]}.get(page, [])
    elements = [_element(i, "link", name) for i, name in enumerate(links, 1)]
    elements += [_element(0, "text", name) for name in still]
    return View(page.capitalize(), f"{ORIGIN}/{page}", (320, 200), elements)


def _element(number: int, role: str, name: str) -> Element:
    return Element(number, role, name, (0, 20 * number, 100, 20 * number + 20))


def user(seed: int) -> Generator[str, str, None]:
    """Archives the mail most of the time, rarely looks where it went, and proves by habit."""
    rng = random.Random(seed)
    seen = yield ""
    for name in ("Home", "Inbox", SAID, "Archive it", "Archive"):
        number = _number(seen, name)
        if number is None:
            continue
        if rng.random() < (0.6 if name == "Archive" else 0.06):
            break
        seen = yield f"[click(element={number})]"
    last = int(re.findall(r"## Round (\d+)", seen)[-1])
    habits = [[last], [last - 1, last], list(range(last + 1)), [last + 1], []]
    (named,) = rng.choices(habits, [0.3, 0.05, 0.25, 0.2, 0.2])
    yield f'[submit(message="done", evidence={[n for n in named if n >= 0]})]'


def _number(seen: str, name: str) -> str | None:
    """Of a link on the last screen."""
    screen = seen[seen.rindex("## Round") :]
    return next(
        (line[1 : line.index("]")] for line in screen.splitlines() if f'link "{name}"' in line),
        None,
    )


def texts() -> Iterator[str]:
    """All that is read and written, for the tokenizer."""
    yield SYSTEM
    for page in LINKS:
        yield from (f"## Round 0\n{words(_view(page, archived))}" for archived in (False, True))
    for last in range(7):
        yield f'[submit(message="done", evidence={list(range(last))})]'
        yield f"[click(element={last})]"


GRAPHS = [recording("welcome"), recording("home")]
WORLD = World(
    TASK,
    lambda luck: GuiEnvironment(
        RecordedScreens(luck.choice(GRAPHS)), screenshots=False, offered=["click", "submit"]
    ),
    list(texts()),
    turns=8,
    tokens=32,
    pieces=r"%s|[\p{L}_]+|[^\p{L}\p{N}]+",
    vocabulary=500,
    spread=0.1,
)


def run(seeds: Sequence[int]) -> Measured:
    """Train both ways from one start on every seed; passes when the effect is there on each."""
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        policy = await WORLD.imitate(user, EvidenceReward(), seed, episodes=64, steps=120)
        start = await train(copy.deepcopy(policy), EvidenceReward(), seed, updates=0)
        state = await train(copy.deepcopy(policy), Fixed(read="solved", name="state"), seed)
        snap = await train(policy, EvidenceReward(), seed)
        passed &= holds(start, state, snap)
        for name, found in (("imitation", start), ("end state", state), ("evidence", snap)):
            rows.append([seed, name, found.solved, found.proved, found.count, found.invalid])
    columns = ["seed", "trained on", "done", "proved", "evidence count", "invalid"]
    return Measured(passed, columns, rows)


@dataclass(slots=True)
class Found:
    """Shares of the evaluation episodes: done, proved and with an invalid submission; `count`,
    the mean number of rounds that the others name."""

    solved: float
    proved: float
    count: float
    invalid: float


def holds(start: Found, state: Found, snap: Found) -> bool:
    """The effect, with moves of at least `MOVED` in the share that is proved."""
    return (
        snap.proved > start.proved + MOVED
        and snap.proved > state.proved + MOVED
        and snap.invalid < min(start.invalid, state.invalid)
        and 1 <= snap.count <= 3
        and state.solved > start.solved
    )


async def train(policy: Policy, reward: Reward, seed: int, updates: int = UPDATES) -> Found:
    """GRPO, and how its policy then fares with the evidence, whatever it was trained on."""
    episodes = await WORLD.train(
        policy,
        reward,
        WORLD.settings(1e-3, UPDATES, group_size=EPISODES),
        seed,
        updates=updates,
        group_size=EPISODES,
        evaluated=EVALUATED,
    )
    for episode in episodes:
        episode.scores["evidence"] = await EvidenceReward().score(episode)
    metrics = evidence_metrics(episodes)
    return Found(*(metrics.get(key, 0.0) for key in ("solved", "proved", "count", "invalid")))
