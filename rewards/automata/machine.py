"""Reward machines: rewards that depend on what happened before (paper 34)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from agentrl.core import Check, ConfigError, Episode, Score
from agentrl.rewards.automata.events import Labels, labels_of


class Transition(BaseModel):
    """In state `state`, a step in which `when` holds leads to `to` and pays `reward`.

    `when`: label names, those with a leading "!" must not hold; "" always does.
    """

    state: str
    when: str
    to: str
    reward: float = 0.0

    def holds(self, labels: Labels) -> bool:
        return all(
            (name[1:] not in labels) if name.startswith("!") else name in labels
            for name in self.when.split()
        )


@dataclass(slots=True)
class RewardMachine:
    """A finite automaton over the labels of turns: R_t depends on its state.

    Each turn takes the first transition of the state whose condition holds; none: it stays, unpaid.
    Steps hold the turns' rewards; the value is their sum. A state in `final` ends it.

    Labels: see `labels_of`.
    """

    start: str
    transitions: list[Transition]
    final: list[str] = field(default_factory=list)
    name: str = "reward_machine"

    def __post_init__(self) -> None:
        states = {t.state for t in self.transitions} | {t.to for t in self.transitions}
        if self.start not in states:
            raise ConfigError(f"no state {self.start!r}", where="start", fix=f"one of: {states}")

    async def score(self, episode: Episode) -> Score:
        steps, path = self.run(labels_of(episode))
        checks = [Check("state", float(path[-1] in self.final), path[-1] in self.final, path[-1])]
        return Score(sum(steps), checks, steps, evidence=" > ".join(path))

    def run(self, trace: Iterable[Labels]) -> tuple[list[float], list[str]]:
        """(reward of every step, states from the start on) of a trace of labels."""
        state, rewards, path = self.start, list[float](), [self.start]
        for labels in trace:
            taken = None
            if state not in self.final:
                mine = (t for t in self.transitions if t.state == state)
                taken = next((t for t in mine if t.holds(labels)), None)
            rewards.append(taken.reward if taken else 0.0)
            state = taken.to if taken else state
            path.append(state)
        return rewards, path


def markov_rewards_exist(
    trajectories: Sequence[Sequence[str]], better: Sequence[tuple[int, int]], margin: float = 1.0
) -> bool:
    """Whether one reward per label orders the trajectories as wanted (a linear program).

    Args:
        trajectories: the labels each goes through; better: pairs (a, b), a is to be worth more than
            b by `margin`.
    """
    import z3

    names = sorted({x for t in trajectories for x in t})
    reward = {name: z3.Real(name) for name in names}
    worth = [z3.Sum([reward[x] for x in t]) for t in trajectories]
    solver = z3.Solver()
    solver.add([worth[a] - worth[b] >= margin for a, b in better])
    return bool(solver.check() == z3.sat)
