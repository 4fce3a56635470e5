"""A small real policy and hand-made episodes, for checks of what a learner does to gradients."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from agentrl.core import Episode, Group, Origin, Score, SegmentBuilder, Status, Task, Turn

if TYPE_CHECKING:
    import torch

    from agentrl.learner import Learner
    from agentrl.learner.extensions.spans import Spelling

VOCAB = 32
PROMPT = (1, 2, 3)


def toy_learner(seed: int = 0, spelling: Spelling | None = None, /, **settings: Any) -> Learner:
    """A learner of a one-layer transformer in float64; clipping of the gradient is off."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from agentrl.learner import Learner, LearnerSettings

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    model = Qwen3ForCausalLM(config).double().eval()
    defaults = {"learning_rate": 0.0, "max_grad_norm": 0.0}
    policy = SimpleNamespace(model=model)
    return Learner(policy, LearnerSettings(**(defaults | settings)), spelling)


def toy_group(
    rewards: Sequence[float], answers: Sequence[Sequence[int]] | None = None, key: str = "task"
) -> Group:
    """A group of one-turn episodes; answers are token ids, by default all different."""
    given = answers or [[4 + i, 5 + i] for i in range(len(rewards))]
    members = [
        _episode(f"{key}-{i}", tokens, reward)
        for i, (tokens, reward) in enumerate(zip(given, rewards, strict=True))
    ]
    return Group((key,), members)


def _episode(name: str, tokens: Sequence[int], reward: float) -> Episode:
    build = SegmentBuilder()
    build.append(PROMPT, Origin.PROMPT, -1)
    logps = [-float(np.log(VOCAB))] * len(tokens)
    build.append_sampled(tokens, logps, [0] * len(tokens), 0)
    return Episode(
        task=Task(id=name.rpartition("-")[0], prompt=""),
        id=name,
        status=Status.COMPLETED,
        turns=[Turn(np.array(tokens), np.array(logps), "")],
        segments=[build.build()],
        scores={"reward": Score(reward)},
    )


def drawn_by(learner: Learner, group: Group, spread: float = 0.0, seed: int = 0) -> Group:
    """The group, as if the learner's policy had drawn it: behaviour log-probabilities are its own,
    off by up to `spread`."""
    rng = np.random.default_rng(seed)
    rows = learner._rows(group.episodes)
    learner.looks.fill(rows, "now", lambda batch: learner.trunk.logprobs(batch)[0])
    for row in rows:
        segment = group.episodes[row.episode].segments[0]
        off = rng.uniform(-spread, spread, len(row.now))
        segment.logprobs[-len(row.now) :] = row.now + off
    return group


def gradient(learner: Learner, groups: Sequence[Group]) -> torch.Tensor:
    """float64[P], what the optimiser would be given for these groups; zeros if for nothing."""
    import torch

    taken: list[torch.Tensor] = []
    parameters = [p for p in learner.policy.model.parameters() if p.requires_grad]

    def take(*_: Any) -> None:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        taken.append(torch.cat([g.reshape(-1) for g in grads]).clone())

    hook = learner.optimizer.register_step_pre_hook(take)
    try:
        learner.step(groups)
    finally:
        hook.remove()
    return taken[-1] if taken else torch.zeros(sum(p.numel() for p in parameters)).double()


def answer_chances(learner: Learner, said: Sequence[int] = ()) -> np.ndarray:
    """float64[VOCAB], how likely each next token is behind the prompt and what was said."""
    import torch

    from agentrl.learner.extensions.auxiliary import forced_row

    (batch,) = learner.looks.micro_batches([forced_row(0, [*PROMPT, *said], [0])])
    with torch.no_grad():
        logits = learner.trunk.head(learner.trunk.hidden(batch)[batch.where])
    return np.asarray(logits[0].softmax(-1).numpy())


def bandit_group(learner: Learner, rng: np.random.Generator, samples: int) -> Group:
    """Answers that the policy draws now; one in eight tokens is right."""
    drawn = rng.choice(VOCAB, samples, p=answer_chances(learner)).tolist()
    group = toy_group([float(token % 8 == 0) for token in drawn], [[t] for t in drawn])
    for episode in group.episodes:
        episode.segments[0].weights[-1] = learner.version
    return group


def entropy(chances: np.ndarray) -> float:
    """Nats."""
    return -float((chances * np.log(chances)).sum())


def advantages(group: Group, **settings: Any) -> list[float]:
    """The advantage of the first turn of every judged episode of a group."""
    from agentrl.learner import LearnerSettings, credit

    s = LearnerSettings(**settings)
    episodes, keys = credit.judged_episodes([group])
    table = credit.turn_table(episodes, keys, s.returns)
    values = credit.advantages(table, s.channels, s.whiten)
    return [float(values[table.episode == i][0]) for i in range(len(episodes))]


def kappa(ratio: float, advantage: float, coefficient: Any) -> float:
    """The coefficient on grad log-probability that a setting of stage 5 gives, by autograd."""
    import torch

    from agentrl.learner import losses

    logp = torch.tensor([np.log(ratio)], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.long)
    now = losses.policy_ratio(logp, torch.zeros_like(logp), zero, "token")
    a = torch.full_like(logp, advantage).detach()
    (slope,) = torch.autograd.grad(losses.policy_loss(now, logp, a, coefficient).sum(), logp)
    return -float(slope)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """1 where two gradients point one way."""
    return float(a @ b / (a.norm() * b.norm()).clamp(min=1e-300))
