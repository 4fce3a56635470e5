"""Run shell commands in a sandbox."""

from __future__ import annotations

from agentrl.core import ExecResult, Sandbox, ToolResult
from agentrl.tools.definition import tool
from agentrl.tools.files import Repository
from agentrl.tools.wording import clip

# The command's own deadline is the sandbox's matter; this one only guards against a sandbox
# that does not keep it.
_BACKSTOP_SECONDS = 3600.0


class Shell:
    """The tool `shell`.

    Args:
        root: where commands run.
        timeout: seconds a command may take.
        max_output: characters of an observation. The sandbox keeps at most sixteen times as
            many bytes, so memory stays bounded whatever a command prints.
    """

    def __init__(
        self, sandbox: Sandbox, root: str, *, timeout: float = 60.0, max_output: int = 4000
    ) -> None:
        self.repository = Repository(sandbox, root)
        self.timeout, self.max_output = timeout, max_output

    @tool(timeout=_BACKSTOP_SECONDS, max_output=1 << 20)
    async def shell(self, command: str) -> ToolResult:
        """Run a bash command in the repository's folder and read what it prints.

        Args:
            command: it starts in the same state each time: cd and variables do not last.
        """
        if "\0" in command:
            return ToolResult("error: the command has a null character", False, "refused")
        result = await self.repository.sandbox.exec(
            command,
            cwd=self.repository.root,
            timeout=self.timeout,
            max_output=16 * self.max_output,
        )
        return observation(result, self.timeout, self.max_output)


def observation(result: ExecResult, timeout: float, max_output: int) -> ToolResult:
    """What a command printed, and how it ended if not well."""
    notes = []
    if result.truncated:
        notes.append("[... more output was thrown away ...]")
    if result.timed_out:
        notes.append(f"error: stopped after its deadline of {timeout:g} s")
    elif result.exit_code != 0 and not result.truncated:
        notes.append(f"[exit code {result.exit_code}]")
    text = clip(result.output.rstrip("\n"), max_output)
    text = "\n".join([*([text] if text else []), *notes]) or "(no output)"
    if result.timed_out:
        return ToolResult(text, ok=False, error="deadline")
    return ToolResult(text)
