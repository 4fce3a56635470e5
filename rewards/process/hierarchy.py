"""DeepTravel: the whole trajectory first, then every turn (paper 18, arXiv 2509.21842)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from agentrl.core import ChatModel, Check, Episode, Score
from agentrl.rewards.judges.judge import Ballot, Judge
from agentrl.rewards.judges.template import Template
from agentrl.rewards.judges.votes import decide


class Passes(BaseModel):
    """A yes or no with its reason."""

    reason: str = ""
    passes: bool


WHOLE = Template(
    "hierarchy_whole",
    "You check the result of an agent against a rubric. It passes only when every point of the"
    " rubric holds.",
    "The task:\n{task}\n\nThe rubric:\n{rubric}\n\nThe result:\n{result}",
)
TURN = Template(
    "hierarchy_turn",
    "You check whether everything the result says that concerns one answer of a tool agrees with"
    " that answer. It passes when nothing contradicts it and nothing was made up.",
    "The task:\n{task}\n\nThe call and its answer:\n{turn}\n\nThe result:\n{result}",
)


@dataclass(slots=True)
class Hierarchical:
    """R = V_whole * prod_t V_turn(t), both binary.

    The turn checks are only asked when the whole passes, in order, and stop at the first that
    fails: 1 question for a bad result, at most 1 + turns for a good one. Turns without a tool's
    answer are not asked about. Rubric: `Task.reference["rubric"]`.

    Attributes:
        looked_up: a result that rests on no tool's answer at all fails, however good it is; False
            for tasks that need no tool.
    """

    judge: ChatModel
    votes: int = 1
    temperature: float = 0.0
    reference: str = "rubric"
    looked_up: bool = True
    name: str = "hierarchical"

    async def score(self, episode: Episode) -> Score:
        rubric = episode.task.reference.get(self.reference)
        if rubric is None or not episode.turns:
            return Score(abstained=True, evidence="no rubric" if rubric is None else "no turns")
        task, result = episode.task.prompt, episode.turns[-1].text
        asked = await self._ask(WHOLE, {"task": task, "rubric": rubric, "result": result})
        score = Score(cost=asked.cost, evidence=asked.said)
        if not self._passes("whole", -1, asked, score):
            return score
        if self.looked_up and not any(turn.results for turn in episode.turns):
            score.checks.append(Check("turns", 0.0, False, "nothing was looked up", "essential"))
            score.evidence = "turns fail: nothing was looked up"
            return score
        for number, turn in enumerate(episode.turns):
            if not turn.results:
                continue
            answers = "\n".join(r.text for r in turn.results)
            given = {"task": task, "turn": f"{turn.text}\n\n{answers}", "result": result}
            asked = await self._ask(TURN, given)
            score.cost += asked.cost
            if not self._passes(f"turn/{number}", number, asked, score):
                return score
        score.value = 1.0
        return score

    async def _ask(self, template: Template, given: Mapping[str, object]) -> Ballot[Passes]:
        judge = Judge(self.judge, template, Passes, self.votes, self.temperature)
        return await judge.ask(given)

    def _passes(self, name: str, turn: int, asked: Ballot[Passes], score: Score) -> bool:
        """Note a verdict in `score`; whether to go on."""
        if asked.silent:
            score.abstained, score.evidence = True, asked.said
            return False
        passed = bool(decide([a.passes for a in asked.answers]))
        reason = next((a.reason for a in asked.answers if a.passes == passed), "")
        score.checks.append(Check(name, float(passed), passed, reason, "essential", turn=turn))
        if not passed:
            score.evidence = f"{name} fails: {reason}"
        return passed
