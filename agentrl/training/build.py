"""From a run file to the objects that do the work, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import Engine, Sampling, SandboxProvider, Task
from agentrl.core.naming import named
from agentrl.core.taskfile import read_tasks
from agentrl.environments import Environment, maybe_await
from agentrl.episodes import (
    Dialect,
    Limits,
    Resources,
    Runner,
    RunsEpisodes,
    Scheduler,
    Slots,
    detect_dialect,
    dialect,
)
from agentrl.rewards import RewardPlan
from agentrl.training.config import (
    AgentConfig,
    CustomConfig,
    DockerConfig,
    GuiConfig,
    LiteLLMConfig,
    ProcessConfig,
    RunConfig,
    ScriptedConfig,
    SearchConfig,
    SimulatedConfig,
    SweConfig,
    TransformersConfig,
    VLLMConfig,
)
from agentrl.training.environments import search_environments, simulated_environments
from agentrl.training.progress import Progress
from agentrl.training.rewards import reward_plan
from agentrl.training.screens import gui_environments

if TYPE_CHECKING:
    from agentrl.models import ChatTokenizer, Policy

MakeEnvironment = Callable[[], Environment]


@dataclass(slots=True)
class Workbench:
    """Everything episodes need; `scheduler` runs them, `rewards` compares those of a step."""

    policy: Policy | None
    engine: Engine
    dialect: Dialect
    scheduler: Scheduler
    rewards: RewardPlan


@asynccontextmanager
async def workbench(
    config: RunConfig,
    policy: Policy | None,
    progress: Progress,
    *,
    script: str | None = None,
    judged: bool = True,
) -> AsyncIterator[Workbench]:
    """Open engine, sandboxes and environment; all of it is closed on every way out.

    Args:
        policy: None for an engine that brings its own (an API model).
        script: run this scripted agent in the place of the policy.
        judged: False leaves out verdicts, which imitation does not need.
    """
    engine = make_engine(config, policy, script)
    answers = Path(config.run.dir) / "judgements.db" if Path(config.run.dir).is_dir() else None
    scripted = bool(script) or isinstance(config.engine, ScriptedConfig)
    try:
        spoken = language(config, policy, engine)
        async with (
            reward_plan(config.reward, engine, make_provider, named, answers) as rewards,
            make_runner(config, engine, spoken, rewards, progress) as run,
        ):
            if isinstance(run, Runner):
                run.judged = judged
                run.source = "script" if scripted else "policy"
            scheduler = Scheduler(
                run,
                concurrency=config.environment.concurrency,
                retries=config.environment.retries,
                on_start=lambda _: progress.episode_started(),
                on_episode=progress.episode_finished,
            )
            yield Workbench(policy, engine, spoken[1], scheduler, rewards)
    finally:
        await engine.close()


def brings_policy(config: RunConfig) -> bool:
    """Whether the engine is the policy itself, so that no weights are loaded here."""
    return isinstance(config.engine, LiteLLMConfig)


@asynccontextmanager
async def make_runner(
    config: RunConfig,
    engine: Engine,
    spoken: tuple[ChatTokenizer, Dialect],
    rewards: RewardPlan,
    progress: Progress,
) -> AsyncIterator[RunsEpisodes]:
    """What runs one episode: the runner over environments, or the gateway over a program."""
    environment, (tokenizer, speaks) = config.environment, spoken
    limits = Limits(
        turns=environment.max_turns,
        tokens=environment.max_tokens,
        tokens_per_turn=config.sampling.max_tokens,
        seconds=environment.deadline,
        repeats=environment.stuck_after,
    )
    sampling = Sampling(config.sampling.temperature)
    if isinstance(environment, AgentConfig):
        from agentrl.episodes.gateway import AgentRunner, Gateway, Voice

        slots = Slots(environment.generating)
        voice = Voice(engine, tokenizer, speaks, limits, sampling, slots)
        program = named(environment.program, "environment.program")
        async with Gateway(voice, port=environment.port) as gateway:
            yield AgentRunner(gateway, program, rewards.reward, seconds=environment.deadline)
        return
    async with make_environments(config, progress.sandboxes) as make:
        yield Runner(
            engine=engine,
            tokenizer=tokenizer,
            dialect=speaks,
            make_environment=make,
            reward=rewards.reward,
            limits=limits,
            sampling=sampling,
            resources=Resources(Slots(environment.generating), Slots(environment.judging)),
        )


def make_policy(config: RunConfig) -> Policy:
    """Load the policy that the run file names. Raises ModelError."""
    from agentrl.models import load_policy

    model = config.model
    template = Path(model.template).read_text("utf-8") if model.template else None
    return load_policy(model.path, device=model.device, dtype=model.dtype, template=template)


def make_dialect(config: RunConfig, tokenizer: ChatTokenizer) -> Dialect:
    """How the policy writes calls; "auto" asks its chat template."""
    name = config.model.dialect
    return dialect(detect_dialect(tokenizer) if name == "auto" else name)


def make_engine(config: RunConfig, policy: Policy | None, script: str | None = None) -> Engine:
    """The engine that the run file names, or the script in its place."""
    from agentrl.training import engines

    chosen = config.engine
    if script is None and isinstance(chosen, ScriptedConfig):
        script = chosen.script
    if isinstance(chosen, LiteLLMConfig) and script is None:
        return engines.api_engine(chosen)
    assert policy is not None
    if script is not None:
        from agentrl.engines import ScriptedEngine

        return ScriptedEngine(named(script, "script"), policy.tokenizer)
    if isinstance(chosen, VLLMConfig):
        return engines.vllm_engine(chosen, config, policy)
    assert isinstance(chosen, TransformersConfig)
    return engines.transformers_engine(chosen, policy)


def language(
    config: RunConfig, policy: Policy | None, engine: Engine
) -> tuple[ChatTokenizer, Dialect]:
    """The tokenizer and the dialect that the runner speaks with the engine."""
    if policy is not None:
        return policy.tokenizer, make_dialect(config, policy.tokenizer)
    return engine.tokenizer, dialect("hermes")  # type: ignore[attr-defined]


@asynccontextmanager
async def make_environments(
    config: RunConfig, on_change: Callable[[int], None] | None = None
) -> AsyncIterator[MakeEnvironment]:
    """A maker of environments over a pool of sandboxes that lives as long as the block.

    `on_change` is told how many sandboxes are in use.
    """
    environment = config.environment
    if isinstance(environment, SearchConfig):
        async with search_environments(environment) as make:
            yield make
        return
    if isinstance(environment, SimulatedConfig):
        async with simulated_environments(environment, named) as make:
            yield make
        return
    if isinstance(environment, GuiConfig):
        async with (
            _lent(environment.sandbox, on_change) as lent,
            gui_environments(environment, lent) as make,
        ):
            yield make
        return
    assert not isinstance(environment, AgentConfig)
    if environment.sandbox is None:
        assert isinstance(environment, CustomConfig)
        yield _custom(environment, None)
        return
    async with make_provider(environment.sandbox, on_change) as provider:
        if isinstance(environment, CustomConfig):
            yield _custom(environment, provider)
            return
        from agentrl.environments.swe import Grader

        cache = Path(config.run.dir) / "verdicts.db" if Path(config.run.dir).is_dir() else None
        timeout = environment.test_cpu_seconds or environment.test_seconds
        grader = Grader(provider, cache=cache, timeout=timeout)
        try:
            yield _swe(environment, provider, grader)
        finally:
            grader.close()


@asynccontextmanager
async def _lent(
    config: DockerConfig | ProcessConfig | None, on_change: Callable[[int], None] | None
) -> AsyncIterator[SandboxProvider | None]:
    """Sandboxes where the run file names some."""
    if config is None:
        yield None
        return
    async with make_provider(config, on_change) as provider:
        yield provider


@asynccontextmanager
async def make_provider(
    config: DockerConfig | ProcessConfig, on_change: Callable[[int], None] | None = None
) -> AsyncIterator[SandboxProvider]:
    """Sandboxes, of further images too where tasks need them. Raises SandboxError at once when
    there can be none."""
    from agentrl.environments.images import ImagePools, docker_images
    from agentrl.sandboxes import Limits as SandboxLimits
    from agentrl.sandboxes import ProcessPool

    pool: ProcessPool | ImagePools
    if isinstance(config, ProcessConfig):
        pool = ProcessPool(size=config.pool, spare=config.spare)
        pool.on_change = on_change
    else:
        limits = SandboxLimits(
            memory_mb=config.memory_mb,
            work_mb=config.work_mb,
            cpus=config.cpus,
            pids=config.pids,
        )
        pool = docker_images(
            config.image,
            limits=limits,
            size=config.pool,
            spare=config.spare,
            on_change=on_change,
        )
    try:
        await pool.warm(1)
        yield pool
    finally:
        await pool.close()


async def environment_tools(config: RunConfig) -> list[dict[str, Any]]:
    """What the policy is offered, asked of an environment that was reset to the first task."""
    (task,) = load_tasks(config.tasks.train, 1)
    async with make_environments(config) as make:
        environment = make()
        try:
            await maybe_await(environment.reset(task))
            return [tool.spec for tool in environment.tools.values()]
        finally:
            await maybe_await(environment.close())


def load_tasks(path: str, limit: int | None = None) -> list[Task]:
    """The tasks of a file. Raises TaskFileError."""
    return read_tasks(path)[:limit]


def _swe(config: SweConfig, provider: SandboxProvider, grader: Any) -> MakeEnvironment:
    from agentrl.environments.swe import SweEnvironment

    return lambda: SweEnvironment(
        provider,
        grader,
        tools=config.tools,
        compact=config.compact,
        test_timeout=config.test_seconds,
        test_cpu=config.test_cpu_seconds,
    )


def _custom(config: CustomConfig, provider: SandboxProvider | None) -> MakeEnvironment:
    made = named(config.kind, "environment.kind")
    given = dict(config.args) | ({"sandboxes": provider} if provider is not None else {})
    return lambda: made(**given)
