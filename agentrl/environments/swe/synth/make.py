"""Writing a verified bug down as a task, and checking the task with the grader itself."""

from __future__ import annotations

import hashlib

from agentrl.core import Task
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.difficulty import difficulty
from agentrl.environments.swe.grade import admissible, judge
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.issue import failing_statement, issue_text
from agentrl.environments.swe.synth.probes import FILE, Probes
from agentrl.environments.swe.synth.verify import Verified
from agentrl.environments.swe.task import Payload, Reference, SweTask
from agentrl.environments.swe.tree import diff_trees, digest


async def holds(bench: Bench, task: Task, timeout: float) -> bool:
    """The gold patch resolves the task, and no patch does not."""
    swe = SweTask(task)
    changes, refused = admissible(swe, swe.reference.gold_patch)
    gold = await judge(bench, swe, changes, refused, timeout=timeout)
    empty = await judge(bench, swe, {}, {}, timeout=timeout)
    return gold.resolved and not refused and not empty.resolved and empty.f2p_passed == 0


def make_task(
    package: Package,
    verified: Verified,
    split: str,
    written: str = "",
    probes: Probes | None = None,
) -> Task:
    """Write a verified bug down; `written` is an issue in the place of the one by rule."""
    bug, function = verified.bug, verified.bug.function
    buggy = {**package.tree, **verified.sources}
    repo = digest(package.tree)
    payload = Payload(
        archive=f"repos/{repo}.tar.gz",
        repo=repo,
        bug=diff_trees(package.tree, buggy),
        roots=package.roots,
        paths=package.paths,
        tests=package.tests,
        hidden=verified.hidden,
        reproduction=verified.reproduction,
    )
    gold = bug.gold_patch(package.tree)
    hardness, name = difficulty(gold, len(verified.fail_to_pass))
    mutation = bug.mutations[0]
    reference = Reference(
        gold_patch=gold,
        fail_to_pass=[*verified.fail_to_pass, *(probes.tests if probes else [])],
        extra_tests={FILE: probes.text} if probes else {},
        pass_to_pass=verified.pass_to_pass,
        location={
            "path": function.path,
            "function": function.name,
            "line": mutation.line,
            "operator": mutation.operator,
            "old": mutation.old,
            "new": mutation.new,
        },
    )
    return Task(
        task_id(package, verified),
        _with_reproduction(written, verified) if written else _prompt(package, verified),
        environment="swe",
        payload=payload.model_dump(),
        reference=reference.model_dump(),
        metadata={
            "package": package.name,
            "version": package.version,
            "function": function.id,
            "operator": bug.operator,
            "places": len(bug.mutations),
            "files": len(verified.sources),
            "issue_from": "model" if written else "rule",
            "split": split,
            "failing_tests": len(verified.fail_to_pass),
            "probes": len(probes.tests) if probes else 0,
            "function_lines": function.code_lines,
            "difficulty": hardness,
            "difficulty_name": name,
        },
    )


def _with_reproduction(written: str, verified: Verified) -> str:
    shown = verified.reproduction
    return f"{written}\nReproduce: {shown}" if shown is not None else written


def _prompt(package: Package, verified: Verified) -> str:
    frames = [f for f in verified.failure.frames if f[0] in package.tests]
    path, line = frames[-1] if frames else (verified.failing_test.partition("::")[0], 0)
    statement = failing_statement(package.tree[path], line) if line else verified.failing_test
    return issue_text(
        verified.bug.function,
        package.paths,
        statement=statement,
        message=verified.failure.message,
        reproduction=verified.reproduction,
    )


def task_id(package: Package, verified: Verified) -> str:
    """Depends on the package's name and the mutated files, so that equal bugs have equal ids."""
    content = b"".join(
        f"{path}\0".encode() + source for path, source in sorted(verified.sources.items())
    )
    return f"{package.name}-{hashlib.sha256(content).hexdigest()[:10]}"
