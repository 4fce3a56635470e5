"""The same episodes in verifiers 0.4: an agent is a program behind a proxy, tools are MCP servers.

A module of its own: verifiers starts the tool server from it by name.
"""

import asyncio

import verifiers.v1 as vf
from verifiers.v1.utils.loaders import load_environment


class DeskToolset(vf.Toolset[vf.ToolsetConfig]):
    @vf.tool
    def look(self, line: int) -> str:
        """Look at a line."""
        return "a line of text, as a tool would give it"


class DeskTaskConfig(vf.TaskConfig):
    tools: vf.ToolsetConfig = vf.ToolsetConfig()


class DeskTask(vf.Task[vf.TaskData, vf.State, DeskTaskConfig]):
    @classmethod
    def toolsets(cls, config):
        return [DeskToolset(config.tools)]

    @vf.reward(weight=1.0)
    async def reward(self, trace) -> float:
        return 1.0


class DeskConfig(vf.TasksetConfig):
    task: DeskTaskConfig = DeskTaskConfig()


class DeskTaskset(vf.Taskset[DeskTask, DeskConfig]):
    def load(self):
        return [DeskTask(vf.TaskData(prompt="Look at line 3."), self.config.task)]


__all__ = ["DeskTaskset"]


async def run_programs(port: int, episodes: int, clock) -> list[float]:
    """Rewards; eight episodes at once, each with the null harness in a subprocess."""
    config = vf.SingleAgentEnvConfig(
        taskset={"id": "scheduler_peer_v1"},
        agent={"harness": {"id": "null"}, "runtime": {"type": "subprocess"}, "max_turns": 9},
    )
    env = load_environment(config)
    (task,) = env.taskset
    client = vf.EvalClientConfig(base_url=f"http://127.0.0.1:{port}/v1", api_key_var="STUB_KEY")
    context = vf.ModelContext(client=client, model="stub", sampling=vf.Sampling())
    room = asyncio.Semaphore(8)
    clock.start()
    async with env.serving():
        slots = env.slots(task, episodes)
        done = await asyncio.gather(*(env.run_slot(slot, context, room) for slot in slots))
    clock.stop()
    for episode in done:
        for trace in episode.traces:
            assert not trace.errors, trace.errors
    return [trace.reward for episode in done for trace in episode.traces]


if __name__ == "__main__":
    DeskToolset.run()
