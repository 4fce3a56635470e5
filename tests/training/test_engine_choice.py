"""The engine and the judges that a run file names."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentrl.core import ConfigError
from agentrl.engines import LiteLLMChat
from agentrl.engines.vllm import VLLMServers
from agentrl.training.build import make_engine, make_policy
from agentrl.training.config import load_config
from agentrl.training.evaluate import evaluate
from agentrl.training.loop import train
from agentrl.training.rewards import chat_models

MODULE = '''
from agentrl import Environment, Score, Task


class Sums(Environment):
    """Right when the last message holds the reference."""

    def reset(self, task: Task):
        self.want = str(task.reference["sum"])
        return task.prompt

    def finish(self, episode):
        return {"resolved": self.want in episode.turns[-1].text}


class Right:
    name = "right"

    async def score(self, episode):
        return Score(float(episode.outcome["resolved"]))
'''
RUN_FILE = """\
model: policy
environment: {kind: "sums_world:Sums", max_turns: 2, max_tokens: 2000}
tasks: {train: tasks.jsonl, eval: tasks.jsonl}
reward: {kind: "sums_world:Right"}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("sums_world.py").write_text(MODULE, "utf-8")
    Path("run.yaml").write_text(RUN_FILE, "utf-8")
    tasks = [
        {"id": f"t{n}", "prompt": f"{n} + {n}?", "environment": "sums", "reference": {"sum": 2 * n}}
        for n in (1, 2, 3, 4)
    ]
    Path("tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks), "utf-8")
    return tmp_path


@pytest.fixture
def api() -> Iterator[str]:
    """A model that adds, but not beyond six; on a thread of its own."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        n = int(body["messages"][-1]["content"].split()[0])
        message = {"role": "assistant", "content": f"It is {min(2 * n, 6)}."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response({"id": "x", "choices": [choice], "usage": usage, "model": "m"})

    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    yield f"http://127.0.0.1:{port}/v1"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_an_api_model_is_measured_like_a_policy_and_no_weights_are_loaded(
    world: Path, api: str
) -> None:
    engine = f"engine={{kind: litellm, model: hosted_vllm/m, api_base: {api}}}"
    found = evaluate(load_config("run.yaml", [f"run.dir={world}/run", engine]))
    assert found.by_task == {"t1": 1.0, "t2": 1.0, "t3": 1.0, "t4": 0.0}
    with pytest.raises(ConfigError, match="cannot be trained"):
        train(load_config("run.yaml", [f"run.dir={world}/other", engine]))


def test_vllm_that_is_not_there_is_said_with_what_to_do(world: Path) -> None:
    from agentrl.models import save_policy, tiny_policy, train_tokenizer

    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    save_policy(tiny_policy(train_tokenizer(["a"], 300), **sizes), world / "policy")
    config = load_config("run.yaml", ["engine.kind=vllm"])
    policy = make_policy(config)
    with pytest.raises(ConfigError, match="not installed"):
        make_engine(config, policy)
    servers = make_engine(load_config("run.yaml", ["engine={kind: vllm, servers: 2}"]), policy)
    assert isinstance(servers, VLLMServers)
    asyncio.run(servers.close())


def test_a_judge_behind_an_api_is_built_once_per_description(tmp_path: Path) -> None:
    chat = chat_models(_no_names)
    section = {"kind": "litellm", "model": "openai/gpt-5-mini", "budget": 2.0}
    section |= {"price_in": 1, "price_out": 2, "cache": str(tmp_path / "answers.db")}
    judge = chat(section, "reward.judge")
    assert isinstance(judge, LiteLLMChat)
    assert judge is chat(dict(section), "reward.judge")
    assert judge.budget.limit == 2.0
    assert (judge.endpoint.model, judge.endpoint.price_out) == ("openai/gpt-5-mini", 2)
    assert (tmp_path / "answers.db").is_file()
    for wrong, key in (({"kind": "litellm"}, "model"), ({**section, "budgt": 1}, "budgt")):
        with pytest.raises(ConfigError) as caught:
            chat(wrong, "reward.judge")
        assert caught.value.where == f"reward.judge.{key}"


def _no_names(name: str, where: str) -> Any:
    raise AssertionError(name)
