"""Writing a verified bug down as a task, and checking the task with the grader itself."""

from __future__ import annotations

import hashlib

from agentrl.core import Task
from agentrl.environments.swe.bench import Bench
from agentrl.environments.swe.grade import admissible, judge
from agentrl.environments.swe.package import Package
from agentrl.environments.swe.synth.issue import failing_statement, issue_text
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


def make_task(package: Package, verified: Verified, split: str) -> Task:
    """Write a verified bug down."""
    mutation, function = verified.mutation, verified.mutation.function
    buggy = {**package.tree, function.path: verified.source}
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
    reference = Reference(
        gold_patch=diff_trees(buggy, package.tree),
        fail_to_pass=verified.fail_to_pass,
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
        _prompt(package, verified),
        environment="swe",
        payload=payload.model_dump(),
        reference=reference.model_dump(),
        metadata={
            "package": package.name,
            "version": package.version,
            "function": function.id,
            "operator": mutation.operator,
            "split": split,
            "failing_tests": len(verified.fail_to_pass),
            "function_lines": function.code_lines,
        },
    )


def _prompt(package: Package, verified: Verified) -> str:
    frames = [f for f in verified.failure.frames if f[0] in package.tests]
    path, line = frames[-1] if frames else (verified.failing_test.partition("::")[0], 0)
    statement = failing_statement(package.tree[path], line) if line else verified.failing_test
    return issue_text(
        verified.mutation.function,
        package.paths,
        statement=statement,
        message=verified.failure.message,
        reproduction=verified.reproduction,
    )


def task_id(package: Package, verified: Verified) -> str:
    """Depends on the package's name and the mutated file, so that equal bugs have equal ids."""
    content = f"{verified.mutation.function.path}\0".encode() + verified.source
    return f"{package.name}-{hashlib.sha256(content).hexdigest()[:10]}"
