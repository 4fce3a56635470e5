"""Programs that know nothing of us repair our tasks through the gateway: a published agent as it
is, and a loop around the `openai` client."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from swe_pocket import write_pocket

from agentrl.core import Episode, Score, Status, Task, Turn
from agentrl.core.taskfile import read_tasks
from agentrl.engines import ScriptedEngine
from agentrl.environments import Environment, Observation
from agentrl.environments.swe import Grader, SynthSettings, synthesise
from agentrl.environments.swe.submission import tree_diff
from agentrl.environments.swe.task import SweTask
from agentrl.environments.swe.tree import read_folder
from agentrl.episodes import Limits, Runner, dialect
from agentrl.episodes.gateway import AgentRunner, Gateway, Voice
from agentrl.models import ChatTokenizer, builtin_template, train_tokenizer
from agentrl.sandboxes import ProcessPool, ensure_image

SYSTEM = "You can run bash commands."
INSTANCE = "Solve this issue: {{task}}"
DONE = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class Resolved:
    name = "resolved"

    async def score(self, episode: Episode) -> Score:
        return Score(float(episode.outcome["resolved"]))


def commands(task: Task) -> list[str]:
    place = task.reference["location"]
    line, wrong, right = place["line"], place["new"], place["old"]
    change = f"sed -i '{line}s/{wrong}/{right}/' {place['path']}"
    return [f"sed -n '{line}p' {place['path']}", change, DONE]


def script_of(task: Task):
    def script(seed: int) -> Generator[str, str, None]:
        yield ""
        for command in commands(task):
            call = {"name": "bash", "arguments": {"command": command}}
            yield f"THOUGHT: é\n<tool_call>\n{json.dumps(call)}\n</tool_call>"

    return script


def local(folder: Path) -> Any:
    from minisweagent.environments.local import LocalEnvironment

    return LocalEnvironment(cwd=str(folder))


def docker(folder: Path) -> Any:
    """A container of its own, made and used by the package through the command line."""
    from minisweagent.environments.docker import DockerEnvironment

    given = ["--rm", "--network", "none", "--volume", f"{folder}:/repo"]
    executable = shutil.which("docker") or shutil.which("podman")
    return DockerEnvironment(
        image=ensure_image(), cwd="/repo", run_args=given, executable=executable
    )


def mini_swe_agent(
    url: str, task: Task, folder: Path, where: Callable[[Path], Any]
) -> dict[str, Any]:
    """The package's own agent, model and environment; told nothing but where to find them."""
    os.environ |= {"MSWEA_SILENT_STARTUP": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    from minisweagent.agents.default import DefaultAgent
    from minisweagent.models.litellm_model import LitellmModel

    model = LitellmModel(
        model_name="openai/policy",
        model_kwargs={"api_base": f"{url}/v1", "api_key": "none"},
        cost_tracking="ignore_errors",
    )
    environment = where(folder)
    agent = DefaultAgent(model, environment, system_template=SYSTEM, instance_template=INSTANCE)
    return {**agent.run(task.prompt), "messages": agent.messages}


BASH = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


def openai_client(
    url: str, task: Task, folder: Path, where: Callable[[Path], Any]
) -> dict[str, Any]:
    """A tool loop as its documentation shows it, over the same environments."""
    import openai

    environment = where(folder)
    prompt = INSTANCE.replace("{{task}}", task.prompt)
    messages: list[Any] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": prompt},
    ]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        while True:
            answer = client.chat.completions.create(model="any", messages=messages, tools=[BASH])
            said = answer.choices[0].message
            messages.append(said.model_dump(exclude_none=True))
            (call,) = said.tool_calls or []
            command = json.loads(call.function.arguments)["command"]
            if command == DONE:
                return {"exit_status": "Submitted", "messages": messages}
            output = environment.execute({"command": command})["output"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})


class Replays(Environment):
    """Answers with what the agent's environment had answered, to run the same episode here."""

    def __init__(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
        self.messages, self.specs = messages, tools

    async def reset(self, task: Task):
        from agentrl.core import Message

        return [Message(m["role"], m["content"]) for m in self.messages[:2]]

    @property
    def tools(self):
        class Spec:
            def __init__(self, spec: dict[str, Any]) -> None:
                self.spec = spec

        return {spec["function"]["name"]: Spec(spec) for spec in self.specs}

    async def step(self, turn: Turn) -> Observation:
        from agentrl.core import Message

        said = [m for m in self.messages if m["role"] == "tool"]
        (call,) = turn.calls
        answers = [m for m in said if m["tool_call_id"] == call.id]
        heard = [Message("tool", m["content"], call_id=call.id, name=call.name) for m in answers]
        return Observation(heard, done=not heard)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("where", [local, pytest.param(docker, marks=pytest.mark.docker)])
@pytest.mark.parametrize("agent", [mini_swe_agent, openai_client])
async def test_a_foreign_program_repairs_a_task_and_is_recorded_token_for_token(
    agent, where, tmp_path
) -> None:
    write_pocket(tmp_path / "source")
    settings = SynthSettings(
        count=4, per_function=4, operators=("comparison",), max_test_seconds=0.1, repeats=2
    )
    async with ProcessPool(size=2, spare=0) as pool:
        await synthesise([str(tmp_path / "source")], tmp_path / "tasks.jsonl", pool, settings)
        task = read_tasks(tmp_path / "tasks.jsonl")[0]
        hf = train_tokenizer([task.prompt, SYSTEM, *commands(task)] * 3, 700)
        tokenizer = ChatTokenizer(hf, builtin_template("compact"))
        engine = ScriptedEngine(script_of(task), tokenizer)
        grader, kept = Grader(pool), {}

        async def program(task: Task, url: str) -> dict[str, Any]:
            swe, folder = SweTask(task), tmp_path / "repo"
            async with grader.folders.agent(swe) as pristine:
                shutil.copytree(pristine, folder)
            kept.update(await asyncio.to_thread(agent, url, task, folder, where))
            diff = tree_diff(swe, read_folder(folder)) or ""
            return {"diff": diff, **asdict(await grader.grade(task, diff))}

        voice = Voice(engine, tokenizer, dialect("hermes"), Limits(turns=9))
        async with Gateway(voice) as gateway:
            episode = await AgentRunner(gateway, program, Resolved()).run(task, 7)
        grader.close()
    assert (episode.status, episode.cause) == (Status.COMPLETED, ""), episode.outcome.get("error")
    assert episode.outcome["resolved"], episode.outcome
    assert (episode.reward, len(episode.turns), len(episode.segments)) == (1.0, 3, 1)
    assert kept["exit_status"] == "Submitted"

    runner = Runner(
        ScriptedEngine(script_of(task), tokenizer),
        tokenizer,
        dialect("hermes"),
        lambda: Replays(kept["messages"], episode.tools),
        Resolved(),
        judged=False,
    )
    again = await runner.run(task, 7)
    assert again.status == Status.COMPLETED, again.outcome
    ours, theirs = again.segments[0], episode.segments[0]
    for name in ("tokens", "origin", "logprobs", "turn", "weights"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
