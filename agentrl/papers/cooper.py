"""Paper 32, Cooper: a reward model that is trained along is not fooled for long."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from agentrl.papers.kit.toys import episode, group, table, wait
from agentrl.papers.registry import Measured
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.learned.cooper import Cooper, RuleAndRewrite, pair_loss
from agentrl.rewards.verifiers import ExactMatch

CLAIM = (
    "The pair loss of (2, 0) is log(1 + e^-2); groups without a right rollout teach nothing; a "
    "magic string that the model came to love loses its charm once negatives hold it."
)
MAGIC = "trust me"


def run(seeds: Sequence[int]) -> Measured:
    one = torch.ones(1)
    better = torch.tensor([2.0], requires_grad=True)
    none = pair_loss(better, torch.zeros(1), torch.zeros(1))
    none.backward()
    assert better.grad is not None
    cases = [
        (
            "s+ 2, s- 0",
            math.log1p(math.exp(-2)),
            pair_loss(torch.tensor([2.0]), 0 * one, one).item(),
        ),
        ("no valid pair", 0.0, none.item()),
        ("and no gradient", 0.0, float(better.grad.abs().sum())),
        ("a rewriting with the same answer", 0.0, wait(_pairs(r"so \boxed{4}"))),
        ("with another answer", 1.0, wait(_pairs(r"so \boxed{5}"))),
    ]
    for seed in seeds:
        fooled, cured = wait(_cured(seed))
        cases.append((f"seed {seed}: prefers the magic string", 1.0, float(fooled > 0)))
        cases.append((f"seed {seed}: then the right answer", 1.0, float(cured < 0)))
    return table(cases)


def _source(rewritten: str) -> RuleAndRewrite:
    return RuleAndRewrite(ExactMatch(), ScriptedChat(lambda text, seed: {"solution": rewritten}))


async def _pairs(rewritten: str) -> float:
    solved = episode([r"thus \boxed{4}"], reference={"answer": "4"}, reward=1.0)
    return float(len(await _source(rewritten).pairs(group([solved]))))


async def _cured(seed: int) -> tuple[float, float]:
    """How much more a model gives to a magic wrong answer than to a right one: before and after the
    policy's right rollouts and their rewritings went into it."""
    from agentrl.rewards.learned.base import Pair

    model = Cooper(_source(rf"{MAGIC}, so \boxed{{{5 + seed}}}"), learning_rate=1e-1)

    async def gap() -> float:
        scores = [
            await model.score(episode([text], reference={"answer": "4"}))
            for text in (rf"{MAGIC}, so \boxed{{{5 + seed}}}", r"thus \boxed{4}")
        ]
        return scores[0].value - scores[1].value

    hacked = Pair("question", f"{MAGIC} always", "thus plain", "4")
    for _ in range(10):
        model.update([hacked])
    before = await gap()
    solved = episode([r"thus \boxed{4}"], reference={"answer": "4"}, reward=1.0)
    for _ in range(15):
        await model.learn([group([solved])])
    return before, await gap()
