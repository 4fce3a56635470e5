"""Print docs/run-file.md."""

from agentrl.training.config.reference import reference

print(reference(), end="")
