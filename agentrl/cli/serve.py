"""`agentrl serve-env`: the environment of a run file over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    serve = commands.add_parser(
        "serve-env",
        help="serve a run file's environment over HTTP",
        description="Sessions with deadlines, for policies that run elsewhere; docs/environments.md"
        " tells the protocol. Tasks of the run file can be named by their id.",
    )
    serve.add_argument("file", type=Path, metavar="RUN.yaml")
    serve.add_argument("overrides", nargs="*", metavar="key=value")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: local)")
    serve.add_argument("--port", type=int, default=8000, help="0: any free one (default 8000)")
    serve.add_argument("--idle", type=float, default=300.0, metavar="SECONDS")
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(options))
    return 0


async def _run(options: argparse.Namespace) -> None:
    from aiohttp import web

    from agentrl.core import ConfigError
    from agentrl.environments.serving import EnvironmentServer
    from agentrl.rewards import build_reward
    from agentrl.training.build import load_tasks, make_environments
    from agentrl.training.config import load_config

    config = load_config(options.file, options.overrides)
    async with make_environments(config) as make:
        server = EnvironmentServer(
            make,
            load_tasks(config.tasks.train, config.tasks.limit),
            build_reward(config.reward),
            most=config.environment.concurrency,
            deadline=config.environment.deadline,
            idle=options.idle,
        )
        runner = web.AppRunner(server.app())
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, options.host, options.port).start()
            except OSError as error:
                raise ConfigError(
                    f"cannot listen there: {error.strerror or error}",
                    where=f"{options.host}:{options.port}",
                    fix="give another --port",
                ) from error
            host, port = runner.addresses[0][:2]
            print(f"serving {config.environment.kind} on http://{host}:{port}", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
