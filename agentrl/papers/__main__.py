"""Print the table of all papers: `python -m agentrl.papers > docs/papers.md`."""

from agentrl.papers.registry import markdown

print(markdown(), end="")
