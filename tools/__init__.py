"""Tools: typed Python functions that a policy can call, and toolboxes over a sandbox."""

from agentrl.tools.bash import Bash
from agentrl.tools.calls import run_calls
from agentrl.tools.definition import Tool, ToolError, tool, tools_of
from agentrl.tools.editor import Editor
from agentrl.tools.finder import Finder
from agentrl.tools.presets import PRESETS, preset
from agentrl.tools.given import given_tool
from agentrl.tools.pytest_client import Failure, PytestClient, TestReport
from agentrl.tools.pytest_runner import PytestRunner
from agentrl.tools.replace_editor import ReplaceEditor
from agentrl.tools.shell import Shell
from agentrl.tools.submit import Submit
from agentrl.tools.wording import clip

__all__ = [
    "PRESETS",
    "Bash",
    "Editor",
    "Failure",
    "Finder",
    "PytestClient",
    "PytestRunner",
    "ReplaceEditor",
    "Shell",
    "Submit",
    "TestReport",
    "Tool",
    "ToolError",
    "clip",
    "preset",
    "given_tool",
    "run_calls",
    "tool",
    "tools_of",
]
