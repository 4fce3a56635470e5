"""Small models and synthetic episodes for the learner's tests."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentrl.core import Episode, Group, Message, Origin, Score, SegmentBuilder, Status, Task, Turn
from agentrl.learner import Learner, LearnerSettings

VOCAB = 61


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float64, tie: bool = True) -> Any:
    """A two-layer Qwen3 with grouped keys and lively random weights."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        tie_word_embeddings=tie,
        initializer_range=0.2,
    )
    model = Qwen3ForCausalLM(config).to(dtype).eval()
    if dtype == torch.float64:
        _norms_in_float64(model)
    return model


def _norms_in_float64(model: Any) -> None:
    """transformers rounds every norm to float32; exactness tests want to see past that."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.variance_epsilon)

    for module in model.modules():
        if type(module).__name__ == "Qwen3RMSNorm":
            module.forward = MethodType(forward, module)


def learner(model: Any = None, **settings: Any) -> Learner:
    settings.setdefault("learning_rate", 1e-3)
    settings.setdefault("min_shared", 2)
    policy = SimpleNamespace(model=tiny_model() if model is None else model)
    return Learner(policy, LearnerSettings(**settings))


def episode(
    rng: np.random.Generator,
    reward: float = 0.0,
    *,
    prompt: Sequence[int] = (1, 2, 3),
    turns: Sequence[tuple[int, int]] = ((3, 2), (4, 0)),
    name: str = "e",
    status: Status = Status.COMPLETED,
    version: int = 0,
    steps: Sequence[float] = (),
    hint: int = 0,
) -> Episode:
    """An episode whose turns have (sampled, observed) tokens each, drawn from `rng`."""
    build = SegmentBuilder()
    build.append(list(prompt), Origin.PROMPT, -1)
    if hint:
        build.append(rng.integers(0, VOCAB, hint).tolist(), Origin.HINT, -1)
    record = []
    for t, (sampled, observed) in enumerate(turns):
        tokens = rng.integers(0, VOCAB, sampled).tolist()
        logps = (-4.0 + rng.normal(0, 0.5, sampled)).tolist()
        build.append_sampled(tokens, logps, [version] * sampled, t)
        seen = rng.integers(0, VOCAB, observed).tolist()
        build.append(seen, Origin.OBSERVATION, t)
        message = Message("tool", " ".join(map(str, seen)))
        record.append(Turn(np.array(tokens), np.array(logps), "", observations=[message]))
    return Episode(
        task=Task(id="task", prompt=""),
        id=name,
        status=status,
        turns=record,
        segments=[build.build()],
        scores={"reward": Score(reward, steps=list(steps))},
    )


def group(
    rng: np.random.Generator, rewards: Sequence[float], key: str = "task", **kwargs: Any
) -> Group:
    prompt = kwargs.pop("prompt", None)
    prompt = rng.integers(0, VOCAB, 9).tolist() if prompt is None else prompt
    shapes = kwargs.pop("shapes", None)
    episodes = []
    for i, reward in enumerate(rewards):
        shape = shapes[i % len(shapes)] if shapes else ((3 + i, 2), (4, i % 3))
        name = f"{key}-{i}"
        episodes.append(episode(rng, reward, prompt=prompt, turns=shape, name=name, **kwargs))
    return Group((key,), episodes)


@torch.no_grad()
def make_on_policy(groups: Sequence[Group], model: Any) -> Sequence[Group]:
    """Set the behaviour log-probabilities to what the model says, in place."""
    for e in (e for g in groups for e in g.episodes):
        for segment in e.segments:
            ids = torch.as_tensor(segment.tokens.astype(np.int64))[None]
            mask = segment.action_mask
            logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            chosen = logps.gather(1, ids[0, 1:, None])[:, 0].numpy()
            segment.logprobs = segment.logprobs.astype(np.float64)
            segment.logprobs[1:][mask[1:]] = chosen[mask[1:]]
    return groups


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for n, p in model.named_parameters()
    }


class Gradient:
    """The gradient of the next optimiser step, taken where the optimiser would use it."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.by_name: dict[str, torch.Tensor] = {}
        self._step = learner.optimizer.step
        learner.optimizer.step = self._take  # type: ignore[method-assign]

    def _take(self, *_: Any) -> None:
        self.by_name = gradients(self.learner.policy.model)

    def vector(self) -> torch.Tensor:
        return torch.cat([g.reshape(-1) for g in self.by_name.values()])


def gradient_of(groups: Sequence[Group], model: Any = None, **settings: Any) -> torch.Tensor:
    """[P], the exact unclipped gradient that the learner makes of the groups (no update)."""
    settings.setdefault("max_grad_norm", 0.0)
    subject = learner(model, **settings)
    probe = Gradient(subject)
    subject.step(groups)
    if not probe.by_name:
        return torch.zeros(sum(p.numel() for p in subject.policy.model.parameters()))
    return probe.vector()


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-6) -> bool:
    """Relative to the larger norm."""
    scale = max(float(a.norm()), float(b.norm()), 1e-12)
    return float((a - b).norm()) <= tolerance * scale
