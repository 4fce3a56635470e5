"""One small module per paper: what it composes, and a check of its claim."""

from agentrl.papers.registry import CheckResult, Measured, Paper, check, get, list_papers

__all__ = ["CheckResult", "Measured", "Paper", "check", "get", "list_papers"]
