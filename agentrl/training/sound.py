"""Whether anything is left of episodes that infrastructure may have broken."""

from __future__ import annotations

from collections.abc import Sequence

from agentrl.core import Episode, InfraError, Status


def sound(episodes: Sequence[Episode], what: str, *, where: str = "") -> list[Episode]:
    """Those that did not break.

    Args:
        what: they were, for the error: "episodes of step 3".
        where: the key of the run file that has to do with them.

    Raises:
        InfraError: all of them broke. A run that went on would spend its budget on nothing.
    """
    kept = [e for e in episodes if e.status != Status.INFRA_ERROR]
    if episodes and not kept:
        first = episodes[0]
        error = str(first.outcome.get("error", "")).strip()
        raise InfraError(
            first.cause,
            f"all {len(episodes)} {what} broke, the first by {first.cause}: {error}",
            where=where,
            fix="put that right; a run that had begun goes on with agentrl train --resume",
        )
    return kept
