"""A bash whose state lasts: working directory, variables, functions, options."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping

from agentrl.core import ExecResult, Sandbox, ToolResult
from agentrl.tools.definition import tool
from agentrl.tools.files import Repository
from agentrl.tools.shell import observation

_BACKSTOP_SECONDS = 3600.0
# Run in every shell before the command, on its first line, so that errors name the right one.
# What is saved is what `bash` prints in a form that it can read again; the file is replaced at once
# or not at all.
_PROLOGUE = " ".join(
    [
        "__agentrl_save() {{ {{ set +efux; }} 2>/dev/null;",
        "{{ printf 'cd -- %q\\n' \"$PWD\"; declare -p; declare -f; alias; shopt -p;",
        "for __agentrl_name in $__agentrl_names; do",
        '[ -v "$__agentrl_name" ] || printf "unset %s\\n" "$__agentrl_name"; done;',
        "printf '%s\\n' \"$__agentrl_options\"; }} >{state}.new 2>/dev/null",
        "&& command -p mv -f {state}.new {state}; exit $__agentrl_code; }};",
        "__agentrl_names=$(compgen -e);",
        "if [ -r {state} ]; then . {state} >/dev/null 2>&1; else cd -- {root} || exit 1; fi;",
        "trap '__agentrl_code=$? __agentrl_options=$(set +o); __agentrl_save' EXIT; ",
    ]
)


class PersistentShell:
    """Runs commands one after the other as if they were typed into one bash.

    Each runs in a shell of its own, which takes over the state that the last one left and ends
    with all it started in the foreground. So a deadline or a crash costs a command and never the
    shell, and the state is then that of before it. Background programs go on; `jobs`, `fg` and
    traps do not carry over.

    Args:
        root: where the first command starts.
        env: variables that it starts with.
    """

    def __init__(self, sandbox: Sandbox, root: str, env: Mapping[str, str] | None = None) -> None:
        self._env = dict(env or {})
        self.repository = Repository(sandbox, root)
        self._state = f"/tmp/.bash-{secrets.token_hex(4)}"

    async def run(self, command: str, *, timeout: float, max_output: int) -> ExecResult:
        state, root = shlex.quote(self._state), shlex.quote(self.repository.root)
        script = f"{_PROLOGUE.format(state=state, root=root)}eval {shlex.quote(command)}"
        return await self.repository.sandbox.exec(
            script, cwd="/", timeout=timeout, max_output=max_output, env=self._env
        )

    async def restart(self) -> None:
        """Forget the state."""
        await self.repository.sandbox.exec(f"rm -f {shlex.quote(self._state)}", timeout=10.0)


class Bash:
    """The tool `bash`, whose state lasts from call to call.

    Args:
        root: where the first command runs.
        env: variables that it starts with.
        timeout: seconds a command may take.
        max_output: characters of an observation.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        root: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        max_output: int = 4000,
    ) -> None:
        self.shell = PersistentShell(sandbox, root, env)
        self.timeout, self.max_output = timeout, max_output

    @tool(timeout=_BACKSTOP_SECONDS, max_output=1 << 20)
    async def bash(self, command: str = "", restart: bool = False) -> ToolResult:
        """Run a bash command and read what it prints. cd, variables and functions last.

        Args:
            command: the command, or several lines of them.
            restart: begin anew, in the repository's folder.
        """
        if restart:
            await self.shell.restart()
            if not command.strip():
                return ToolResult("restarted")
        return await run_in(self.shell, command, self.timeout, self.max_output)


async def run_in(
    shell: PersistentShell, command: str, timeout: float, max_output: int
) -> ToolResult:
    """One command as a tool answers it; with what models get wrong told in one line."""
    if "\0" in command or not command.strip():
        what = "has a null character" if "\0" in command else "is empty"
        return ToolResult(f"error: the command {what}", ok=False, error="refused")
    fence = command.strip()
    if fence.startswith("```") and fence.endswith("```") and "\n" in fence:
        command = fence[fence.index("\n") + 1 : -3]
    result = await shell.run(command, timeout=timeout, max_output=16 * max_output)
    return observation(result, timeout, max_output)
