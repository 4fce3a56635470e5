"""Losses on whole groups, weights by hidden reward, second looks, imitation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learner_kit import (
    Gradient,
    close,
    episode,
    gradient_of,
    gradients,
    group,
    learner,
    make_on_policy,
    tiny_model,
)

from agentrl.core import Episode, Group, Origin, Task
from agentrl.learner import LearnerSettings
from agentrl.learner.extensions.hindsight import Memory, change
from agentrl.learner.extensions.influence import emphasis, influence
from agentrl.learner.link import link_credit, link_loss
from agentrl.learner.rows import make_rows
from agentrl.learner.settings import HiddenReward, Hindsight, Link

TASK = Task(id="one", prompt="")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_groups() -> list[Group]:
    r = rng()
    return [group(r, [1.0, 0.0, 0.5], "a"), group(r, [0.0, 1.0], "b")]


# Links: PACS and REAL.


def link_gradient(scores: list[float], labels: list[int], **link: Any) -> list[float]:
    s = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    group_of = torch.zeros(len(scores), dtype=torch.long)
    loss = link_loss(s, torch.tensor(labels).bool(), group_of, Link(**link))
    return torch.autograd.grad(loss, s)[0].tolist()


def test_pacs_gradients_by_hand() -> None:
    pacs = {"kind": "bce", "contrast": "leave_one_out"}
    got = link_gradient([0.0] * 4, [1, 0, 0, 1], **pacs)
    np.testing.assert_allclose(got, [-1 / 6, 1 / 6, 1 / 6, -1 / 6])
    got = link_gradient([0.0] * 4, [1, 0, 0, 0], **pacs, balance="both")
    np.testing.assert_allclose(got, [-1 / 3, 1 / 9, 1 / 9, 1 / 9])
    np.testing.assert_allclose(link_gradient([0.0] * 4, [1] * 4, **pacs), np.zeros(4), atol=1e-12)
    far = link_gradient([60.0, -20.0, -20.0, -20.0], [1, 0, 0, 0], **pacs)
    assert max(map(abs, far)) < 1e-8


def test_classes_can_be_balanced_on_one_side() -> None:
    """Of 1 right and 3 wrong at psi = 0: errors -1/2 and 1/2, times 2 and 2/3 where balanced."""
    for balance, right, wrong in (("positive", 2.0, 1.0), ("negative", 1.0, 2 / 3)):
        got = link_gradient([0.0] * 4, [1, 0, 0, 0], kind="bce", balance=balance)
        np.testing.assert_allclose(got, np.array([-right, wrong, wrong, wrong]) / 2 / 4)


def test_a_score_can_be_the_mean_logprob() -> None:
    """Its slope is one over the length; where the policy was plays no part in it."""
    groups = some_groups()
    pick = Link(score="mean_logprob", scale=3.0, contrast="leave_one_out")
    rows = make_rows([e for g in groups for e in g.episodes])
    for r in rows:
        r.now = np.full(len(r.target), -0.5)
    rewards = np.array([e.reward for g in groups for e in g.episodes])
    link_credit(rows, rewards, np.array([0, 0, 0, 1, 1]), pick, "now")
    for r in rows:
        np.testing.assert_allclose(r.weight, 3.0 / len(r.target))
    equal = [float(r.advantage[0]) for r in rows[3:]]
    np.testing.assert_allclose(equal, [-0.2, 0.2])  # (label - 1/2) against the other's, over 5


def test_real_gradients_by_hand() -> None:
    """The scores carry 1 / tau = 2: gradients by s are bounded by 2."""
    got = np.array(link_gradient([0.0] * 5, [1, 1, 0, 0, 0], kind="logsumexp")) * 2
    np.testing.assert_allclose(got, [-2 / 3, -2 / 3, 0.5, 0.5, 0.5])
    scaled = [2 * x for x in (-3.0, 3.0, -3.0, 3.0, 0.0)]
    got = np.abs(link_gradient(scaled, [1, 1, 0, 0, 0], kind="logsumexp")) * 2
    np.testing.assert_allclose(got, [1.995, 1.2e-5, 1.2e-5, 1.990, 0.0049], rtol=0.05)
    assert link_gradient([0.0] * 3, [1, 1, 1], kind="logsumexp") == [0.0] * 3


@pytest.mark.parametrize("name", ["pacs", "real"])
@pytest.mark.parametrize("old", ["current", "behaviour"])
def test_link_gradient_needs_no_whole_group_in_a_micro_batch(name: str, old: str) -> None:
    """Equal to the loss written down directly, over one whole batch, by autograd."""
    groups = some_groups()
    got = gradient_of(groups, algorithm=name, ratio={"old": old}, token_budget=1)
    link = LearnerSettings(algorithm=name).link
    assert link is not None
    model = tiny_model()
    episodes = [e for g in groups for e in g.episodes]
    scores = []
    for row in make_rows(episodes):
        logits = model(input_ids=torch.as_tensor(row.tokens)[None]).logits[0]
        logp = logits[torch.as_tensor(row.where)].log_softmax(-1)
        logp = logp.gather(1, torch.as_tensor(row.target)[:, None])[:, 0]
        base = logp.detach() if old == "current" else torch.as_tensor(row.behave)
        change = logp - base
        scores.append(link.scale * (change.sum() if link.score == "sum" else change.mean()))
    keys = torch.tensor([0, 0, 0, 1, 1])
    rewards = torch.tensor([e.reward for e in episodes])
    labels = rewards > 0.5 + 1e-9
    loss = link_loss(torch.stack(scores), labels, keys, link)
    loss.backward()
    want = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    assert close(got, want)


def test_pacs_on_policy_is_leave_one_out_policy_gradient() -> None:
    g = [group(rng(), [1.0, 0.0, 0.0, 1.0])]
    pacs = gradient_of(g, link={"kind": "bce", "contrast": "leave_one_out"})
    rows = make_rows(g[0].episodes)
    rewards = np.array([e.reward for e in g[0].episodes])
    link_credit(rows, rewards, np.zeros(4, np.int64), Link(contrast="leave_one_out"), "behave")
    advantage = [float(r.advantage[0]) for r in rows]
    np.testing.assert_allclose(advantage, (rewards - rewards.mean()) * 4 / 3 / 4)
    assert pacs.norm() > 0


# Hint-free training of hinted episodes, THR and PIPO.


def hinted_groups() -> list[Group]:
    """One episode was hinted, one comes from a replay, the others are the policy's own."""
    g = group(rng(), [1.0, 0.0, 0.5, 0.0], hint=2)
    for e in g.episodes[1:]:
        segment = e.segments[0]
        keep = segment.origin != Origin.HINT
        for name in ("tokens", "origin", "logprobs", "turn", "weights"):
            setattr(segment, name, getattr(segment, name)[keep])
    g.episodes[2].source = "replay"
    return [g]


