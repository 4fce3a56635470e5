"""The guidance of a run, given the run's engine, policy and scheduler to work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentrl.core import Attempt, Episode, Group, Guide, Scorer, Task
from agentrl.core.naming import named
from agentrl.episodes import ChatFormats, informed
from agentrl.guidance import Assisted, Guidance, GuidanceSettings, Means, Sources, build_guidance
from agentrl.training.build import Workbench
from agentrl.training.rewards import chat_models


class Helper:
    """Guidance while a workbench is open; evaluation never meets it.

    Args:
        steps: of the whole run.
        cache: file that keeps a teacher's answers; None keeps none.
    """

    def __init__(
        self, settings: GuidanceSettings, bench: Workbench, *, steps: int, cache: Path | None = None
    ) -> None:
        # It brings what speaks to APIs, which a run without guidance does not need.
        from agentrl.engines.policy_chat import PolicyChat

        policy = bench.policy
        assert policy is not None, "there is nothing to learn without a policy"
        tokenizer = policy.tokenizer
        formats = ChatFormats(tokenizer, bench.dialect)
        sources = Sources(PolicyChat(bench.engine, tokenizer), chat_models(named, cache), named)
        self._bench = bench
        self._guidance: Guidance = build_guidance(settings, sources, steps=steps)
        self._means = Means(
            self._run,
            bench.engine if isinstance(bench.engine, Scorer) else None,
            lambda token: tokenizer.decode([token]),
            tokenizer.specials,
            lambda episode, guide: informed(episode, guide, formats.of(episode.tools)),
        )

    async def before(self, tasks: Sequence[Task], step: int, seed: int) -> dict[str, Guide]:
        """Guides for the first rollouts of tasks, by task id."""
        return await self._guidance.before(tasks, step, seed)

    async def assist(self, groups: Sequence[Group], step: int, seed: int) -> Assisted:
        """See `Guidance.assist`."""
        return await self._guidance.assist(groups, step, seed, self._means)

    def state_dict(self) -> dict[str, Any]:
        return self._guidance.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._guidance.load_state_dict(state)

    async def _run(self, attempts: Sequence[Attempt]) -> list[Episode]:
        """Guided episodes, judged as the others are: group rewards compare them with each other."""
        episodes = await self._bench.scheduler.attempt(attempts)
        by_task: dict[str, list[Episode]] = {}
        for episode in episodes:
            by_task.setdefault(episode.task.id, []).append(episode)
        groups = [Group((task, "guided"), members) for task, members in by_task.items()]
        await self._bench.rewards.finish(groups)
        return episodes
