"""`agentrl verifier`: how good a verifier is on labelled answers, and what fools it."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any, Literal

from agentrl.core import ConfigError


def add_commands(commands: Any) -> None:
    verifier = commands.add_parser(
        "verifier",
        help="measure a verifier on labelled answers",
        description="Confusion by domain and form, 95%% intervals, kappa, time and cost. With"
        " --attack also how often it accepts answers that nobody should.",
    )
    verifier.add_argument(
        "file",
        type=Path,
        help="JSON Lines: question, answer, reference, correct, and domain and form if there are",
    )
    verifier.add_argument(
        "--verifier", required=True, metavar="YAML", help="such as '{kind: math}', or a file of it"
    )
    verifier.add_argument(
        "--coverage", action="store_true", help="leave abstentions out (else they are rejections)"
    )
    verifier.add_argument("--attack", action="store_true", help="try to fool it, too")
    verifier.add_argument("--wrong", type=int, default=0, metavar="N", help="show N wrong verdicts")
    verifier.set_defaults(run=_verifier)


def _verifier(options: argparse.Namespace) -> int:
    from agentrl.core.naming import named
    from agentrl.rewards import Resources, build_verifier
    from agentrl.rewards.diagnostics.attacks import attack, attack_table
    from agentrl.rewards.diagnostics.benchmark import benchmark, read_labelled
    from agentrl.training.rewards import chat_models

    none = Resources.none()
    resources = Resources(chat_models(named), none.scorer, none.sandboxes)
    verifier = build_verifier(_settings(options.verifier), resources)
    items = read_labelled(options.file)
    mode: Literal["coverage", "conservative"] = "coverage" if options.coverage else "conservative"
    report = asyncio.run(benchmark(verifier, items, mode=mode))
    print(report.table())
    for labelled, score in report.wrong[: options.wrong]:
        said = "abstained" if score.abstained else f"{score.value:g}"
        print(f"{said}, labelled {labelled.correct}: {labelled.item.answer!r}  {score.evidence}")
    if options.attack:
        found = asyncio.run(attack(verifier, [i.item for i in items if not i.correct]))
        print(attack_table(found))
    return 0


def _settings(given: str) -> dict[str, Any]:
    """YAML on the command line, or of a file."""
    import yaml

    text = Path(given).read_text("utf-8") if Path(given).is_file() else given
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", where="--verifier") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{given!r} is no verifier", where="--verifier", fix="{kind: math}")
    return found
