"""Evidence (paper 38): what is a submission, how votes decide, outages, rules, the parts' sum."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.core import (
    Episode,
    Group,
    Image,
    InfraError,
    Message,
    Status,
    Task,
    ToolCall,
    ToolResult,
    Turn,
)
from agentrl.rewards import EvidenceReward, build_plan, evidence_metrics, judge
from agentrl.rewards.evidence import Votes, read_submission
from agentrl.rewards.evidence.reward import decided
from agentrl.rewards.judges.scripted import ScriptedChat
from agentrl.rewards.transforms import transform_rewards
from agentrl.rewards.transforms.scale import Fade

PNG = b"\x89PNG"
PROOF = [{"page": "Orders", "shows": ["2 x mug"], "lacks": ["cancelled"]}]


def submit(*evidence: object, message: str = "done") -> ToolCall:
    return ToolCall("submit", {"message": message, "evidence": list(evidence)})


def play(*calls: ToolCall, texts: dict[int, str] | None = None, **outcome: object) -> Episode:
    """One call a turn, rounds from 1 on; `texts` are what rounds show."""
    turns, rounds = [], []
    for number, call in enumerate(calls, 1):
        text = (texts or {}).get(number, f"screen {number}")
        result = ToolResult(f"## Round {number}\n{text}", images=[Image(PNG + bytes([number]))])
        nothing = np.zeros(0, np.float32)
        turns.append(Turn(nothing, nothing, "", [call], [result]))
        rounds.append({"round": number, "turn": number - 1, "call": 0})
    task = Task("t", "Order two mugs.", reference={"proof": PROOF})
    return Episode(
        task,
        status=Status.COMPLETED,
        prompt=[Message("user", task.prompt)],
        turns=turns,
        outcome={"rounds": rounds, **outcome},
    )


def clicks(count: int, *, last: ToolCall, texts: dict[int, str] | None = None) -> Episode:
    return play(*[ToolCall("click", {"id": i}) for i in range(count)], last, texts=texts)


def voting(success: int, valid: int, votes: int = 3) -> ScriptedChat:
    """A judge whose first votes say success, the next ones valid, the others neither."""
    left = iter(range(votes))

    def answer(text: str, seed: int) -> dict[str, object]:
        number = next(left)
        return {"success": number < success, "valid": number < valid, "reason": "seen"}

    return ScriptedChat(answer)


@pytest.mark.parametrize(
    ("evidence", "success", "valid", "value"),
    [((7,), 2, 2, 1.0), ((1, 2, 3, 4, 5), 3, 3, 0.8), ((7,), 1, 3, 0.0), ((7,), 1, 1, -1.0)],
)
async def test_values_of_votes_and_surplus(evidence, success, valid, value):
    model = voting(success, valid)
    score = await EvidenceReward(model).score(clicks(7, last=submit(*evidence)))
    assert score.value == pytest.approx(value)
    assert model.asked == 3


@pytest.mark.parametrize(
    "episode",
    [
        play(submit(1), submit(1)),
        play(submit(1), ToolCall("click")),
        play(ToolCall("click")),
        play(ToolCall("click"), submit(2)),
        play(ToolCall("click"), submit(0)),
        play(ToolCall("click"), submit()),
        play(ToolCall("click"), submit("1")),
        play(ToolCall("click"), submit(True)),
        play(ToolCall("click"), ToolCall("submit", {"evidence": "1"})),
        play(ToolCall("click"), ToolCall("submit", error="not JSON")),
        play(),
    ],
)
async def test_what_is_no_submission_costs_one_and_asks_nobody(episode):
    model = voting(3, 3)
    score = await EvidenceReward(model).score(episode)
    assert (score.value, model.asked) == (-1.0, 0)
    assert score.evidence
    assert score.checks[0].passed is False


@given(
    success=st.integers(0, 5),
    more=st.integers(0, 5),
    cast=st.integers(1, 5),
    evidence=st.lists(st.integers(1, 6), min_size=1, max_size=9),
)
def test_the_value_is_the_sum_of_its_four_parts(success, more, cast, evidence):
    success = min(success, cast)
    votes = Votes(cast, min(success + more, cast), success)
    reward = EvidenceReward()
    score = reward._judged(read_submission(clicks(6, last=submit(*evidence))), votes)
    parts = {c.name: c.value for c in score.checks[:4]}
    assert list(parts) == ["format", "validity", "completeness", "conciseness"]
    assert score.value == pytest.approx(sum(parts.values()))
    assert score.value == pytest.approx(decided(votes) - 0.1 * max(len(evidence) - 3, 0))


class Broken(ScriptedChat):
    """Down for its first `down` calls."""

    down = 0

    async def chat(self, messages, **named):
        self.down -= 1
        if self.down >= 0:
            raise InfraError("judge_down", "no answer")
        return await ScriptedChat.chat(self, messages, **named)


async def test_votes_lost_to_an_outage_do_not_count():
    model = Broken(lambda text, seed: {"valid": True, "success": True})
    model.down = 2
    score = await EvidenceReward(model).score(clicks(2, last=submit(1)))
    assert score.value == 1.0
    assert "2 votes lost" in score.evidence


async def test_a_total_outage_is_no_verdict():
    model = Broken(lambda text, seed: {"valid": True, "success": True})
    model.down = 3
    episode = clicks(2, last=submit(1))
    with pytest.raises(InfraError, match="no answer"):
        await judge(EvidenceReward(model), episode)
    assert not episode.scores


async def test_a_judge_that_cannot_be_read_abstains():
    score = await EvidenceReward(ScriptedChat(lambda t, s: "??")).score(clicks(1, last=submit(1)))
    assert score.abstained


async def test_invalid_evidence_is_no_success():
    model = ScriptedChat(lambda text, seed: {"valid": False, "success": True})
    assert (await EvidenceReward(model).score(clicks(1, last=submit(1)))).value == -1.0


@pytest.mark.parametrize(("show", "pictures"), [("text", 0), ("image", 2), ("both", 2)])
async def test_the_judge_sees_the_claim_and_the_evidence_and_nothing_else(show, pictures):
    model = ScriptedChat(lambda text, seed: {"valid": True, "success": True})
    reward = EvidenceReward(model, votes=1, show=show)
    await reward.score(clicks(4, last=submit(4, 2, message="two mugs")))
    (said,) = [conversation[-1] for conversation in model.conversations]
    assert [image.data[-1] for image in said.images] == [2, 4][:pictures]
    seen = [n for n in range(1, 6) if f"screen {n}" in said.content]
    assert seen == ([] if show == "image" else [2, 4])
    assert "two mugs" in said.content
    assert said.content.index("[round 2] after click(id=1)") < said.content.index("[round 4]")


@pytest.mark.parametrize(
    ("texts", "evidence", "message", "value"),
    [
        ({3: "Orders: 2 x mug"}, [3], "ordered", 1.0),
        ({3: "Orders: 2 x mug"}, [2], "ordered", -1.0),
        ({3: "Orders: 1 x mug"}, [3], "ordered", 0.0),
        ({2: "Orders: 2 x mug", 3: "Orders: 2 x mug cancelled"}, [2, 3], "ordered", 0.0),
        ({2: "Orders: none", 3: "Orders: 2 x mug"}, [3, 2], "ordered", 1.0),
        ({3: "Orders: 2 x mug"}, [3], "I could not do it", 0.0),
        ({3: "Orders: 2 x mug"}, [3], "I couldn't", 0.0),
    ],
)
async def test_rules_on_what_is_seen(texts, evidence, message, value):
    episode = clicks(3, last=submit(*evidence, message=message), texts=texts)
    score = await EvidenceReward().score(episode)
    assert score.value == value, score.evidence


async def test_a_proof_of_what_does_not_hold_at_the_end_is_no_success():
    texts = {1: "Orders: 2 x mug"}
    episode = play(ToolCall("click"), submit(1), texts=texts, solved=False)
    assert (await EvidenceReward().score(episode)).value == 0.0


async def test_a_task_without_a_proof_abstains():
    episode = clicks(1, last=submit(1))
    episode.task.reference = {}
    assert (await EvidenceReward().score(episode)).abstained
    episode.task.reference = {"proof": [{"pages": "x"}]}
    assert "proof" in (await EvidenceReward().score(episode)).evidence


async def test_shaping_for_acting_and_its_end():
    model = ScriptedChat(lambda text, seed: {"valid": True, "success": "1" in text})
    plan = build_plan({"kind": "evidence", "tools": 1.0})
    reward = EvidenceReward(model, tools=1.0)
    assert plan.reward.tools == 1.0
    won, lost = clicks(4, last=submit(1)), clicks(4, last=submit(2))
    lost.task = Task("other", "Order mugs.")
    scores = [await judge(reward, e) for e in (won, lost)]
    model.answer = lambda text, seed: {"valid": True, "success": False}
    scores[1] = await judge(reward, lost)
    assert [s.value for s in scores] == [2.0, 0.4]
    fade = Fade("evidence", 1, form="cosine", check="tools")
    for wanted in ([2.0, 0.4], [1.0, 0.0]):
        won.scores["reward"].value, lost.scores["reward"].value = 2.0, 0.4
        transform_rewards([fade], [Group(("t",), [won, lost])])
        assert [won.reward, lost.reward] == pytest.approx(wanted)


async def test_metrics_over_episodes():
    good = play(ToolCall("a"), submit(1), texts={1: "Orders: 2 x mug"}, solved=True)
    invalid = play(ToolCall("a"), submit(9), solved=False)
    both = [good, invalid]
    for episode in both:
        await judge(EvidenceReward(), episode)
    found = evidence_metrics(both)
    assert found["proved"] == found["invalid"] == found["solved"] == 0.5
    assert (found["count"], found["shown"], found["false_proof"]) == (1.0, 1.0, 0.0)
    assert evidence_metrics([]) == {}
    assert json.dumps(found)
