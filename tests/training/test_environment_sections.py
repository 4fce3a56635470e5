"""Environments that run files name: what is opened, and what is closed again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from agentrl.core import ConfigError, Task, ToolCall
from agentrl.environments.gui import Action, Element, View
from agentrl.environments.gui.principles import PRINCIPLES
from agentrl.environments.gui.recording import Edge, Recording, Start
from agentrl.environments.gui.recording.graph import scene_key
from agentrl.environments.gui.task import screen_task
from agentrl.environments.search import SearchEnvironment, build_index
from agentrl.environments.simulated import SimulatedEnvironment, canonical
from agentrl.training.build import make_environments
from agentrl.training.config import RunConfig

DESK = Path(__file__).parents[2] / "examples" / "desk"


def config(**environment: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": "unused",
            "environment": environment,
            "tasks": {"train": "unused"},
            "reward": {"kind": "claim"},
        }
    )


async def test_a_search_environment_is_over_one_opened_index(tmp_path):
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "moon", "text": "tides"}))
    build_index(tmp_path / "index", [tmp_path / "d.jsonl"])
    chosen = config(kind="search", index=str(tmp_path / "index"), searches=1, top=2)
    async with make_environments(chosen) as make:
        one, two = make(), make()
        assert isinstance(one, SearchEnvironment)
        assert one is not two
        assert one._retriever is two._retriever
    with pytest.raises(ConfigError, match="no index here"):
        async with make_environments(config(kind="search", index="nowhere")):
            pass


@pytest.mark.parametrize("given", [{}, {"index": "a", "url": "http://b"}])
def test_a_search_environment_has_one_source(given):
    with pytest.raises(ValidationError, match="either `index` or `url`"):
        config(kind="search", **given)


async def test_recorded_calls_are_shared_and_written_at_the_end(tmp_path):
    path = tmp_path / "calls.jsonl"
    async with make_environments(config(kind="simulated", cache=str(path), mode="record")) as make:
        environment = make()
        assert isinstance(environment, SimulatedEnvironment)
        environment._cache.put("b", {}, 1)
        make()._cache.put("a", {}, 1)
        assert environment._cache.get("a", {}) is not None
    assert [json.loads(line)["tool"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert canonical("a", {}) == "a {}"


async def test_a_domain_is_named_by_its_folder():
    async with make_environments(config(kind="simulated", domain=str(DESK))) as make:
        environment = make()
        payload = {"user": [{"say": "hello"}]}
        messages = await environment.reset(Task("t", "", payload=payload))
        assert "library" in messages[0].content
        (result,) = [await environment.tools["find_member"]({"name": "Ada"})]
        assert '"m1"' in result.text
        assert ToolCall("find_member").name in environment.tools


def recorded(folder: Path, task: Task) -> None:
    """Two screens, with a button that leads from one to the other."""
    recording = Recording(folder)
    button = Element(1, "button", "Go", (0, 0, 40, 20))
    one, two = (
        recording.add(View(title, "http://a.test/", (80, 60), [button]), {"here": title}, "")
        for title in ("first", "second")
    )
    recording.connect(one.id, str(Action("click", 1)), Edge(two.id))
    recording.starts[scene_key(screen_task(task))] = Start(one.id)
    recording.save()


async def test_a_screen_of_a_recording_is_played_from_a_run_file(tmp_path):
    payload, reference = {"start": "http://a.test/"}, {"check": "here", "state": "second"}
    task = Task("t", "Go there.", payload=payload, reference=reference)
    recorded(tmp_path / "r", task)
    screen = {"kind": "recording", "path": str(tmp_path / "r")}
    async with make_environments(config(kind="gui", screen=screen, tools=["click"])) as make:
        environment = make()
        messages = await environment.reset(task)
        assert PRINCIPLES in messages[0].content
        assert list(environment.tools) == ["click"]
        result = await environment.tools["click"]({"element": 1})
        assert result.text.startswith("## Round 1\nsecond")
        assert (await environment.finish(None))["solved"] is True
        assert make() is not environment
    with pytest.raises(ConfigError, match="not a recording"):
        async with make_environments(config(kind="gui", screen={**screen, "path": "none"})):
            pass
    with pytest.raises(ConfigError, match="a desktop needs a sandbox"):
        async with make_environments(config(kind="gui", screen={"kind": "desktop"})):
            pass
