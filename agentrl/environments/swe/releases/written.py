"""Tasks as they are written down, of a pair of releases or of its single fixes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from agentrl.core import Task
from agentrl.environments.swe.difficulty import difficulty, fix_size
from agentrl.environments.swe.releases.entries import assigned, words
from agentrl.environments.swe.releases.pair import Pair
from agentrl.environments.swe.releases.prove import Proof
from agentrl.environments.swe.releases.site import Site
from agentrl.environments.swe.releases.split import Part
from agentrl.environments.swe.releases.text import issue_text, notes_of, part_text
from agentrl.environments.swe.task import Payload, Reference
from agentrl.environments.swe.tree import diff_trees, digest


@dataclass(slots=True, frozen=True)
class Fix:
    """What a task is made of: both sides, what the tests show; `part` of a pair that was split."""

    pair: Pair
    proof: Proof
    part: Part | None = None


def make_tasks(fixes: Sequence[Fix], site: Site) -> list[Task]:
    """One for each, with what the project's notes say of it."""
    if all(fix.part is None for fix in fixes):
        return [_task(fix, site, *issue_text(fix.pair, fix.proof), "") for fix in fixes]
    notes, source = notes_of(fixes[0].pair)
    said = assigned(notes, [_words(fix) for fix in fixes])
    return [
        _task(fix, site, *part_text(fix.pair, fix.proof, own, source), f"-{number + 1}")
        for number, (fix, own) in enumerate(zip(fixes, said, strict=True))
    ]


def _words(fix: Fix) -> frozenset[str]:
    """What the changed lines, the functions around them and the tests that miss them name."""
    changed = [
        line[1:]
        for line in fix.pair.fix.splitlines()
        if line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- "))
    ]
    names = [name for place in (fix.part.places if fix.part else ()) for name in place.names]
    tests = [test.partition("::")[2] for test in fix.proof.fail_to_pass]
    return words("\n".join([*changed, *names, *tests, *fix.proof.messages.values()]))


def _task(fix: Fix, site: Site, text: str, source: str, suffix: str) -> Task:
    pair, proof = fix.pair, fix.proof
    old, new = pair.old.package, pair.new.package
    patch = pair.fix
    payload = Payload(
        archive=f"repos/{digest(pair.pristine)}.tar.gz",
        repo=digest(pair.pristine),
        bug=diff_trees(pair.pristine, pair.buggy),
        shown=diff_trees(pair.buggy, pair.base),
        roots=pair.package.roots,
        paths=pair.package.paths,
        tests=new.tests,
        requires=site.requires,
        plugins=site.plugins,
        ini=pair.new.ini,
    )
    reference = Reference(
        gold_patch=patch, fail_to_pass=proof.fail_to_pass, pass_to_pass=proof.pass_to_pass
    )
    size = fix_size(patch)
    value, name = difficulty(patch, len(proof.fail_to_pass))
    key = hashlib.sha256(f"{new.name}\0{old.version}\0{new.version}".encode()).hexdigest()[:6]
    return Task(
        f"{new.name.lower()}-{new.version}-{key}{suffix}",
        text,
        environment="swe",
        payload=payload.model_dump(),
        reference=reference.model_dump(),
        metadata={
            "source": "releases",
            "package": new.name,
            "repository": pair.new.repository or new.name.lower(),
            "version": old.version,
            "fixed_in": new.version,
            "single_fix": fix.part is not None,
            "issue_from": source,
            "failing_tests": len(proof.fail_to_pass),
            "uncollected": len(proof.uncollected),
            "fix_lines": size.lines,
            "fix_files": size.files,
            "difficulty": value,
            "difficulty_name": name,
            "seconds": round(proof.seconds, 2),
        },
    )