def test_what_the_policy_did_not_draw_has_a_coefficient_of_its_own() -> None:
    """The gradient is the sum of both kinds' alone: off the policy shaped, on it clipped."""
    shape = {"kind": "shape", "gamma": 0.5}
    base: dict[str, Any] = {"algorithm": "guide", "channels": {"outcome": {"scale": "none"}}}
    both = gradient_of(hinted_groups(), **base, off_policy=shape | {"quantile": None})
    parts = torch.zeros_like(both)
    for foreign, settings in ((True, {"coefficient": shape}), (False, {})):
        groups = hinted_groups()
        for i, e in enumerate(groups[0].episodes):
            e.outcome["other"] = (i in (0, 2)) is not foreign
        own = {**base, "off_policy": None, "field": {"flags": {"other": 1e-12}}, **settings}
        if foreign:
            own["ratio"] = {"correction": "none"}
        parts += gradient_of(groups, **own)
    assert close(both, parts, 1e-6)


def test_gamma_is_a_quantile_of_the_step_whatever_the_micro_batches() -> None:
    subject = learner(algorithm="guide")
    rows = subject._rows(hinted_groups()[0].episodes)
    assert [bool(r.foreign.all()) for r in rows] == [True, False, True, False]
    shaped = subject._shaped(rows).off_policy
    assert shaped is not None
    (whole,) = subject.looks.micro_batches([rows[0], rows[2]])
    logp = subject.trunk.logprobs(whole)[0].detach()
    ratios = (logp - whole.gather("behave", torch.float64)).exp()
    assert shaped.gamma == pytest.approx(float(ratios.quantile(0.9)))
    a = gradient_of(hinted_groups(), algorithm="guide")
    assert close(a, gradient_of(hinted_groups(), algorithm="guide", token_budget=1))


