"""Run the calls of one turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from agentrl.core import ToolCall, ToolResult
from agentrl.tools import wording
from agentrl.tools.definition import Tool


async def run_calls(
    tools: Mapping[str, Tool],
    calls: Sequence[ToolCall],
    *,
    over: Callable[[], bool] | None = None,
) -> list[ToolResult]:
    """Run calls and answer each, in order.

    Neighbouring calls run at the same time when every tool among them says that it is safe.
    A malformed call or an unknown tool is answered, never run.

    Args:
        over: asked before each call (or run of concurrent calls); once it is true, the rest is
            answered with "not run": what follows a `submit()` has no effect.

    Raises:
        InfraError: from a tool; calls running beside it are cancelled.
    """
    results: list[ToolResult] = []
    while len(results) < len(calls):
        rest = calls[len(results) :]
        if over is not None and over():
            results += [_not_run() for _ in rest]
            break
        together = _leading_safe(tools, rest)
        if together > 1:
            results += await _gather([_run_call(tools, call) for call in rest[:together]])
        else:
            results.append(await _run_call(tools, rest[0]))
    return results


def _leading_safe(tools: Mapping[str, Tool], calls: Sequence[ToolCall]) -> int:
    """How many calls from the first on may run at the same time."""
    for index, call in enumerate(calls):
        found = tools.get(call.name)
        if call.error is None and found is not None and not found.concurrent:
            return index
    return len(calls)


async def _gather(coroutines: list[Coroutine[None, None, ToolResult]]) -> list[ToolResult]:
    """Like asyncio.gather, but a failure leaves no sibling running."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _run_call(tools: Mapping[str, Tool], call: ToolCall) -> ToolResult:
    if call.error is not None:
        return ToolResult(f"error: {call.error}", ok=False, error=_kind(call.error))
    found = tools.get(call.name)
    if found is None:
        return ToolResult(
            wording.unknown_tool(call.name, list(tools)), ok=False, error="unknown_tool"
        )
    return await found(call.arguments)


def _kind(error: str) -> str:
    return "cut_off" if "cut off" in error else "malformed"


def _not_run() -> ToolResult:
    return ToolResult("error: not run, the episode is over", ok=False, error="episode_over")
