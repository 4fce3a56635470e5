"""What the commands about tasks have in common: the sandboxes they run in."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentrl.core.sandbox import SandboxProvider
    from agentrl.environments.images import ImagePools


def sandbox_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sandbox", choices=["docker", "process"], default="docker")
    parser.add_argument("--image", help="docker image (default: the one agentrl builds)")
    parser.add_argument("--parallel", type=int, default=2, help="sandboxes at work at once")


def make_provider(options: argparse.Namespace) -> SandboxProvider:
    if options.sandbox == "process":
        from agentrl.sandboxes import ProcessPool

        print("plain processes isolate nothing: only for code that you trust", file=sys.stderr)
        return ProcessPool(size=options.parallel)
    return make_images(options)


def make_images(options: argparse.Namespace) -> ImagePools:
    """Containers of several images, for tasks that need packages."""
    from agentrl.environments.images import docker_images

    return docker_images(options.image, size=options.parallel)