def test_hidden_reward_tells_wrong_alternatives_from_the_same_token() -> None:
    """pi = [.5, .3, .2], unit h: the same token s = .38, another one s = -.42."""
    p = torch.tensor([0.5, 0.3, 0.2])
    g = torch.stack([torch.eye(3)[0] - p, torch.eye(3)[0] - p, torch.eye(3)[1] - p])
    h = torch.ones(3, 1)
    s = influence(g, h, torch.tensor([True, False, False]))
    torch.testing.assert_close(s, torch.tensor([0.38, 0.38, -0.42]))


def test_hidden_reward_matrix_form_equals_the_double_sum() -> None:
    torch.manual_seed(0)
    g, h = torch.randn(7, 5).double(), torch.randn(7, 3).double()
    correct = torch.tensor([1, 0, 1, 1, 0, 0, 1]).bool()
    slow = torch.stack(
        [sum((g[t] @ g[k]) * (h[t] @ h[k]) for k in range(7) if correct[k]) for t in range(7)]
    )
    torch.testing.assert_close(influence(g, h, correct), slow)


def hidden(**more: Any) -> dict[str, Any]:
    return {"algorithm": "thr", "field": {"hidden": {"dominance": 0.0, **more}}}


def test_hidden_reward_is_a_weight_field() -> None:
    base = gradient_of(some_groups(), **hidden(p=0.0))
    assert close(base, gradient_of(some_groups(), algorithm="dapo"))
    more = gradient_of(some_groups(), **hidden(p=0.2))
    less = gradient_of(some_groups(), **hidden(p=-0.2))
    assert not close(base, more, 1e-4)
    assert close(more + less, 2 * base)
    split = gradient_of(some_groups(), **hidden(p=0.2), token_budget=1)
    assert close(more, split, 1e-5)


def test_only_dominant_tokens_are_weighed_by_their_hidden_reward() -> None:
    """Answers 0 (right, mean influence 0.5) and 1 (wrong): tau is 0.5 times the dominance."""
    s = np.array([0.2, 0.8, 0.6, -0.7, 0.1])
    advantage, answer = np.array([1.0, 1.0, -1.0, -1.0, -1.0]), np.array([0, 0, 1, 1, 1])
    got = emphasis(s, advantage, answer, HiddenReward(p=0.1))
    np.testing.assert_allclose(got, [1.0, 1.1, 0.9, 1.1, 1.0])
    got = emphasis(s, advantage, answer, HiddenReward(p=0.1, dominance=1.3))
    np.testing.assert_allclose(got, [1.0, 1.1, 1.0, 1.1, 1.0])


@pytest.mark.parametrize(("right", "size", "eta"), [(2, 4, 0.0), (1, 4, 0.5), (1, 10, 0.8)])
def test_negative_hidden_reward_by_the_share_of_right_answers(
    right: int, size: int, eta: float
) -> None:
    advantage = np.repeat([1.0, -1.0], [right, size - right])
    s = np.ones(size) + (advantage < 0)
    got = emphasis(s, advantage, np.arange(size), HiddenReward(kind="nthr"))
    np.testing.assert_allclose(got, np.where(advantage > 0, 1.0, eta))


def test_second_look_by_hand() -> None:
    assert change([0.1, 0.2, 0.3, 0.4], 0.5, 4) == pytest.approx(1.9365, abs=1e-4)
    assert change([0.1, 0.2, 0.3], 0.5, 4) == 0.0
    assert change([0.2] * 4, 0.5, 4) == 0.0
    memory = Memory(Hindsight(window=4, least=4))
    memory.means = {"": [0.1, 0.2, 0.3, 0.4]}
    assert memory.feedback(np.zeros(1), [TASK]) == pytest.approx(-0.19365, abs=1e-4)
    assert memory.means == {"": [0.2, 0.3, 0.4, 0.0]}


def test_small_changes_are_no_news() -> None:
    memory = Memory(Hindsight(window=4, least=4, threshold=2.0))
    memory.means = {"": [0.1, 0.2, 0.3, 0.4]}
    assert memory.feedback(np.array([0.5]), [TASK]) == 0.0


