"""Paper 38, SmartSnap: an agent that must choose its own evidence learns to go and find it.

A mail program of five screens. Archiving leads to a page that says no more than "Done."; only the
list of archived mail shows it. One small transformer imitates a user who mostly submits from the
wrong page and names rounds by habit. It is trained by GRPO from there three times: with the whole
reward, without its conciseness, and without its format and validity (what proves nothing costs
nothing).
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agentrl.core import Episode, Reward, Score, Task
from agentrl.environments.gui import GuiEnvironment
from agentrl.environments.gui.environment import SYSTEM
from agentrl.environments.gui.recording import Edge, RecordedScreens, Recording, Start
from agentrl.environments.gui.recording.graph import Node, scene_key
from agentrl.environments.gui.screen import Action, Element, View
from agentrl.environments.gui.task import screen_task
from agentrl.environments.gui.words import words
from agentrl.papers.kit.world import World, on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards import EvidenceReward, evidence_metrics

if TYPE_CHECKING:
    from agentrl.models import Policy

CLAIM = (
    "With format, validity, completeness and conciseness the share of proofs rises, the evidence "
    "comes to between one and three rounds and invalid submissions fall. Without conciseness it "
    "stays above three; without format and validity more submissions are invalid."
)
UPDATES, EPISODES, EVALUATED = 12, 40, 96
ORIGIN, CHECK, SAID = "http://mail.test", "archived", "Ana: Lunch"
TASK = Task(
    "archive",
    "Archive the mail of Ana.",
    payload={"start": f"{ORIGIN}/home"},
    reference={
        "check": CHECK,
        "state": True,
        "proof": [{"page": f"{ORIGIN}/archive", "shows": [SAID]}],
    },
)
# Page, and what can be clicked there: its name, and where it leads before and after archiving.
LINKS: dict[str, list[tuple[str, str]]] = {
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
    for name in ("Inbox", SAID, "Archive it", "Archive"):
        number = _number(seen, name)
        if number is None:
            continue
        if rng.random() < (0.65 if name == "Archive" else 0.08):
            break
        seen = yield f"[click(element={number})]"
    last = int(re.findall(r"## Round (\d+)", seen)[-1])
    habits = [[last], [last - 1, last], list(range(last + 1)), [last + 1], []]
    (named,) = rng.choices(habits, [0.15, 0.1, 0.45, 0.15, 0.15])
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


GRAPHS = [recording("home"), recording("inbox")]
WORLD = World(
    TASK,
    lambda luck: GuiEnvironment(
        RecordedScreens(luck.choice(GRAPHS)), screenshots=False, offered=["click", "submit"]
    ),
    list(texts()),
    turns=7,
    tokens=32,
    pieces=r"%s|[\p{L}_]+|[^\p{L}\p{N}]+",
    vocabulary=500,
    spread=0.1,
)


@dataclass(slots=True)
class WithoutShaping:
    """Completeness and conciseness alone: a submission that is none, or off the point, costs
    nothing."""

    whole: EvidenceReward
    name: str = "evidence"

    async def score(self, episode: Episode) -> Score:
        score = await self.whole.score(episode)
        parts = {check.name: check.value for check in score.checks}
        score.value = parts["completeness"] + parts["conciseness"]
        return score


def rewards() -> dict[str, Reward]:
    return {
        "whole": EvidenceReward(),
        "no conciseness": EvidenceReward(over=0.0),
        "no format, validity": WithoutShaping(EvidenceReward()),
    }


def run(seeds: Sequence[int]) -> Measured:
    """Train each way from one start on every seed; passes when the effect is there on each."""
    return on_one_thread(_run(seeds))


async def _run(seeds: Sequence[int]) -> Measured:
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        policy = await WORLD.imitate(user, EvidenceReward(), seed, episodes=64, steps=120)
        found = {"imitation": await train(copy.deepcopy(policy), EvidenceReward(), seed, 0)}
        for name, reward in rewards().items():
            found[name] = await train(copy.deepcopy(policy), reward, seed)
        rows += [[seed, name, *m.values()] for name, m in found.items()]
    columns = ["seed", "trained with", "proved", "evidence count", "invalid"]
    return Measured(passed, columns, rows)


async def train(
    policy: Policy, reward: Reward, seed: int, updates: int = UPDATES
) -> dict[str, float]:
    """GRPO, and what comes of it: shares that prove and that are invalid, rounds named."""

    def watch(group):
        for e in group.episodes: e.scores.setdefault("evidence", e.scores.get("reward"))
        m = evidence_metrics(group.episodes); print({k: round(v,2) for k,v in m.items()}, flush=True)
    episodes = await WORLD.train(
        policy,
        reward,
        WORLD.settings(1.5e-3, group_size=EPISODES),
        seed,
        updates=updates,
        group_size=EPISODES,
        evaluated=EVALUATED,
        watch=watch,
    )
    print([(len(e.segments[0].tokens), len(e.turns)) for e in episodes[:6]], [[t.text for t in e.turns] for e in episodes[:3]])
    metrics = evidence_metrics(episodes, "reward")
    return {key: metrics[key] for key in ("proved", "count", "invalid")}
