"""A run's failures as training data for others: tasks, conversations, preference pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from agentrl.core import Episode, Message
from agentrl.core.taskfile import write_tasks
from agentrl.store import RunStore
from agentrl.training.progress import solved

Kind = Literal["tasks", "sft", "dpo"]


def export(store: RunStore, kind: Kind, path: Path, *, task: str | None = None) -> int:
    """Write JSON Lines; how many.

    tasks   the tasks whose whole group failed at some step, as a task file
    sft     {"messages", "tools"}: of each such task that an episode solved, the shortest that did
    dpo     {"prompt", "chosen", "rejected", "tools"}: of each such task that an episode solved, the
            messages of one that did and of one that did not, behind what both read first

    Args:
        task: only this one.
    """
    ids = dict.fromkeys(f.task for f in store.failures(task))
    found = [store.episodes(task=id, split="train") for id in ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "tasks":
        tasks = [episodes[-1].task for episodes in found if episodes]
        write_tasks(path, tasks)
        return len(tasks)
    lines = [line for episodes in found for line in _lines(kind, episodes)]
    # Escaped, since a tool may have printed what UTF-8 cannot hold.
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return len(lines)


def _lines(kind: Kind, episodes: list[Episode]) -> Iterator[dict[str, Any]]:
    judged = [e for e in episodes if e.judged and e.turns]
    right = sorted((e for e in judged if solved(e)), key=lambda e: e.trained_tokens)
    wrong = [e for e in judged if not solved(e)]
    if right and kind == "sft":
        said = [*_plain(right[0].prompt), *_said(right[0])]
        yield {"messages": said, "tools": right[0].tools}
    elif right and wrong:
        prompt = _plain(right[0].prompt)
        pair = {"chosen": _said(right[0]), "rejected": _said(wrong[-1])}
        yield {"prompt": prompt, **pair, "tools": right[0].tools}


def _said(episode: Episode) -> list[dict[str, Any]]:
    """Everything after the prompt; guidance that an evaluation would not give is left out."""
    messages: list[Message] = []
    for turn in episode.turns:
        calls = [c for c in turn.calls if c.error is None]
        text = turn.text
        for call in calls:  # a template writes them once more
            text = text.replace(call.raw, "", 1) if call.raw else text
        messages.append(Message("assistant", text, calls=calls))
        messages += turn.observations
    return _plain(messages)


def _plain(messages: list[Message]) -> list[dict[str, Any]]:
    out = []
    for message in messages:
        if message.hint:
            continue
        plain: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            plain["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.calls
            ]
        if message.role == "tool":
            plain |= {"tool_call_id": message.call_id, "name": message.name}
        out.append(plain)
    return out
