"""Print the table of all rewards: `python -m agentrl.rewards`; docs/rewards.md holds it."""

from agentrl.rewards.table import markdown

print(markdown(), end="")
