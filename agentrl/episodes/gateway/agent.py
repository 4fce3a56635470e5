"""Episodes of an agent program: the second way to run them, with the same record as the first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from agentrl.core import (
    ConfigError,
    Episode,
    Guide,
    InfraError,
    Reward,
    Sampling,
    Start,
    Status,
    Task,
)
from agentrl.episodes.gateway.server import Gateway
from agentrl.episodes.runner import fail, trace
from agentrl.rewards import judge

Program = Callable[[Task, str], Awaitable[dict[str, Any] | None]]
"""`await program(task, url)`: run the agent on a task, with `url` + "/v1" as its OpenAI base URL or
`url` as its Anthropic one; what it returns is the episode's outcome."""


@dataclass(slots=True)
class AgentRunner:
    """Runs an agent program on tasks; takes the place of a `Runner` in a `Scheduler`.

    Attributes:
        sampling: None is what the gateway draws with.
        seconds: wall time of the program; its episode is judged with what was done until then.
    """

    gateway: Gateway
    program: Program
    reward: Reward
    seconds: float = 900.0
    closing_seconds: float = 300.0
    sampling: Sampling | None = None

    def with_sampling(self, sampling: Sampling) -> AgentRunner:
        return replace(self, sampling=sampling)

    async def run(
        self, task: Task, seed: int, start: Start | None = None, guide: Guide | None = None
    ) -> Episode:
        """One episode, whatever happens; see `Runner.run`. A program cannot take up another's
        episode: with `start` it fails with cause `restore_failed`.

        A program that raises has failed by infrastructure, unless the policy's limits had ended
        the session: then that is how the episode ended.
        """
        if guide is not None:
            raise ConfigError(
                "an agent program writes its own messages, it cannot be given hints",
                where="guidance",
                fix="leave `guidance` out, or use an environment",
            )
        if start is not None:
            refused = Episode(task, id=f"{task.id}-{seed:016x}", seed=seed)
            fail(refused, "restore_failed", "an agent program begins at the start of a task")
            return refused
        session = self.gateway.open(
            task, id=self.gateway.free_id(f"{task.id}-{seed:016x}"), seed=seed
        )
        session.sampling = self.sampling
        started = time.perf_counter()
        outcome: dict[str, Any] = {}
        trouble: tuple[str, str] | None = None
        try:
            async with asyncio.timeout(self.seconds):
                outcome = dict(await self.program(task, f"{self.gateway.url}/s/{session.id}") or {})
        except TimeoutError:
            session.status = Status.DEADLINE
        except InfraError as error:
            trouble = error.cause, str(error)
        except Exception as error:  # noqa: BLE001  (the boundary to the agent program)
            if session.status == Status.RUNNING:
                trouble = "agent_raised", trace(error)
        finally:
            episode = await self.gateway.finish(session, outcome)
        if trouble is not None and episode.status != Status.INFRA_ERROR:
            fail(episode, *trouble)
        await self._judge(episode)
        episode.timings["total"] = time.perf_counter() - started
        return episode

    async def _judge(self, episode: Episode) -> None:
        if episode.status == Status.INFRA_ERROR:
            return
        try:
            async with asyncio.timeout(self.closing_seconds):
                await judge(self.reward, episode)
        except TimeoutError:
            fail(episode, "judge_deadline", f"no verdict within {self.closing_seconds:g} s")
        except InfraError as error:
            fail(episode, error.cause, str(error))
        except Exception as error:  # noqa: BLE001  (the boundary to user-written rewards)
            fail(episode, "judge_raised", trace(error))
