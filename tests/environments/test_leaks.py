"""What a policy is shown, in every environment: never anything of the task's reference."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import agentrl.environments
from agentrl.core import Sampling, Task
from agentrl.environments import Environment
from agentrl.environments.beam import BeamEnvironment
from agentrl.environments.beam import make_tasks as make_beams
from agentrl.environments.chain import ChainEnvironment
from agentrl.environments.chain import make_tasks as make_chains
from agentrl.environments.choices import ChoiceEnvironment, Preference, as_choice
from agentrl.environments.gymnasium import GymEnvironment
from agentrl.environments.languages import CodeEnvironment
from agentrl.environments.logic import LogicEnvironment
from agentrl.environments.logic import make_tasks as make_formulas
from agentrl.environments.maze import MazeEnvironment
from agentrl.environments.maze import make_tasks as make_mazes
from agentrl.environments.mcp import McpEnvironment
from agentrl.environments.roles import RolesEnvironment
from agentrl.environments.search import Document, Hit, SearchEnvironment
from agentrl.environments.simulated import SimulatedEnvironment
from agentrl.environments.simulated.domain import load_domain
from agentrl.environments.sql import SqlEnvironment
from agentrl.environments.sql import make_tasks as make_queries
from agentrl.environments.verify import VerifyEnvironment
from agentrl.environments.verify import make_tasks as make_candidates
from agentrl.episodes import Limits, Runner, dialect
from agentrl.papers.kit.toys import Fixed

SECRET = "zq7SECRETqz"
DESK = load_domain(Path(__file__).parents[2] / "examples" / "desk")


class Shelf:
    async def search(self, query: str, top: int) -> list[Hit]:
        return [Hit(Document("moon", "The moon is near.", "Moon"), 1.0)]

    async def passage(self, key: str) -> Document | None:
        return None

    async def close(self) -> None: ...


class World:
    def reset(self) -> str:
        return "a room"

    def step(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        return "still a room", 0.0, False, {}


def first(tasks: Iterator[Task]) -> Task:
    return next(iter(tasks))


@dataclass
class Case:
    """An environment, a task of it, and what a policy says there."""

    make: Callable[[], Environment]
    task: Task
    says: list[str]


CLAIM = Task(
    "c", "It is far.", payload={"kind": "claim"},
    reference={"label": "SUPPORT", "evidence": ["a document nobody found"]},
)  # fmt: skip
PROGRAM = Task(
    "p", "Add.", payload={"language": "python", "samples": [{"input": "1 2", "output": "3"}]},
    reference={"tests": [{"input": "hidden input 71", "output": "hidden output 72"}]},
)  # fmt: skip
CASES = {
    BeamEnvironment: Case(BeamEnvironment, first(make_beams(1)), ["P"]),
    ChainEnvironment: Case(
        ChainEnvironment, first(make_chains(1, horizon=3, stepwise=True)), ["1", "2", "3"]
    ),
    ChoiceEnvironment: Case(
        ChoiceEnvironment, as_choice(Preference("c", "Which?", "this", ["that"])), ["A"]
    ),
    CodeEnvironment: Case(lambda: CodeEnvironment(None), PROGRAM, ["print(3)"]),  # type: ignore[arg-type]
    GymEnvironment: Case(
        lambda: GymEnvironment(make=World), Task("g", "Play."), ['[act(command="look")]'] * 2
    ),
    LogicEnvironment: Case(LogicEnvironment, first(make_formulas(1)), ["P(x"]),
    MazeEnvironment: Case(
        MazeEnvironment,
        first(make_mazes(1, lengths=[4], mode="moves")),
        ['[move(direction="up")]', '[move(direction="nowhere")]', '[move(direction="left")]'],
    ),
    McpEnvironment: Case(lambda: McpEnvironment(servers=[]), Task("m", "Ask."), ["[f()]", "no"]),
    RolesEnvironment: Case(
        RolesEnvironment,
        Task("r", "Answer.", payload={"role": "answerer"}, reference={"answer": "never be told"}),
        ["It is this."],
    ),
    SearchEnvironment: Case(
        lambda: SearchEnvironment(Shelf()), CLAIM,
        ['[search(query="far")]', '[read(id="moon")]', "Label: REFUTE\nEvidence: none"],
    ),
    SimulatedEnvironment: Case(
        DESK.environment, DESK.tasks[0], ['[lend(member="m1", book="zz")]', "[f()]", "Done."]
    ),
    SqlEnvironment: Case(
        SqlEnvironment, first(make_queries(1)),
        ['[query(sql="SELECT 1")]', '[query(sql="SELECT nothing")]', "<solution>no</solution>"],
    ),
    VerifyEnvironment: Case(
        VerifyEnvironment, first(make_candidates(1)), ['[convert(value="x")]', "wrong"]
    ),
}  # fmt: skip
# What needs more than this process, and where it is looked at.
ELSEWHERE = {
    "SweEnvironment": "test_swe_episode.py: no hidden test in the sandbox",
    "SweBenchEnvironment": "test_swebench_episode.py: neither fix nor history in the sandbox",
    "GuiEnvironment": "shows the prompt and the screen that `Screens.open(task)` gives it",
    "HarborEnvironment": "test_harbor.py: the tests come into the container after the agent",
    "RemoteEnvironment": "shows what the server's environment shows",
    "OpenEnvEnvironment": "sends `payload.reset` and nothing else of the task",
    "AnswerEnvironment": "abstract: a subclass says what it shows",
}


def every_environment() -> set[type[Environment]]:
    found = set()
    for module in pkgutil.walk_packages(agentrl.environments.__path__, "agentrl.environments."):
        loaded = importlib.import_module(module.name)
        found |= {
            value
            for value in vars(loaded).values()
            if inspect.isclass(value)
            and issubclass(value, Environment)
            and value is not Environment
        }
    return found


def test_no_environment_is_left_out():
    assert {e.__name__ for e in every_environment()} == {
        *(e.__name__ for e in CASES), *ELSEWHERE,
    }  # fmt: skip


def texts(value: Any) -> Iterator[str]:
    """Strings of a reference that nobody writes by chance."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, str) and len(value) >= 12:
        yield value
    elif isinstance(value, (list, tuple)):
        words = [v for v in value if isinstance(v, str)]
        if len(words) > 2:
            yield from (glue.join(words) for glue in ("", " ", ", ", "|><|"))
        for item in value:
            yield from texts(item)


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
async def test_nothing_of_the_reference_is_shown(kind):
    from agentrl.engines import ScriptedEngine
    from agentrl.models import tiny_policy, train_tokenizer

    case = CASES[kind]
    # A programming task's reference has a schema, which knows no such key.
    marked = {} if kind is CodeEnvironment else {SECRET: [SECRET]}
    task = replace(case.task, reference={**case.task.reference, **marked})

    def script(seed: int) -> Iterator[str]:
        yield ""
        for text in case.says:
            _ = yield text
        while True:
            yield "no more"

    policy = tiny_policy(train_tokenizer([""], 261), hidden=32, layers=1)
    runner = Runner(
        ScriptedEngine(script, policy.tokenizer),
        policy.tokenizer,
        dialect("pythonic"),
        case.make,
        Fixed(1.0),
        Limits(turns=len(case.says) + 1, tokens=50_000, tokens_per_turn=500),
        Sampling(),
        judged=False,
    )
    episode = await runner.run(task, seed=0)
    assert "error" not in episode.outcome, episode.outcome["error"]
    assert len(episode.turns) >= min(2, len(case.says))
    shown = [m.content for m in episode.prompt]
    shown += [m.content for t in episode.turns for m in t.observations]
    shown += [policy.tokenizer.decode(s.tokens) for s in episode.segments]
    everything = "\n".join([*shown, json.dumps(episode.tools)])
    assert [s for s in (SECRET, *texts(case.task.reference)) if s in everything] == []
