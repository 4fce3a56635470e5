"""Domains as folders: a policy text, a database, tools, and users with wishes (tau-bench style).

desk/policy.md      what the agent must keep to: its system message
desk/db.json        the database every task begins with
desk/tools.py       class Tools(Service): `@tool` methods over its attributes
desk/tasks.jsonl    tasks; payload.goal (for a user that a model plays) or payload.user (a
                    script); reference.calls (the right calls), reference.outputs (told at last)
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl.core import ChatModel, ConfigError, Task, derive_seed
from agentrl.core.taskfile import read_tasks
from agentrl.environments.simulated.environment import SimulatedEnvironment, scripted_user
from agentrl.environments.simulated.services import Service
from agentrl.environments.simulated.users import ModelUser, User


@dataclass(slots=True)
class Domain:
    """A loaded folder; `tasks` are those of its file.

    Attributes:
        tools: the class of the folder's tools.
        user_model: plays the users of tasks that have a `goal`.
    """

    name: str
    policy: str
    database: dict[str, Any]
    tools: type[Service]
    tasks: list[Task]
    user_model: ChatModel | None = None

    def environment(self) -> SimulatedEnvironment:
        """A fresh environment; called once per episode."""
        return SimulatedEnvironment(
            make_user=self._user, make_services=self._services, policy=self.policy
        )

    def _services(self, task: Task) -> Mapping[str, object]:
        return {self.name: self.tools({**self.database, **task.payload.get("database", {})})}

    def _user(self, task: Task) -> User:
        goal = task.payload.get("goal")
        if goal is None or "user" in task.payload:
            return scripted_user(task)
        if self.user_model is None:
            raise ConfigError(
                "the task's user is played by a model, and there is none",
                where=f"task {task.id}",
                fix="load_domain(folder, user_model=..), or give payload.user a script",
            )
        return ModelUser(self.user_model, goal, seed=derive_seed(0, "user", task.id))


def load_domain(folder: str | Path, *, user_model: ChatModel | None = None) -> Domain:
    """Read a domain's folder. Raises ConfigError, TaskFileError: says which file and what."""
    folder = Path(folder)
    policy = _text(folder / "policy.md")
    try:
        database = json.loads(_text(folder / "db.json"))
    except ValueError as error:
        raise ConfigError(f"not JSON: {error}", where=str(folder / "db.json")) from error
    if not isinstance(database, dict):
        raise ConfigError("the database is no JSON object", where=str(folder / "db.json"))
    return Domain(
        folder.name,
        policy,
        database,
        _tools(folder / "tools.py"),
        read_tasks(folder / "tasks.jsonl"),
        user_model,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot be read: {error}",
            where=str(path),
            fix="a domain has policy.md, db.json, tools.py and tasks.jsonl",
        ) from error


def _tools(path: Path) -> type[Service]:
    """The class `Tools` of a file, imported under a name of its own."""
    name = f"agentrl_domain_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError("there is no such file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    # Annotations of the tools are looked up in the module by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the boundary to a file that a user wrote
        raise ConfigError(f"{type(error).__name__}: {error}", where=str(path)) from error
    tools = getattr(module, "Tools", None)
    if not (isinstance(tools, type) and issubclass(tools, Service)):
        raise ConfigError(
            "there is no class Tools(Service)",
            where=str(path),
            fix="from agentrl.environments.simulated import Service",
        )
    return tools
