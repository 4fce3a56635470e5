"""CM2: checklists over turns, judged at every step (paper 23).

A dialogue has user turns; a user turn has steps, one policy message each. An item of a user turn
is satisfied or not on what happened so far. `Episode.outcome["user_turns"]` says which user turn
each policy message belongs to (all to turn 0 when it is not there).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, Field, model_validator

from agentrl.core import ChatModel, Check, Episode, Score
from agentrl.rewards.judges.judge import Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.judges.votes import decide


class ChecklistItem(BaseModel):
    """One thing that must come true in a user turn.

    Attributes:
        id: unique in its turn; `needs` are ids of items of the turn that must be satisfied before.
        weight: the weights of a turn sum to 1 (`lint_turn` checks).
        strict: the next user message is only said when this is satisfied.
        focus: what to look at: "message", "tool_calls" or "tool_results". An item about calls is
            not satisfied by a step whose calls failed.
    """

    id: str
    question: str
    passes_when: str = ""
    fails_when: list[str] = Field(default_factory=list)
    weight: float = Field(gt=0, le=1)
    needs: list[str] = Field(default_factory=list)
    strict: bool = False
    focus: str = "message"
    reference: str = ""


class Checklist(BaseModel):
    """The items of each user turn. A `Task.reference["checklist"]` holds one as plain data."""

    turns: list[list[ChecklistItem]]

    @model_validator(mode="after")
    def _is_sound(self) -> Checklist:
        problems = [p for n, items in enumerate(self.turns) for p in lint_turn(items, n)]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def lint_turn(items: Sequence[ChecklistItem], turn: int) -> list[str]:
    """What is wrong with the items of one turn: double ids, needs that are not there or go in a
    circle, weights that do not sum to 1."""
    problems = []
    ids = [item.id for item in items]
    problems += [
        f"turn {turn}: {i!r} stands twice" for i in sorted({i for i in ids if ids.count(i) > 1})
    ]
    for item in items:
        problems += [
            f"turn {turn}: {item.id!r} needs {n!r}, which is not there"
            for n in item.needs
            if n not in ids
        ]
    if items and abs(sum(item.weight for item in items) - 1.0) > 1e-6:
        problems.append(f"turn {turn}: weights sum to {sum(i.weight for i in items):g}, not 1")
    open_, done = {i.id: {n for n in i.needs if n in ids} for i in items}, set[str]()
    while ready := {i for i, needs in open_.items() if needs <= done}:
        done |= ready
        open_ = {i: needs for i, needs in open_.items() if i not in ready}
    if open_:
        problems.append(f"turn {turn}: {', '.join(sorted(open_))} need each other in a circle")
    return problems


@dataclass(slots=True)
class TurnCredit:
    """Credit of one user turn of S steps and C items.

    Attributes:
        flips: bool[S, C], r_{s,c}: the item came true in this step with its needs met before.
        backfill: bool[S, C], every step since its needs were met, if it came true at all.
        open: bool[S, C], E_s: needs met and not satisfied before the step.
    """

    flips: np.ndarray
    backfill: np.ndarray
    open: np.ndarray


def turn_credit(items: Sequence[ChecklistItem], satisfied: np.ndarray) -> TurnCredit:
    """Flip and backfill rewards.

    Args:
        satisfied: bool[S, C], whether the item holds after step s (before the first, none does).
            Satisfaction is sticky: once true, it stays.
    """
    held = np.maximum.accumulate(np.asarray(satisfied, bool), axis=0)
    before = np.vstack([np.zeros((1, held.shape[1]), bool), held[:-1]])
    at = {item.id: c for c, item in enumerate(items)}
    needs = np.stack([before[:, [at[n] for n in item.needs]].all(axis=1) for item in items], axis=1)
    open_ = needs & ~before
    flips = open_ & held
    ever = np.flip(np.logical_or.accumulate(np.flip(flips, 0), axis=0), 0)
    return TurnCredit(flips, open_ & ever, open_)


def step_advantages(
    items: Sequence[ChecklistItem], credits: Sequence[TurnCredit]
) -> list[np.ndarray]:
    """A_step of one user turn over the rollouts of a group: float[S_i] for each rollout i.

    b_c = mean_i [item c came true in i],  A_{s,c} = backfill_{s,c} - b_c
    A_s = sum_{c in E_s} w_c A_{s,c} / sum_{c in E_s} w_c        (0 where E_s is empty)
    """
    weights = np.array([item.weight for item in items])
    base = np.mean([c.flips.any(axis=0) for c in credits], axis=0)
    found = []
    for c in credits:
        mass = (c.open * weights).sum(axis=1)
        gained = (c.open * weights * (c.backfill - base)).sum(axis=1)
        found.append(np.where(mass > 0, gained / np.where(mass > 0, mass, 1.0), 0.0))
    return found


class Satisfied(BaseModel):
    """One item, judged on what happened so far."""

    what_happened: str = ""
    evidence: str = ""
    satisfied: bool


QUESTION = Template(
    "cm2",
    "You check one item of a checklist about a dialogue between a user and an agent with tools."
    " Only what the dialogue shows counts; what the agent says it did without a call that shows it"
    " does not.",
    "The dialogue so far:\n{dialogue}\n\nThe newest step of the agent:\n{step}\n\n"
    "The item:\n{item}\n"
    "It looks at: {focus}",
    trusted=("focus",),
)


@dataclass(slots=True)
class ChecklistReward:
    """R = (1/L) sum over user turns of the weights of the items that came true, in [0, 1].

    L is the number of user turns of the checklist, so that turns that were never reached count 0.
    Steps hold each message's weight of flips over L, and sum to the value. All items of all steps
    go to the judge at once; a ballot that cannot be read abstains. Each item is a check "TURN/ID".
    For advantages by step see `ChecklistGroup`; by user turn {source: steps, discount: 0, by:
    [group, turn], min_group: 5}.
    """

    judge: ChatModel
    votes: int = 1
    temperature: float = 0.0
    reference: str = "checklist"
    longest: int = 30_000
    name: str = "checklist"
    _asked: Judge[Satisfied] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._asked = Judge(self.judge, QUESTION, Satisfied, self.votes, self.temperature)

    async def score(self, episode: Episode) -> Score:
        given = episode.task.reference.get(self.reference)
        if given is None:
            return Score(abstained=True, evidence=f"the task has no {self.reference!r}")
        checklist = Checklist.model_validate({"turns": given} if isinstance(given, list) else given)
        asked = [
            (t, s, c)
            for t, steps in enumerate(steps_by_turn(episode, len(checklist.turns)))
            for s in steps
            for c in range(len(checklist.turns[t]))
        ]
        ballots = await asyncio.gather(
            *(self.satisfied(episode, s, checklist.turns[t][c]) for t, s, c in asked)
        )
        cost = sum(cost for _, cost in ballots)
        unread = sum(held is None for held, _ in ballots)
        if unread:
            said = f"{unread} of {len(asked)} ballots cannot be read"
            return Score(abstained=True, evidence=said, cost=cost)
        held = {key: bool(answer) for key, (answer, _) in zip(asked, ballots, strict=True)}
        score = checklist_score(episode, checklist, held)
        score.cost = cost
        return score

    async def satisfied(
        self, episode: Episode, step: int, item: ChecklistItem
    ) -> tuple[bool | None, float]:
        """Whether an item holds after message `step` (None: nobody can read the judge), and what
        asking cost."""
        turn = episode.turns[step]
        about_calls = item.focus in ("tool_calls", "tool_results")
        if about_calls and (not turn.calls or any(not r.ok for r in turn.results)):
            return False, 0.0
        ballot = await self._asked.ask(
            {
                "dialogue": dialogue_before(episode, step)[-self.longest :],
                "step": _step(episode, step),
                "item": item.model_dump_json(
                    include={"question", "passes_when", "fails_when", "reference"}
                ),
                "focus": item.focus,
            }
        )
        if ballot.silent:
            return None, ballot.cost
        return bool(decide([a.satisfied for a in ballot.answers])), ballot.cost


def steps_by_turn(episode: Episode, turns: int) -> list[list[int]]:
    """The policy messages of each user turn."""
    given = episode.outcome.get("user_turns") or [0] * len(episode.turns)
    found: list[list[int]] = [[] for _ in range(turns)]
    for step, turn in enumerate(given[: len(episode.turns)]):
        if 0 <= int(turn) < turns:
            found[int(turn)].append(step)
    return found


def checklist_score(
    episode: Episode, checklist: Checklist, held: dict[tuple[int, int, int], bool]
) -> Score:
    """The trajectory-level score from a verdict on each (user turn, step, item)."""
    turns = len(checklist.turns)
    steps = [0.0] * len(episode.turns)
    checks = []
    for t, mine in enumerate(steps_by_turn(episode, turns)):
        items = checklist.turns[t]
        weights = np.array([item.weight for item in items])
        matrix = np.array([[held[t, s, c] for c in range(len(items))] for s in mine], bool)
        flips = turn_credit(items, matrix).flips if len(matrix) else np.zeros((0, len(items)), bool)
        for row, s in enumerate(mine):
            steps[s] += float((flips[row] * weights).sum()) / turns
        for c, item in enumerate(items):
            at = [mine[row] for row in np.flatnonzero(flips[:, c])]
            said = f"at message {at[0]}" if at else "reached" if mine else "turn not reached"
            checks.append(
                Check(
                    f"{t}/{item.id}",
                    item.weight / turns * bool(at),
                    bool(at),
                    said,
                    "positive",
                    item.weight / turns,
                )
            )
    held_rows = {f"{t}/{s}/{c}": value for (t, s, c), value in held.items()}
    return Score(sum(steps), checks, steps, evidence=_compact(held_rows))


def _compact(held: dict[str, bool]) -> str:
    return "satisfied after (turn/message/item): " + " ".join(k for k, v in held.items() if v)


def satisfied_matrix(score: Score, checklist: Checklist, episode: Episode) -> list[np.ndarray]:
    """bool[S, C] of each user turn, read back from a stored checklist score."""
    said = set(score.evidence.rpartition("): ")[2].split())
    return [
        np.array(
            [[f"{t}/{s}/{c}" in said for c in range(len(items))] for s in steps], bool
        ).reshape(len(steps), len(items))
        for (t, items), steps in zip(
            enumerate(checklist.turns), steps_by_turn(episode, len(checklist.turns)), strict=True
        )
    ]


def dialogue_before(episode: Episode, upto: int) -> str:
    """What was said and shown before the policy's message `upto`."""
    lines = [f"{m.role}: {m.content}" for m in episode.prompt]
    for turn in episode.turns[:upto]:
        lines.append(f"agent: {turn.text}")
        lines += [f"{m.role}: {m.content}" for m in turn.observations]
    return "\n".join(lines)


def _step(episode: Episode, step: int) -> str:
    turn = episode.turns[step]
    return "\n".join([turn.text, *(f"{m.role}: {m.content}" for m in turn.observations)])


def may_continue(items: Sequence[ChecklistItem], satisfied: np.ndarray) -> bool:
    """Whether the next user message is said: every strict item held at some step of the turn."""
    held = np.asarray(satisfied, bool)
    return all(bool(held[:, c].any()) for c, item in enumerate(items) if item.strict)
