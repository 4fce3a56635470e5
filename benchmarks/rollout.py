"""How fast episodes are sampled: the embedded engine against plain `transformers.generate`.

8 prompts of 512 tokens x 8 samples x 4 turns. Both sample the same conversations: prompts, lengths
of turns and observations are fixed beforehand. `generate` gets what a trainer would give it: one
left-padded batch a turn and the log-probabilities of what it drew; the engine gets 64 independent
coroutines.

    python benchmarks/rollout.py --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Qwen3ForCausalLM, StoppingCriteria, StoppingCriteriaList

from agentrl.core import Sampling
from agentrl.engines import TransformersEngine
from agentrl.models import Policy, tiny_policy, train_tokenizer

PROMPTS, SAMPLES, TURNS, PROMPT_TOKENS = 8, 8, 4, 512


@dataclass(slots=True)
class Plan:
    """lengths[c, t]: tokens that conversation c says in turn t; observations[c][t]: the answer."""

    prompts: list[list[int]]
    lengths: np.ndarray
    observations: list[list[list[int]]]

    @property
    def sampled(self) -> int:
        return int(self.lengths.sum())


def make_plan(vocabulary: int, ragged: bool) -> Plan:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(5, vocabulary, PROMPT_TOKENS).tolist() for _ in range(PROMPTS)]
    count = PROMPTS * SAMPLES
    even = np.full((count, TURNS), 32)
    lengths = rng.geometric(1 / 32, (count, TURNS)).clip(4, 128) if ragged else even
    sizes = rng.integers(8, 72, (count, TURNS)) if ragged else np.full((count, TURNS), 40)
    observations = [[rng.integers(5, vocabulary, n).tolist() for n in row] for row in sizes]
    return Plan([prompts[i // SAMPLES] for i in range(count)], lengths, observations)


async def run_engine(policy: Policy, plan: Plan) -> None:
    engine = TransformersEngine(policy)

    async def converse(i: int) -> None:
        tokens = list(plan.prompts[i])
        for turn, observation in enumerate(plan.observations[i]):
            sampling = Sampling(1.0, int(plan.lengths[i, turn]))
            said = await engine.generate(tokens, sampling, session=str(i), seed=i * TURNS + turn)
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


def run_generate(model: Qwen3ForCausalLM, plan: Plan) -> None:
    talks = [list(p) for p in plan.prompts]
    for turn in range(TURNS):
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


def plain_twin(policy: Policy) -> Qwen3ForCausalLM:
    """The same weights with the attention that transformers takes by default."""
    config = type(policy.model.config).from_dict(policy.model.config.to_dict())
    model = Qwen3ForCausalLM(config).eval()
    model.load_state_dict(policy.model.state_dict())
    model.generation_config.eos_token_id = None
    return model


def measure(policy: Policy, ragged: bool, repeats: int) -> dict[str, float]:
    """Useful tokens a second of wall time and of CPU time, the best of `repeats` runs each."""
    plan = make_plan(policy.tokenizer.vocab_size, ragged)
    model = plain_twin(policy)
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, work in (
            ("engine", lambda: asyncio.run(run_engine(policy, plan))),
            ("generate", lambda: run_generate(model, plan)),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            for unit, spent in (
                ("wall", time.perf_counter() - wall),
                ("cpu", time.process_time() - cpu),
            ):
                key = f"{name}_tokens_per_{unit}_s"
                best[key] = max(best.get(key, 0.0), plan.sampled / spent)
    for unit in ("wall", "cpu"):
        engine, plain = (best[f"{n}_tokens_per_{unit}_s"] for n in ("engine", "generate"))
        best[f"ratio_{unit}"] = engine / plain
    return {k: round(v, 2) for k, v in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON line last")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = train_tokenizer(["def add(a, b):\n    return a + b\n"], 2048, whole_numbers=1000)
    policy = tiny_policy(tokenizer, hidden=options.hidden)
    result: dict[str, Any] = {
        "benchmark": "rollout",
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "threads": options.threads,
    }
    for name, ragged in (("even", False), ("ragged", True)):
        result[name] = measure(policy, ragged, options.repeats)
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in result[name].items()))
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
