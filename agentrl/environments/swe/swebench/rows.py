"""Rows of SWE-bench and of the data sets made in its format, as tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrl.core import ConfigError, Task, TaskFileError

ENVIRONMENT = "swebench"

NAMED: dict[str, tuple[str, str]] = {
    "swe-bench": ("SWE-bench/SWE-bench", "test"),
    "swe-bench-lite": ("SWE-bench/SWE-bench_Lite", "test"),
    "swe-bench-verified": ("SWE-bench/SWE-bench_Verified", "test"),
    "swe-bench-multilingual": ("SWE-bench/SWE-bench_Multilingual", "test"),
    "swe-gym": ("SWE-Gym/SWE-Gym", "train"),
    "swe-gym-lite": ("SWE-Gym/SWE-Gym-Lite", "train"),
    "swe-smith": ("SWE-bench/SWE-smith", "train"),
    "swe-rebench": ("nebius/SWE-rebench", "test"),
    "r2e-gym": ("R2E-Gym/R2E-Gym-Subset", "train"),
}
"""Data sets by short name: (on the hub, split). Others are named `owner/name[:split]`."""

_ALIASES = {
    "instance_id": ("instance_id", "id"),
    "repo": ("repo", "repo_name"),
    "base_commit": ("base_commit", "commit_hash"),
    "image": ("image", "image_name", "docker_image", "docker_image_name"),
    "eval_script": ("eval_script",),
    "test_command": ("test_cmd", "test_command", "test_cmds"),
    "log_parser": ("log_parser",),
    "eval_type": ("eval_type",),
}


class Instance(BaseModel):
    """One row, whatever set it is from.

    Attributes:
        image: of the environment; the repository is at `folder` in it.
        eval_script: bash that runs the tests and prints the official markers; "" when it is to be
            made from `test_command` (or pytest) and the files of `test_patch`.
        reversed: `patch` plants the bug (SWE-smith); its reverse is the fix.
    """

    model_config = ConfigDict(extra="forbid")

    instance_id: str = Field(min_length=1)
    repo: str
    base_commit: str = ""
    patch: str
    test_patch: str = ""
    problem_statement: str
    fail_to_pass: list[str]
    pass_to_pass: list[str] = []
    image: str
    folder: str = "/testbed"
    eval_script: str = ""
    test_command: str = ""
    log_parser: str = "parse_log_pytest"
    eval_type: str = "pass_and_fail"
    version: str = ""
    reversed: bool = False


def load_set(name: str) -> list[Task]:
    """The tasks of a data set: a short name, a hub name, or a local .jsonl, .json or .parquet.

    Raises:
        ConfigError: no such file, a package is missing, or the hub cannot be reached.
        TaskFileError: a row lacks something; says which and what.
    """
    path = Path(name)
    if path.suffix in (".jsonl", ".json", ".parquet"):
        rows, where = read_rows(path), str(path)
    else:
        hub, split = NAMED.get(name.lower(), (name, ""))
        hub, _, given = hub.partition(":")
        rows, where = _from_hub(hub, given or split or "train"), name
    return list(to_tasks(rows, where))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a local file. Raises ConfigError."""
    if not path.is_file():
        raise ConfigError(
            "there is no such file",
            where=str(path),
            fix=f"a .jsonl, .json or .parquet file, or one of {', '.join(NAMED)}",
        )
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise ConfigError(
                "Parquet needs pyarrow", where=str(path), fix="pip install 'agentrl[swebench]'"
            ) from error
        found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return found
    text = path.read_text("utf-8")
    try:
        if path.suffix == ".json":
            data = json.loads(text)
            return data if isinstance(data, list) else list(data.values())
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", where=str(path)) from error


def to_tasks(rows: Iterable[dict[str, Any]], where: str) -> Iterator[Task]:
    """Tasks for `SweBenchEnvironment`. Raises TaskFileError."""
    for number, row in enumerate(rows, start=1):
        instance = instance_of(row, f"{where}:{number}")
        payload = instance.model_dump(include={"image", "folder", "base_commit", "repo", "version"})
        reference = instance.model_dump(
            include={
                "test_patch", "fail_to_pass", "pass_to_pass", "eval_script", "test_command",
                "log_parser", "eval_type",
            }
        )  # fmt: skip
        patch = instance.patch
        payload["bug"] = patch if instance.reversed else ""
        reference["gold_patch"] = reversed_patch(patch) if instance.reversed else patch
        yield Task(
            instance.instance_id,
            instance.problem_statement,
            ENVIRONMENT,
            payload,
            reference,
            {
                "source": where.rpartition(":")[0],
                "repository": _repository(instance.repo),
                "base_commit": instance.base_commit,
            },
        )


