"""What runs in the process of a `VerifiersHost`: needs the `verifiers` package and nothing of us.

Reads one JSON object a line ({"id", "do": "rows", "count"}; {"id", "do": "rollout", "row", "url"})
and answers {"id", "ok": ..} or {"id", "error": ..}, in the order in which they are done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from typing import Any

LIMITS = ("max_turns", "max_tokens", "deadline")


async def main(name: str, arguments: dict[str, Any]) -> None:
    import verifiers  # type: ignore[import-not-found,unused-ignore]

    environment = verifiers.load_environment(name, **arguments)
    loop = asyncio.get_running_loop()
    working: set[asyncio.Task[None]] = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer(environment, json.loads(line)))
        working.add(task)
        task.add_done_callback(working.discard)


async def answer(environment: Any, asked: dict[str, Any]) -> None:
    done: dict[str, Any] = {"id": asked["id"]}
    try:
        if asked["do"] == "rows":
            done["ok"] = rows(environment, asked["count"])
        else:
            done["ok"] = await rollout(environment, asked["row"], asked["url"])
    except Exception as error:  # noqa: BLE001 the boundary to foreign environments
        done["error"] = "".join(traceback.format_exception(error)[-3:])
    OUT.write(json.dumps(done, default=str) + "\n")
    OUT.flush()


def rows(environment: Any, count: int) -> list[dict[str, Any]]:
    """The rows of the environment's dataset; its `example_id` is the number of each."""
    return [{"example_id": i, **dict(row)} for i, row in enumerate(environment.get_dataset(count))]


async def rollout(environment: Any, row: dict[str, Any], url: str) -> dict[str, Any]:
    """One episode of the environment's own loop, judged by its own rubric."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        state = await environment.rollout(row, client, "policy", {})
    if state["error"] is not None and not used_up(state["error"]):
        raise state["error"]
    await environment.rubric.score_rollout(state, score_sem=asyncio.Semaphore(64))
    return {
        "reward": float(state["reward"]),
        "metrics": {k: float(v) for k, v in (state["metrics"] or {}).items()},
        "turns": len(state["trajectory"]),
    }


def used_up(error: BaseException) -> bool:
    """Whether the gateway ended the episode by a limit: it is judged as it stands."""
    code = getattr(error.__cause__, "code", None)
    return code in LIMITS


if __name__ == "__main__":
    # This file's folder has modules of the packages' names.
    sys.path.pop(0)
    # What environments print must not stand among the answers.
    OUT, sys.stdout = sys.stdout, sys.stderr
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
