"""Where an agent's commands run: Docker containers, or (isolating nothing) plain processes."""

from agentrl.sandboxes.docker import DockerSandbox, Limits
from agentrl.sandboxes.engine import DockerEngine, docker_available, ensure_dockerd
from agentrl.sandboxes.hive import Hive
from agentrl.sandboxes.images import ensure_image
from agentrl.sandboxes.owner import reap
from agentrl.sandboxes.pool import DockerPool, Pool, ProcessPool
from agentrl.sandboxes.process import ProcessSandbox

__all__ = [
    "DockerEngine",
    "DockerPool",
    "DockerSandbox",
    "Hive",
    "Limits",
    "Pool",
    "ProcessPool",
    "ProcessSandbox",
    "docker_available",
    "ensure_dockerd",
    "ensure_image",
    "reap",
]
