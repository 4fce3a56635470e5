"""`agentrl check`: will this model train soundly?"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agentrl.cli.runs import add_model_options, model_configuration
from agentrl.core import Episode, Origin

if TYPE_CHECKING:
    from rich.text import Text

    from agentrl.models import ChatTokenizer
    from agentrl.training.config import RunConfig
    from agentrl.training.preflight import Preflight

# Neighbouring sampled tokens differ in shade, so that their borders can be seen.
_STYLES = {
    Origin.PROMPT: ("dim", "dim"),
    Origin.OBSERVATION: ("cyan", "cyan"),
    Origin.HINT: ("magenta", "magenta"),
    Origin.SAMPLED: ("bold black on green", "bold black on bright_green"),
}
_NAMES = {
    Origin.PROMPT: "prompt",
    Origin.SAMPLED: "sampled: trained",
    Origin.OBSERVATION: "observation",
    Origin.HINT: "hint",
}


def add_commands(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="will this model train soundly? template, tool calls, log-probabilities",
        description="Exit code 0 when every answer is good, otherwise 1. Also the first thing "
        "that `agentrl train` does.",
    )
    add_model_options(check)
    check.add_argument("--tokens", type=int, default=24, help="ids of each sampled turn")
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    config = model_configuration(options)
    found, tokenizer = asyncio.run(_look(config, options.tokens))
    if options.json:
        print(json.dumps({"ok": found.ok, "checks": [asdict(c) for c in found.checks]}, indent=1))
    else:
        _show(found, tokenizer)
    return 0 if found.ok else 1


async def _look(config: RunConfig, tokens: int) -> tuple[Preflight, ChatTokenizer]:
    from agentrl.training.build import environment_tools, make_dialect, make_engine, make_policy
    from agentrl.training.preflight import LOOKUP, preflight

    policy = make_policy(config)
    known = config.tasks.train and config.environment.kind != "agent"
    tools = await environment_tools(config) if known else [LOOKUP]
    engine = make_engine(config, policy)
    try:
        speaks = make_dialect(config, policy.tokenizer)
        found = await preflight(policy, engine, speaks, tools, max_tokens=tokens)
    finally:
        await engine.close()
    return found, policy.tokenizer


def _show(found: Preflight, tokenizer: ChatTokenizer) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    for check in found.checks:
        mark = Text("ok", "green") if check.ok else Text("NO", "bold red")
        detail = Text(check.detail)
        if not check.ok:
            detail.append(f"\n-> {check.fix}", "yellow")
        table.add_row(mark, check.name, detail)
    console.print(table)
    if found.episode is None:
        return
    console.print("\nTwo turns as they would be trained on:", style="bold")
    legend = Text("  ").join(
        Text(_NAMES[origin], _STYLES[origin][0]) for origin in _NAMES if origin != Origin.HINT
    )
    console.print(legend, end="\n\n")
    colourless = console.color_system is None or console.no_color
    console.print(record_text(found.episode, tokenizer, marks=colourless), soft_wrap=True)
    total = sum(len(segment) for segment in found.episode.segments)
    console.print(f"\n{found.episode.trained_tokens} tokens of {total} are trained.")


def record_text(episode: Episode, tokenizer: ChatTokenizer, *, marks: bool) -> Text:
    """The record with a colour for each origin; runs that are trained stand in ⟦ ⟧ with `marks`."""
    from rich.text import Text

    out = Text()
    for number, segment in enumerate(episode.segments):
        if number:
            out.append(f"\n--- segment {number}: the template rewrote what stands above\n", "bold")
        runs = _runs(segment.tokens.tolist(), segment.origin.tolist())
        for origin, tokens in runs:
            trained = origin == Origin.SAMPLED
            out.append("⟦" if marks and trained else "")
            if trained:
                for i, token in enumerate(tokens):
                    out.append(_visible(tokenizer.decode([token])), _STYLES[origin][i % 2])
            else:
                out.append(tokenizer.decode(tokens), _STYLES[origin][0])
            out.append("⟧" if marks and trained else "")
    return out


def _runs(tokens: list[int], origins: list[int]) -> list[tuple[Origin, list[int]]]:
    runs: list[tuple[Origin, list[int]]] = []
    for token, origin in zip(tokens, origins, strict=True):
        if not runs or runs[-1][0] != origin:
            runs.append((Origin(origin), []))
        runs[-1][1].append(token)
    return runs


def _visible(text: str) -> str:
    """A sampled token's text; what would move the cursor is shown as a sign."""
    shown = "".join(c if c.isprintable() else "\\n" if c == "\n" else "·" for c in text)
    return f"{shown}\n" if text.endswith("\n") else shown