def instance_of(row: dict[str, Any], where: str) -> Instance:
    """A row with the field names of whichever set. Raises TaskFileError."""
    row = _unwrapped(row, where)
    found: dict[str, Any] = {}
    for field, names in _ALIASES.items():
        value = next((row[name] for name in names if row.get(name)), None)
        if value:
            found[field] = value
    for field in ("patch", "test_patch", "problem_statement", "version", "folder"):
        if row.get(field) is not None:
            found[field] = row[field]
    for field in ("fail_to_pass", "pass_to_pass"):
        value = row.get(field.upper(), row.get(field))
        if value is not None:
            found[field] = _tests(value, where)
    _of_r2e(row, found, where)
    commands = found.get("test_command")
    if isinstance(commands, list):
        found["test_command"] = " && ".join(map(str, commands))
    config = row.get("install_config")
    if isinstance(config, dict):
        found.setdefault("test_command", str(config.get("test_cmd") or ""))
        found.setdefault("log_parser", str(config.get("log_parser") or "parse_log_pytest"))
    found["reversed"] = str(found.get("repo", "")).startswith("swesmith/")
    found.setdefault("image", _image(str(found.get("instance_id", ""))))
    try:
        return Instance.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise TaskFileError(
            f"not a row of SWE-bench's format: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=where,
            fix=f"it has the columns {', '.join(sorted(row))}",
        ) from error


def _unwrapped(row: dict[str, Any], where: str) -> dict[str, Any]:
    """NeMo Gym, and so Nemotron's sets, keep a row as JSON in the metadata of a model request."""
    asked = row.get("responses_create_params")
    metadata = asked.get("metadata") if isinstance(asked, dict) else None
    if not isinstance(metadata, dict):
        return row
    inner = metadata.get("instance_dict") or {}
    try:
        inner = json.loads(inner) if isinstance(inner, str) else inner
        return {**metadata, **inner}
    except (json.JSONDecodeError, TypeError) as error:
        raise TaskFileError("instance_dict is no JSON object", where=where) from error


def _of_r2e(row: dict[str, Any], found: dict[str, Any], where: str) -> None:
    """R2E-Gym says which outcomes it expects of every test; its images run them by a script."""
    expected = row.get("expected_output_json")
    if not expected or "fail_to_pass" in found:
        return
    outcomes = json.loads(expected) if isinstance(expected, str) else expected
    before = _outcomes_before(row)
    passing = [test for test, outcome in outcomes.items() if outcome == "PASSED"]
    found["fail_to_pass"] = [test for test in passing if before.get(test) != "PASSED"]
    found["pass_to_pass"] = [test for test in passing if before.get(test) == "PASSED"]
    commit = str(found.get("base_commit", ""))
    found.setdefault("instance_id", f"{found.get('repo', where)}__{commit[:12]}")
    found.setdefault("patch", str(row.get("patch") or ""))
    found.setdefault("test_command", "bash /testbed/run_tests.sh")


def _outcomes_before(row: dict[str, Any]) -> dict[str, str]:
    from agentrl.environments.swe.swebench.logs import parse_pytest

    content = row.get("execution_result_content")
    try:
        data = json.loads(content) if isinstance(content, str) else content or {}
    except json.JSONDecodeError:
        return {}
    return parse_pytest(str(data.get("old_commit_res_stdout") or ""))


def _tests(value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise TaskFileError(
                f"a list of tests is not JSON: {value[:60]!r}", where=where
            ) from error
    return [str(test) for test in value]


def reversed_patch(patch: str) -> str:
    """The unified diff that undoes one."""
    swapped = []
    lines = patch.splitlines(keepends=True)
    for number, line in enumerate(lines):
        after = lines[number + 1] if number + 1 < len(lines) else ""
        before = lines[number - 1] if number else ""
        if line.startswith("--- ") and after.startswith("+++ "):
            swapped.append("--- " + re.sub(r"^b/", "a/", after[4:]))
        elif line.startswith("+++ ") and before.startswith("--- "):
            swapped.append("+++ " + re.sub(r"^a/", "b/", before[4:]))
        elif hunk := re.match(r"@@ -(\S+) \+(\S+) @@", line):
            swapped.append(f"@@ -{hunk[2]} +{hunk[1]} @@{line[hunk.end() :]}")
        elif line.startswith(("new file mode", "deleted file mode")):
            kind = "deleted" if line.startswith("new") else "new"
            swapped.append(f"{kind} file mode{line.partition('mode')[2]}")
        elif line.startswith(("+", "-")):
            swapped.append(("-" if line[0] == "+" else "+") + line[1:])
        else:
            swapped.append(line)
    return "".join(swapped)


def _image(instance: str) -> str:
    """The published image of an instance, by SWE-bench's naming."""
    return f"swebench/sweb.eval.x86_64.{instance.lower().replace('__', '_1776_')}:latest"


def _repository(repo: str) -> str:
    """owner/name; SWE-smith's `swesmith/owner__name.commit` is that of its source."""
    if repo.startswith("swesmith/"):
        repo = repo.removeprefix("swesmith/").rpartition(".")[0].replace("__", "/")
    return f"github.com/{repo}".lower()


def _from_hub(name: str, split: str) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"loading {name} from the hub needs the package datasets",
            fix="pip install 'agentrl[swebench]', or give a local .jsonl or .parquet file",
        ) from error
    try:
        return [dict(row) for row in datasets.load_dataset(name, split=split)]
    except Exception as error:
        raise ConfigError(
            f"{name} (split {split}) cannot be loaded: {str(error)[:300]}",
            fix="check the name and the network, or give a local .jsonl or .parquet file",
        ) from error
