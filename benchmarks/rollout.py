"""How fast episodes are sampled: the engine, and what the scheduler costs besides.

    python benchmarks/rollout.py --json
    python benchmarks/rollout.py --json --model models/smollm2-135m --say 8 --even
    python benchmarks/rollout.py --json --peers VERIFIERS_0_1/bin/python VERIFIERS_0_4/bin/python

Engine: the embedded one against plain `transformers.generate`, 8 prompts of 512 tokens x 8 samples
x 4 turns. Both sample the same conversations: prompts, lengths of turns and observations are fixed
beforehand. `generate` gets what a trainer would give it: one left-padded batch a turn and the
log-probabilities of what it drew; the engine gets 64 independent coroutines. Besides, what a sync
of weights takes.

Scheduler: the cases of `scheduler.py`, also in the peers that are named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scheduler import measure_beside
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from agentrl.core import Sampling
from agentrl.engines import TransformersEngine
from agentrl.models import Policy, load_policy, named_weights, tiny_policy, train_tokenizer

PROMPT_TOKENS = 512


@dataclass(slots=True, frozen=True)
class Size:
    """How many prompts, samples of each, turns of each, and tokens of a turn on average."""

    prompts: int = 8
    samples: int = 8
    turns: int = 4
    say: int = 32


@dataclass(slots=True)
class Plan:
    """lengths[c, t]: tokens that conversation c says in turn t; observations[c][t]: the answer."""

    prompts: list[list[int]]
    lengths: np.ndarray
    observations: list[list[list[int]]]

    @property
    def sampled(self) -> int:
        return int(self.lengths.sum())


def make_plan(vocabulary: int, size: Size, ragged: bool) -> Plan:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(5, vocabulary, PROMPT_TOKENS).tolist() for _ in range(size.prompts)]
    shape = (size.prompts * size.samples, size.turns)
    lengths = np.full(shape, size.say)
    answers = np.full(shape, 40)
    if ragged:
        lengths = rng.geometric(1 / size.say, shape).clip(4, 4 * size.say)
        answers = rng.integers(8, 72, shape)
    observations = [[rng.integers(5, vocabulary, n).tolist() for n in row] for row in answers]
    return Plan([prompts[i // size.samples] for i in range(shape[0])], lengths, observations)


async def run_engine(policy: Policy, plan: Plan) -> None:
    engine = TransformersEngine(policy)

    async def converse(i: int) -> None:
        tokens = list(plan.prompts[i])
        for turn, observation in enumerate(plan.observations[i]):
            sampling = Sampling(1.0, int(plan.lengths[i, turn]))
            said = await engine.generate(tokens, sampling, session=str(i), seed=i * 100 + turn)
            tokens += [*said.tokens.tolist(), *observation]
        await engine.end_session(str(i))

    await asyncio.gather(*(converse(i) for i in range(len(plan.prompts))))
    await engine.close()


class _Lengths(StoppingCriteria):
    """Each row stops at its own length, as if it had sampled its end of turn there."""

    def __init__(self, start: int, lengths: np.ndarray) -> None:
        self.start, self.lengths = start, torch.from_numpy(lengths)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] - self.start >= self.lengths


def run_generate(model: PreTrainedModel, plan: Plan) -> None:
    talks = [list(p) for p in plan.prompts]
    for turn in range(plan.lengths.shape[1]):
        width = max(len(t) for t in talks)
        ids = torch.zeros((len(talks), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, talk in enumerate(talks):
            ids[i, width - len(talk) :] = torch.tensor(talk)
            mask[i, width - len(talk) :] = 1
        lengths = plan.lengths[:, turn]
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            max_new_tokens=int(lengths.max()),
            eos_token_id=None,
            pad_token_id=0,
            top_k=0,
            stopping_criteria=StoppingCriteriaList([_Lengths(width, lengths)]),
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = out.sequences[:, width:]
        for step, logits in enumerate(out.logits):
            logits.log_softmax(-1).gather(1, new[:, step, None])
        for i, talk in enumerate(talks):
            talk += [*new[i, : lengths[i]].tolist(), *plan.observations[i][turn]]


def plain_twin(policy: Policy) -> PreTrainedModel:
    """The same weights with the attention that transformers takes by default."""
    model_type = type(policy.model)
    model = model_type(model_type.config_class.from_dict(policy.model.config.to_dict())).eval()
    model.load_state_dict(policy.model.state_dict())
    model.generation_config.eos_token_id = None
    return model


def measure(policy: Policy, size: Size, ragged: bool, repeats: int) -> dict[str, float]:
    """Useful tokens a second of wall time and of CPU time, the best of `repeats` runs each."""
    plan = make_plan(policy.tokenizer.vocab_size, size, ragged)
    model = plain_twin(policy)
    works: dict[str, Callable[[], None]] = {
        "engine": lambda: asyncio.run(run_engine(policy, plan)),
        "generate": lambda: run_generate(model, plan),
    }
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            walls, cpus = time.perf_counter() - wall, time.process_time() - cpu
            for unit, spent in (("wall", walls), ("cpu", cpus)):
                key = f"{name}_tokens_per_{unit}_s"
                best[key] = max(best.get(key, 0.0), plan.sampled / spent)
    for unit in ("wall", "cpu"):
        engine, plain = (best[f"{n}_tokens_per_{unit}_s"] for n in ("engine", "generate"))
        best[f"ratio_{unit}"] = engine / plain
    return {k: round(v, 2) for k, v in best.items()}


async def measure_sync(policy: Policy, repeats: int = 50) -> dict[str, float]:
    """Milliseconds to hand the learner's weights to the embedded engine, which shares them: the
    best and the median, with a conversation in the engine's cache."""
    engine, weights = TransformersEngine(policy), named_weights(policy)
    spent = []
    for version in range(repeats):
        await engine.generate([7] * 64, Sampling(1.0, 2), session="s")
        await asyncio.sleep(0.02)  # the step that delivered the last token is over
        started = time.perf_counter()
        await engine.load_weights(version + 1, weights)
        spent.append(1e3 * (time.perf_counter() - started))
    await engine.close()
    return {"sync_ms": round(float(np.median(spent)), 3), "sync_best_ms": round(min(spent), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON line last")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=256, help="width of the policy of our own")
    parser.add_argument("--model", help="a model directory instead of a policy of our own")
    parser.add_argument("--even", action="store_true", help="leave out turns of different length")
    parser.add_argument("--peers", nargs="+", default=[], help="Pythons that have verifiers")
    parser.add_argument("--peer-episodes", type=int, help="of each peer")
    for name, value in (("prompts", 8), ("samples", 8), ("turns", 4), ("say", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    policy = load_policy(options.model) if options.model else own_policy(options.hidden)
    size = Size(options.prompts, options.samples, options.turns, options.say)
    result: dict[str, Any] = {
        "benchmark": "rollout",
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "threads": options.threads,
        **asyncio.run(measure_sync(policy)),
    }
    for name, ragged in (("even", False), ("ragged", True))[: 1 if options.even else 2]:
        result[name] = measure(policy, size, ragged, options.repeats)
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in result[name].items()))
    found = measure_beside(options.peers, options.peer_episodes, options.repeats)
    result["scheduler"] = {name: _short(value) for name, value in found.items()}
    for name, value in result["scheduler"].items():
        print(f"scheduler: {name} {value}")
    if options.json:
        print(json.dumps(result))


def _short(value: Any) -> Any:
    """Four digits of whatever is a float."""
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def own_policy(hidden: int) -> Policy:
    """A few million weights."""
    tokenizer = train_tokenizer(["def add(a, b):\n    return a + b\n"], 2048, whole_numbers=1000)
    return tiny_policy(tokenizer, hidden=hidden)


if __name__ == "__main__":
    main()
