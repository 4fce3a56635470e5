"""From a run file to the objects that do the work, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.core import ConfigError, Engine, Sampling, SandboxProvider, Task
from agentrl.core.taskfile import read_tasks
from agentrl.environments import Environment
from agentrl.episodes import Limits, Runner, Scheduler, dialect
from agentrl.rewards import build_reward
from agentrl.training.config import (
    CustomConfig,
    DockerConfig,
    ProcessConfig,
    RunConfig,
    ScriptedConfig,
    SearchConfig,
    SweConfig,
    TransformersConfig,
)
from agentrl.training.progress import Progress

if TYPE_CHECKING:
    from agentrl.models import Policy

MakeEnvironment = Callable[[], Environment]


@dataclass(slots=True)
class Workbench:
    """Everything episodes need; `scheduler` runs them."""

    policy: Policy
    engine: Engine
    scheduler: Scheduler


@asynccontextmanager
async def workbench(
    config: RunConfig,
    policy: Policy,
    progress: Progress,
    *,
    script: str | None = None,
    judged: bool = True,
) -> AsyncIterator[Workbench]:
    """Open engine, sandboxes and environment; all of it is closed on every way out.

    Args:
        script: run this scripted agent in the place of the policy.
        judged: False leaves out verdicts, which imitation does not need.
    """
    engine = make_engine(config, policy, script)
    try:
        async with make_environments(config, progress.sandboxes) as make:
            limits = config.environment
            runner = Runner(
                engine=engine,
                tokenizer=policy.tokenizer,
                dialect=dialect(config.model.dialect),
                make_environment=make,
                reward=build_reward(config.reward),
                limits=Limits(
                    turns=limits.max_turns,
                    tokens=limits.max_tokens,
                    tokens_per_turn=config.sampling.max_tokens,
                    seconds=limits.deadline,
                ),
                sampling=Sampling(config.sampling.temperature),
                judged=judged,
                source="script"
                if script or isinstance(config.engine, ScriptedConfig)
                else "policy",
            )
            scheduler = Scheduler(
                runner,
                concurrency=limits.concurrency,
                retries=limits.retries,
                on_start=lambda _: progress.episode_started(),
                on_episode=progress.episode_finished,
            )
            yield Workbench(policy, engine, scheduler)
    finally:
        await engine.close()


def make_policy(config: RunConfig) -> Policy:
    """Load the policy that the run file names. Raises ModelError."""
    from agentrl.models import load_policy

    model = config.model
    template = Path(model.template).read_text("utf-8") if model.template else None
    return load_policy(model.path, device=model.device, dtype=model.dtype, template=template)


def make_engine(config: RunConfig, policy: Policy, script: str | None = None) -> Engine:
    from agentrl.engines import ScriptedEngine, TransformersEngine

    if script is None and isinstance(config.engine, ScriptedConfig):
        script = config.engine.script
    if script is not None:
        return ScriptedEngine(named(script, "script"), policy.tokenizer)
    assert isinstance(config.engine, TransformersConfig)
    return TransformersEngine(
        policy,
        max_slots=config.engine.max_slots,
        step_tokens=config.engine.step_tokens,
        cache_tokens=config.engine.cache_tokens,
    )


@asynccontextmanager
async def make_environments(
    config: RunConfig, on_change: Callable[[int], None] | None = None
) -> AsyncIterator[MakeEnvironment]:
    """A maker of environments over a pool of sandboxes that lives as long as the block.

    `on_change` is told how many sandboxes are in use.
    """
    environment = config.environment
    if isinstance(environment, SearchConfig):
        async with _search(environment) as make:
            yield make
        return
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
        grader = Grader(provider, cache=cache, timeout=environment.test_seconds)
        try:
            yield _swe(environment, provider, grader)
        finally:
            grader.close()


@asynccontextmanager
async def make_provider(
    config: DockerConfig | ProcessConfig, on_change: Callable[[int], None] | None = None
) -> AsyncIterator[SandboxProvider]:
    """A pool of sandboxes. Raises SandboxError at once when there can be none."""
    from agentrl.sandboxes import DockerPool, Pool, ProcessPool
    from agentrl.sandboxes import Limits as SandboxLimits

    pool: Pool
    if isinstance(config, ProcessConfig):
        pool = ProcessPool(size=config.pool, spare=config.spare)
    else:
        limits = SandboxLimits(
            memory_mb=config.memory_mb,
            work_mb=config.work_mb,
            cpus=config.cpus,
            pids=config.pids,
        )
        pool = DockerPool(config.image, limits=limits, size=config.pool, spare=config.spare)
    pool.on_change = on_change
    try:
        await pool.warm(1)
        yield pool
    finally:
        await pool.close()


def load_tasks(path: str, limit: int | None = None) -> list[Task]:
    """The tasks of a file. Raises TaskFileError."""
    return read_tasks(path)[:limit]


def named(name: str, where: str) -> Any:
    """What `module:Name` stands for; the current directory is searched too."""
    import sys

    module, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(f"{name!r} is not module:Name", where=where, fix="such as my_agent:Agent")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import {name!r}: {error}",
            where=where,
            fix="give a module that can be imported from the current directory, and a name in it",
        ) from error
    return found


def _swe(config: SweConfig, provider: SandboxProvider, grader: Any) -> MakeEnvironment:
    from agentrl.environments.swe import SweEnvironment

    return lambda: SweEnvironment(
        provider,
        grader,
        tools=config.tools,
        compact=config.compact,
        test_timeout=config.test_seconds,
    )


@asynccontextmanager
async def _search(config: SearchConfig) -> AsyncIterator[MakeEnvironment]:
    """Environments over one retriever, opened once and closed with the block."""
    from agentrl.environments.search import (
        HttpRetriever,
        Retriever,
        SearchEnvironment,
        open_index,
    )

    retriever: Retriever
    if config.url is not None:
        retriever = HttpRetriever(config.url, seconds=config.url_seconds)
    else:
        assert config.index is not None
        retriever = open_index(config.index, config.backend)
    try:
        yield lambda: SearchEnvironment(
            retriever,
            searches=config.searches,
            top=config.top,
            characters=config.characters,
            style=config.style,
        )
    finally:
        await retriever.close()


def _custom(config: CustomConfig, provider: SandboxProvider | None) -> MakeEnvironment:
    made = named(config.kind, "environment.kind")
    given = dict(config.args) | ({"sandboxes": provider} if provider is not None else {})
    return lambda: made(**given)
