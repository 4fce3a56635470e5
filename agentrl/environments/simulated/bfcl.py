"""The multi-turn tasks of the Berkeley function-calling leaderboard, from the package `bfcl-eval`.

Nothing of it is part of agentrl: data and service classes are read from the installed package, or
from a folder that holds it (`pip install --no-deps --target FOLDER bfcl-eval` is enough).
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agentrl.core import ConfigError, Task, ToolCall
from agentrl.environments.simulated.environment import SimulatedEnvironment
from agentrl.tools import Tool
from agentrl.tools.given import given_tool

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")
_SOURCES = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
FILES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
# The leaderboard's names of JSON types that JSON Schema calls otherwise.
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


class BfclService:
    """One of the package's classes: its public methods as tools, its attributes as state."""

    def __init__(self, folder: Path, name: str, config: Any, long_context: bool) -> None:
        module = importlib.import_module(f"{_SOURCES}.{FILES[name]}")
        self.instance = getattr(module, name)()
        if hasattr(self.instance, "_load_scenario"):
            self.instance._load_scenario(copy.deepcopy(config), long_context=long_context)
        self._docs = _docs(folder, name)

    @property
    def tools(self) -> dict[str, Tool]:
        """Answered by the methods; excluded or unknown names are not offered."""
        return {doc["name"]: self._tool(doc) for doc in self._docs}

    def _tool(self, doc: Mapping[str, Any]) -> Tool:
        method = getattr(self.instance, doc["name"])

        async def answer(arguments: dict[str, Any]) -> Any:
            return method(**arguments)

        # The data calls some methods with other types than the documents say: the service decides.
        return given_tool(_spec(doc), answer, checked=False)


def bfcl_tasks(folder: str | Path | None = None, category: str = "base") -> Iterator[Task]:
    """Tasks of a category: payload {"classes", "config", "user", "long_context"}, reference
    {"turns": per user turn, the right calls as `ToolCall` fields}.

    Args:
        folder: what holds `bfcl_eval`; None: where Python finds it.

    Raises:
        ConfigError: the package is not there.
    """
    home = package(folder)
    name = f"BFCL_v4_multi_turn_{category}.json"
    answers = {a["id"]: a["ground_truth"] for a in _lines(home / "data/possible_answer" / name)}
    for entry in _lines(home / "data" / name):
        config = entry["initial_config"]
        turns = [[m["content"] for m in turn] for turn in entry["question"]]
        yield Task(
            entry["id"],
            "\n".join(turns[0]),
            environment="bfcl",
            payload={
                "classes": entry["involved_classes"],
                "config": ast.literal_eval(config) if isinstance(config, str) else config,
                "user": [{"say": "\n".join(turn) or MORE_TOOLS} for turn in turns],
                "long_context": category == "long_context",
            },
            reference={
                "turns": [
                    [parse_call(text, entry["involved_classes"]) for text in turn]
                    for turn in answers[entry["id"]]
                ],
                "ground_truth": answers[entry["id"]],
            },
        )


MORE_TOOLS = "I have updated some more functions you can choose from. What about now?"


def bfcl_environment(folder: str | Path | None = None) -> Callable[[], SimulatedEnvironment]:
    """A maker of environments for `bfcl_tasks`: the script's user, the package's services."""
    home = package(folder)

    def services(task: Task) -> dict[str, object]:
        config, long_context = task.payload["config"], task.payload["long_context"]
        return {
            name: BfclService(home, name, config.get(name, {}), long_context)
            for name in task.payload["classes"]
        }

    return lambda: SimulatedEnvironment(make_services=services)


def package(folder: str | Path | None) -> Path:
    """The folder of `bfcl_eval`, importable from now on. Raises ConfigError."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
    found = importlib.util.find_spec("bfcl_eval")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            "the package bfcl-eval is not installed",
            where=str(folder or "sys.path"),
            fix="pip install --no-deps --target FOLDER bfcl-eval, and give FOLDER",
        )
    return Path(found.submodule_search_locations[0])


def parse_call(text: str, classes: list[str]) -> dict[str, Any]:
    """{"name", "arguments"} of a call written in Python; arguments by place get their names.

    Raises ConfigError: it is no call of plain values.
    """
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise ValueError("no call")
        arguments = {k.arg or "": ast.literal_eval(k.value) for k in node.keywords}
        places = [ast.literal_eval(a) for a in node.args]
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"not a call of plain values: {text!r}", where="bfcl") from error
    if places:
        arguments = {
            **dict(zip(_parameters(node.func.id, classes), places, strict=False)),
            **arguments,
        }
    return {"name": node.func.id, "arguments": arguments}


def _parameters(method: str, classes: list[str]) -> list[str]:
    for name in classes:
        found = getattr(importlib.import_module(f"{_SOURCES}.{FILES[name]}"), name)
        if hasattr(found, method):
            return list(inspect.signature(getattr(found, method)).parameters)[1:]
    raise ConfigError(f"no service of the task has a method {method!r}", where="bfcl")


def as_python(call: ToolCall) -> str:
    """The call as the package's own checker reads it."""
    return f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})"


def _docs(home: Path, name: str) -> list[dict[str, Any]]:
    return list(_lines(home / "data/multi_turn_func_doc" / f"{FILES[name]}.json"))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _spec(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": doc["name"],
        "description": doc["description"],
        "parameters": _json_schema(doc["parameters"]),
    }


def _json_schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, str) and value in _TYPES:
            if _TYPES[value] is not None:
                out[key] = _TYPES[value]
        elif key == "default" and not isinstance(value, dict):
            out[key] = value
        else:
            out[key] = _json_schema(value)
    return out
