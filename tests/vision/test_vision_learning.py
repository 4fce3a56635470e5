"""The gradient goes through the vision tower, exactly, also where rows share their images."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from vision_kit import FAMILIES, llava, picture

from agentrl.core import ConfigError, Episode, Group, Message, Origin, Score, Status, Task
from agentrl.episodes.chatformat import ChatFormat
from agentrl.episodes.rerender import as_generation
from agentrl.episodes.transcript import Transcript
from agentrl.learner import Learner, LearnerSettings
from agentrl.learner.rows import Row, make_rows
from agentrl.learner.trunk import Trunk
from agentrl.models import Policy, tiny_policy, train_tokenizer


def episode(policy: Policy, answers: list[str], first: int, hint: bool = False) -> Episode:
    """A conversation with an image in the prompt and one behind each answer."""
    chat = ChatFormat(policy.tokenizer, [])
    transcript = Transcript(chat)
    opening = [Message("user", "what do you see?", images=[picture(first)])]
    if hint:
        opening.insert(0, Message("system", "look", images=[picture(50)], hint=True))
    transcript.open(opening)
    for turn, answer in enumerate(answers):
        transcript.add_turn(as_generation(chat, answer), turn)
        seen = [picture(first + turn + 1)]
        transcript.add_observations([Message("tool", "so", images=seen)], turn)
    return Episode(Task("t", ""), status=Status.COMPLETED, segments=transcript.segments())


def tower(policy: Policy) -> torch.nn.Parameter:
    """The weights that meet the pixels."""
    names = dict(policy.model.named_parameters())
    (name,) = (
        n for n in names if n.endswith(("patch_embedding.weight", "patch_embed.proj.weight"))
    )
    return names[name]


def loss(trunk: Trunk, rows: list[Row], min_shared: int | None) -> torch.Tensor:
    batch = trunk.pack(rows, min_shared=min_shared)
    logprobs, entropy = trunk.logprobs(batch)
    weights = torch.linspace(0.5, 1.5, len(logprobs), dtype=logprobs.dtype)
    return (logprobs * weights).sum() + 0.1 * entropy.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_towers_gradient_is_the_slope_of_the_loss(family):
    policy = FAMILIES[family]()
    policy.model.double()
    trunk = Trunk(policy.model, LearnerSettings(), policy.vision)
    rows = make_rows([episode(policy, ["up", "left right"], 0)])
    weight = tower(policy)
    loss(trunk, rows, None).backward()
    direction = torch.randn(weight.shape, generator=torch.manual_seed(0), dtype=weight.dtype)
    slope = float((weight.grad * direction).sum())
    assert abs(slope) > 1e-6
    # Norms compute in float32 whatever the model does: a smaller step would measure rounding.
    step, values = 1e-3, []
    with torch.no_grad():
        for sign in (1.0, -2.0):
            weight.add_(direction, alpha=sign * step)
            values.append(float(loss(trunk, rows, None)))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_share_their_images_give_the_gradient_of_rows_apart(family):
    policy = FAMILIES[family]()
    policy.model.double()
    trunk = Trunk(policy.model, LearnerSettings(), policy.vision)
    told = [episode(policy, said, first) for said, first in SAID]
    rows = sorted(make_rows(told), key=lambda r: r.keys.astype(">i8").tobytes())
    packed, apart = (trunk.pack(rows, min_shared=n) for n in (16, None))
    images = sum(len(row.images) for row in rows)
    assert len(apart.images) == images
    assert len(packed.images) < images
    assert len(packed.tokens) < len(apart.tokens)
    grads = []
    for min_shared in (16, None):
        policy.model.zero_grad()
        loss(trunk, rows, min_shared).backward()
        grads.append(tower(policy).grad.clone())
    scale = float(grads[1].abs().max())
    assert float((grads[0] - grads[1]).abs().max()) < 1e-4 * scale


# The first two part in their last answer; the third has other pictures of the same size.
SAID = ((["up", "left"], 0), (["up", "down"], 0), (["up", "left"], 30))


def test_images_of_hints_go_with_their_hints():
    policy = llava()
    hinted, plain = (episode(policy, ["up"], 0, hint=h) for h in (True, False))
    assert (hinted.segments[0].origin == Origin.HINT).sum() > 16
    (stripped,) = make_rows([hinted], strip_hints=True)
    (row,) = make_rows([plain])
    assert np.array_equal(stripped.keys, row.keys)
    assert stripped.images == row.images


def test_a_step_moves_every_part_that_sees():
    policy = llava()
    before = copy.deepcopy(policy.model.state_dict())
    learner = Learner(policy, LearnerSettings(learning_rate=1e-3))
    told = [episode(policy, [said], 0) for said in ("up", "down")]
    for reward, one in enumerate(told):
        one.scores["reward"] = Score(float(reward))
    metrics = learner.step([Group(("t",), told)])
    assert metrics["optimizer_steps"] == 1
    after = policy.model.state_dict()
    for part in ("vision_tower", "multi_modal_projector", "language_model"):
        same = [n for n in before if part in n and torch.equal(before[n], after[n])]
        # What is added to all keys alike changes no attention; LLaVA reads the tower's last layer
        # without the norm behind it.
        assert all("k_proj.bias" in name or "post_layernorm" in name for name in same), same


def test_a_model_that_reads_text_only_is_not_trained_on_images():
    seeing = llava()
    told = episode(seeing, ["up"], 0)
    blind = tiny_policy(train_tokenizer(["up"], 320), hidden=32, layers=1, heads=1, kv_heads=1)
    with pytest.raises(ConfigError, match="reads text only"):
        Learner(blind, LearnerSettings()).imitate([told])
