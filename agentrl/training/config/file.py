"""From a file and overrides to a checked configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentrl.core import ConfigError
from agentrl.episodes.dialects import dialects
from agentrl.training.config.problems import nearest, problems
from agentrl.training.config.rewards import chat_section, check_rewards
from agentrl.training.config.sections import RunConfig
from agentrl.training.config.yaml_text import Path as KeyPath
from agentrl.training.config.yaml_text import dotted, parse


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file.

    Args:
        path: a YAML file. Paths inside it are relative to the current directory.
        overrides: `learner.group_size=16`, `reward.steps.0.weight=0.2`; values are YAML.

    Raises:
        ConfigError: no such file, not YAML (with the line), or keys and values that are wrong:
            all of them at once, each with its path, what is allowed and the nearest name.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        fix = "give the path of a run file; docs/run-file.md says what is in one"
        raise ConfigError("no such file", where=str(path), fix=fix) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    data, lines = parse(text, str(path))
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds a {type(data).__name__}"
        raise ConfigError(
            f"a run file is a mapping of sections, this one {found}",
            where=str(path),
            fix="start with model: ..., environment: ..., tasks: ..., reward: ...",
        )
    for override in overrides:
        data = _apply(data, override, lines)
    config = parse_config(data, where=str(path), lines=lines)
    if config.run.dir:
        return config
    run = config.run.model_copy(update={"dir": str(Path("runs") / path.stem)})
    return config.model_copy(update={"run": run})


def parse_config(
    data: Mapping[str, Any], *, where: str = "run file", lines: Mapping[KeyPath, int] | None = None
) -> RunConfig:
    """Check the plain values of a run file; `lines` lets errors name the line (0: an
    override)."""
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        raise _error(problems(error, data), where, lines or {}) from error
    found = list(_inconsistencies(config))
    if found:
        raise _error(found, where, lines or {})
    return config


def _inconsistencies(config: RunConfig) -> list[tuple[KeyPath, str]]:
    """What no single key can be blamed for."""
    found: list[tuple[KeyPath, str]] = []
    known = ["auto", *dialects()]
    if config.model.dialect not in known:
        hint = nearest(config.model.dialect, known)
        found.append((("model", "dialect"), f"{config.model.dialect!r} is not a dialect{hint}"))
    if config.sampling.max_tokens > config.environment.max_tokens:
        limit = config.environment.max_tokens
        text = f"is more than the whole conversation may have (environment.max_tokens: {limit})"
        found.append((("sampling", "max_tokens"), text))
    if config.train.eval_every and config.eval.split == "eval" and config.tasks.eval is None:
        found.append((("train", "eval_every"), "needs held-out tasks: give tasks.eval"))
    stored = None if config.replay is None else config.replay.stored
    # Importance weights of stored episodes are to what drew them, not to the weights before.
    if stored is not None and config.learner.ratio.old not in ("auto", "behaviour"):
        text = f"needs learner.ratio.old: auto or behaviour, not {config.learner.ratio.old}"
        found.append((("replay", "stored"), text))
    found += _guidance_problems(config)
    for check in (partial(check_rewards, config.reward), partial(_check_teachers, config)):
        try:
            check()
        except ConfigError as error:
            text = f"{error.what}; {error.fix}" if error.fix else error.what
            parts = re.findall(r"[^.\[\]]+", error.where or "reward")
            path = tuple(int(part) if part.isdecimal() else part for part in parts)
            found.append((path, text))
    return found


def _guidance_problems(config: RunConfig) -> Iterator[tuple[KeyPath, str]]:
    guidance = config.guidance
    if guidance is None:
        return
    if config.environment.kind == "agent":
        text = "an agent program writes its own messages, it cannot be given hints"
        yield ("guidance",), text
    asked = guidance.learner_defaults().get("ratio", {}).get("hints", "keep")
    if config.learner.ratio.hints != asked:
        text = f"guidance {guidance.kind!r} needs {asked!r}: see guidance.train.context"
        yield ("learner", "ratio", "hints"), text


def _check_teachers(config: RunConfig) -> None:
    tiers = config.guidance.ladder.tiers if config.guidance is not None else ()
    for i, tier in enumerate(tiers):
        if tier.kind == "teacher":
            chat_section(tier.model, f"guidance.ladder.tiers.{i}.model")


def _error(
    found: Sequence[tuple[KeyPath, str]], where: str, lines: Mapping[KeyPath, int]
) -> ConfigError:
    def shown(path: KeyPath, text: str) -> str:
        line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
        at = "" if line is None else f" (line {line})" if line else " (override)"
        return f"{dotted(path) or 'the file'}{at}: {text}"

    if len(found) == 1:
        return ConfigError(shown(*found[0]), where=where)
    listed = "".join(f"\n  - {shown(*item)}" for item in found)
    return ConfigError(f"{len(found)} things are wrong{listed}", where=where)


def _apply(data: dict[str, Any], override: str, lines: dict[KeyPath, int]) -> dict[str, Any]:
    """`data` with one `a.b.c=value` put in; line 0 says that a key comes from an override."""
    name, equals, text = override.partition("=")
    if not equals or not all(name.split(".")):
        raise ConfigError(
            f"cannot read the override {override!r}",
            fix="write section.key=value, such as learner.group_size=16",
        )
    value, _ = parse(text, f"override {name}")
    data = copy.deepcopy(data)
    keys: list[str | int] = list(name.split("."))
    if keys[0] == "model" and isinstance(data.get("model"), str):
        data["model"] = {"path": data["model"]}
    node: Any = data
    for depth, key in enumerate(keys):
        if isinstance(node, list):
            key = keys[depth] = _index(node, str(key), override)
        elif not isinstance(node, dict):
            at = dotted(tuple(keys[:depth]))
            raise ConfigError(f"{at} is {node!r}, it has no keys", where=f"override {override}")
        if depth == len(keys) - 1:
            node[key] = value
        elif isinstance(node, dict):
            if node.get(str(key)) is None:
                node[key] = {}
            node = node[key]
        else:
            node = node[key]
    changed = tuple(keys)
    for path in [p for p in lines if p[: len(changed)] == changed]:
        del lines[path]
    for length in range(1, len(changed)):
        lines.setdefault(changed[:length], 0)
    lines[changed] = 0
    return data


def _index(items: list[Any], key: str, override: str) -> int:
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    raise ConfigError(
        f"{key!r} is not one of the {len(items)} items of the list",
        where=f"override {override}",
        fix=f"give a number from 0 to {len(items) - 1}" if items else "the list is empty",
    )
