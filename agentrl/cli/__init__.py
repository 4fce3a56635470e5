"""The `agentrl` command: thin functions over the rooms below."""

from agentrl.cli.command import main

__all__ = ["main"]
