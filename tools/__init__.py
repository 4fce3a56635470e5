"""Tools: typed Python functions that a policy can call, and toolboxes over a sandbox."""

from agentrl.tools.calls import run_calls
from agentrl.tools.definition import Tool, ToolError, tool, tools_of
from agentrl.tools.wording import clip

__all__ = ["Tool", "ToolError", "clip", "run_calls", "tool", "tools_of"]