@pytest.mark.parametrize(("kind", "lowest", "highest"), [("env", 0.0, 0.0), ("", 2.0, 3.0)])
def test_another_mix_of_tasks_taken_for_progress(kind: str, lowest: float, highest: float) -> None:
    """Easy tasks pay 0.8 and hard ones 0.2 at every step; then there are more easy ones."""
    easy, hard = (Task(id=n, prompt="", metadata={"env": n}) for n in ("easy", "hard"))
    memory = Memory(Hindsight(window=4, least=4, kind=kind))
    for noise in (0.01, -0.01, 0.02, -0.02):
        pay = np.array([0.8, 0.8, 0.2, 0.2]) + noise
        assert memory.feedback(pay, [easy, easy, hard, hard]) == 0.0
    after = memory.feedback(np.array([0.8, 0.8, 0.8, 0.2]), [easy, easy, easy, hard])
    assert lowest - 1e-9 <= after <= highest + 1e-9


def test_changes_of_kinds_of_tasks_add_up_by_their_shares() -> None:
    tasks = [Task(id=str(i), prompt="", environment=e) for i, e in enumerate("aab")]
    memory = Memory(Hindsight(window=4, least=4, limit=10.0))
    memory.means = {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.1, 0.2, 0.3, 0.4]}
    both = memory.feedback(np.array([0.5, 0.5, 0.25]), tasks)
    assert both == pytest.approx(2 * 1.9365 / np.sqrt(5), abs=1e-4)  # b did not change


def test_second_look_beside_a_critic() -> None:
    """It is a plain policy step on the kept advantages, which are not attributed anew."""
    subject = learner(algorithm="ppo", hindsight={"least": 2}, learning_rate=0.0)
    for rewards in ([0.6, 0.6], [0.5, 0.4], [1.0, 0.0]):
        subject.step([group(rng(1), rewards)])
    assert subject.memory is not None
    kept = np.concatenate([r.advantage for r in subject.memory.rows])
    assert kept.std(ddof=1) == pytest.approx(1.0)  # whitened, as the step had them
    out = subject.step([group(rng(2), [5.0, 4.0])])
    assert out["hindsight"] > 0
    assert out["optimizer_steps"] == 2
    assert np.isfinite(out["grad_norm"])


def test_second_look_moves_against_an_update_that_did_harm() -> None:
    subject = learner(algorithm="pipo", hindsight={"least": 2, "negative": 1.0}, learning_rate=0.0)
    bad = group(rng(), [1.0, 0.0], "bad")
    make_on_policy([bad], tiny_model())
    for rewards in ([0.6, 0.6], [0.5, 0.5]):
        subject.step([group(rng(1), rewards)])
    subject.step([bad])
    probe = Gradient(subject)
    worse = group(rng(2), [-5.0, -5.0], "worse")
    out = subject.step([worse])
    assert out["hindsight"] < 0
    again = gradient_of([bad], learning_rate=0.0, ratio={"old": "behaviour"})
    cosine = torch.nn.functional.cosine_similarity(probe.vector(), again, dim=0)
    assert float(cosine) < -0.999


def test_imitation_is_cross_entropy_on_sampled_tokens_only() -> None:
    r = rng()
    episodes: list[Episode] = [episode(r, 0.0, name=str(i)) for i in range(3)]
    weights = [1.0, 0.0, 2.0]
    subject = learner(max_grad_norm=0)
    probe = Gradient(subject)
    out = subject.imitate(episodes, weights)
    model = tiny_model()
    total, count = torch.zeros(()).double(), 0.0
    for e, w in zip(episodes, weights, strict=True):
        (segment,) = e.segments
        ids = torch.as_tensor(segment.tokens.astype(np.int64))[None]
        logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        sampled = torch.as_tensor(segment.action_mask[1:])
        total = total - w * logps.gather(1, ids[0, 1:, None])[:, 0][sampled].sum()
        count += w * float(sampled.sum())
    (total / count).backward()
    assert out["loss"] == pytest.approx(float((total / count).detach()))
    assert close(probe.vector(), torch.cat([g.reshape(-1) for g in gradients(model).values()]))
    assert subject.version == 1
