"""`environment: {kind: agent}`: a run file trains and measures a program behind the gateway."""

import asyncio
import json
import sys

import aiohttp

from agentrl.core import Episode, Score, Status
from agentrl.models import save_policy, tiny_policy, train_tokenizer
from agentrl.training.build import make_policy, workbench
from agentrl.training.config import load_config
from agentrl.training.evaluate import measure
from agentrl.training.progress import Progress

TASKS = [{"id": f"t{i}", "prompt": f"say {i}"} for i in range(3)]


async def program(task, url: str) -> dict:
    """Asks once, and reports what it was told."""
    body = {"messages": [{"role": "user", "content": task.prompt}], "max_tokens": 5}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/v1/chat/completions", json=body) as reply,
    ):
        said = await reply.json()
    if task.id == "t2":
        raise OSError("the program lost its way")
    return {"said": said["choices"][0]["message"]["content"]}


class Length:
    name = "length"

    async def score(self, episode: Episode) -> Score:
        return Score(float(len(episode.outcome["said"])))


def test_a_run_file_runs_a_program(tmp_path) -> None:
    sys.modules["agent_of_test"] = sys.modules[__name__]
    hf = train_tokenizer(["say 1 2 3"], 400)
    sizes = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    save_policy(tiny_policy(hf, **sizes, max_positions=128), tmp_path / "policy")
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in TASKS))
    (tmp_path / "run.yaml").write_text(
        f"""
model: {tmp_path}/policy
environment: {{kind: agent, program: "agent_of_test:program", retries: 1, max_tokens: 64,
              generating: 2}}
tasks: {{train: {tmp_path}/tasks.jsonl}}
reward: {{kind: "agent_of_test:Length"}}
sampling: {{max_tokens: 32}}
eval: {{temperature: 0.0}}
run: {{dir: {tmp_path}/run}}
"""
    )
    config = load_config(tmp_path / "run.yaml", [])
    policy = make_policy(config)

    async def run() -> None:
        from agentrl.training.build import load_tasks

        tasks = load_tasks(config.tasks.train)
        async with workbench(config, policy, Progress()) as bench:
            groups = await bench.scheduler.collect(tasks, 2, seed=0)
            greedy = await measure(bench.scheduler, tasks[:1], config, Progress(), 2)
        slots = bench.scheduler.runner.gateway._voice.slots
        assert (slots.limit, slots.used) == (2, 0)
        assert 1 <= slots.peak <= 2
        for group in groups[:2]:
            assert [e.status for e in group.episodes] == [Status.COMPLETED] * 2
            for episode in group.judged:
                (segment,) = episode.segments
                assert 0 < segment.action_mask.sum() <= 5
                assert (segment.weights[segment.action_mask] == 0).all()
                assert episode.reward == len(episode.outcome["said"])
        assert [e.cause for e in groups[2].episodes] == ["agent_raised"] * 2
        texts = {e.turns[0].text for e in greedy.episodes}
        assert len(texts) == 1

    asyncio.run(run())
