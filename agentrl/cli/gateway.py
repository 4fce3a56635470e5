"""`agentrl gateway`: a policy behind the wire formats that agent programs speak."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentrl.cli.runs import add_model_options, model_configuration
from agentrl.core import ConfigError, Episode


def add_commands(commands: Any) -> None:
    gateway = commands.add_parser(
        "gateway",
        help="serve a policy to agent programs (OpenAI and Anthropic), and record them",
        description="Prints the address and serves until Ctrl-C. See docs/gateway.md.",
    )
    add_model_options(gateway)
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen on")
    gateway.add_argument("--port", type=int, default=8400, help="0: any that is free")
    gateway.add_argument(
        "--out", type=Path, metavar="DIR", help="keep finished sessions as episodes of this run"
    )
    gateway.set_defaults(run=_gateway)


def _gateway(options: argparse.Namespace) -> int:
    config = model_configuration(options)

    from importlib.util import find_spec

    if find_spec("aiohttp") is None:
        raise ConfigError("the gateway needs aiohttp", fix="pip install 'agentrl[gateway]'")
    if options.out is None:
        asyncio.run(_serve(config, options, None))
        return 0
    from agentrl.store import RunStore

    with RunStore.create(options.out, config.plain()) as store:
        asyncio.run(_serve(config, options, lambda e: store.add_episodes(0, "gateway", [e])))
    return 0


async def _serve(
    config: Any, options: argparse.Namespace, keep: Callable[[Episode], None] | None
) -> None:
    from agentrl.episodes import Limits
    from agentrl.episodes.gateway import Gateway, Voice
    from agentrl.rewards import build_reward, judge
    from agentrl.training.build import make_dialect, make_engine, make_policy

    policy = make_policy(config)
    engine = make_engine(config, policy)
    reward = build_reward(config.reward) if config.reward else None
    limits = Limits(
        config.environment.max_turns,
        config.environment.max_tokens,
        config.sampling.max_tokens,
        config.environment.deadline,
    )
    voice = Voice(engine, policy.tokenizer, make_dialect(config, policy.tokenizer), limits)
    voice.sampling = type(voice.sampling)(config.sampling.temperature)

    async def judged(episode: Episode) -> None:
        if reward is not None:
            await judge(reward, episode)

    gateway = Gateway(voice, judge=judged, on_episode=keep, host=options.host, port=options.port)
    try:
        async with gateway:
            print(f"OpenAI base URL     {gateway.url}/s/SESSION/v1")
            print(f"Anthropic base URL  {gateway.url}/s/SESSION")
            print("SESSION is a name of your choice; Ctrl-C ends", file=sys.stderr, flush=True)
            sys.stdout.flush()
            await asyncio.Event().wait()
    finally:
        await engine.close()
