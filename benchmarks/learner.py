"""The learner against TRL's GRPO and a plain PyTorch loop: one call, same weights, same tokens.

    pip install trl==1.16.0          # into an environment that also has agentrl
    python benchmarks/learner.py     # --repeats 5 --threads 2 --case all --memory

Every contender makes the same optimiser steps on the same token ids; gradient norms are checked
to agree before anything is timed. Contenders alternate, and medians are compared. Without TRL its
column is left out. `--memory` runs each contender in a process of its own and reports how far its
peak resident memory rose over the loaded model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentrl.core import Episode, Group, Origin, Score, SegmentBuilder, Status, Task, Turn
from agentrl.learner import Learner, LearnerSettings

VOCAB = 2560
MICRO = 8
RATE = 1e-6


def make_model() -> Any:
    """1.31 million parameters, the same ones at every call."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        attention_dropout=0.0,
    )
    return Qwen3ForCausalLM(config)


@dataclass
class Case:
    """Groups of 8 episodes: a shared prompt, then turns of (trained, observed) tokens."""

    name: str
    groups: int
    prompt: int
    turns: Callable[[np.random.Generator], list[tuple[int, int]]]

    def make(self) -> list[Group]:
        rng = np.random.default_rng(1)
        out = []
        for g in range(self.groups):
            prompt = rng.integers(0, VOCAB, self.prompt).tolist()
            members = [self._episode(rng, prompt, f"{g}-{i}") for i in range(8)]
            out.append(Group((g,), members))
        return out

    def _episode(self, rng: np.random.Generator, prompt: list[int], name: str) -> Episode:
        build = SegmentBuilder()
        build.append(prompt, Origin.PROMPT, -1)
        for t, (trained, observed) in enumerate(self.turns(rng)):
            ids = rng.integers(0, VOCAB, trained).tolist()
            build.append_sampled(ids, [-7.8] * trained, [0] * trained, t)
            build.append(rng.integers(0, VOCAB, observed).tolist(), Origin.OBSERVATION, t)
        episode = Episode(Task(id=name, prompt=""), id=name, status=Status.COMPLETED)
        episode.segments = [build.build()]
        episode.turns = [Turn(np.zeros(0), np.zeros(0), "") for _ in range(t + 1)]
        episode.scores["reward"] = Score(float(rng.random()))
        return episode


def _ragged(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Six turns, 200 to 1,500 tokens in all, two thirds of them observed."""
    total = int(rng.integers(200, 1501)) - 64
    return [(max(total // 18, 1), total // 9)] * 6


CASES = {
    "short_prompt": Case("8 x (128 shared + 384 trained), 4 groups", 4, 128, lambda _: [(384, 0)]),
    "long_prompt": Case("8 x (1024 shared + 128 trained), 4 groups", 4, 1024, lambda _: [(128, 0)]),
    "multi_turn": Case("8 x 6 turns, 2/3 observed, 200-1500 tokens", 1, 64, _ragged),
}


class Ours:
    """agentrl.learner."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.model = make_model()
        settings = LearnerSettings(
            algorithm="grpo",
            learning_rate=RATE,
            ratio={"old": "current", "correction": "none"},  # type: ignore[arg-type]
        )
        self.learner = Learner(SimpleNamespace(model=self.model), settings)

    def step(self) -> float:
        self.metrics = self.learner.step(self.groups)
        return self.metrics["grad_norm"]


class Padded:
    """What both baselines share: padded micro-batches of 8 rows, longest first."""

    def __init__(self, groups: list[Group]) -> None:
        self.model = make_model()
        rows = []
        for group in groups:
            rewards = np.array([e.reward for e in group.episodes])
            advantage = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
            for e, a in zip(group.episodes, advantage, strict=True):
                (s,) = e.segments
                prompt = int(np.argmax(s.action_mask))
                rows.append((s, prompt, float(a)))
        rows.sort(key=lambda r: -len(r[0]))
        self.batches = [self._pad(rows[i : i + MICRO]) for i in range(0, len(rows), MICRO)]
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=RATE, weight_decay=0.0, fused=True
        )

    def _pad(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        width = max(len(s) - p for s, p, _ in rows)
        completion = torch.zeros(len(rows), width, dtype=torch.long)
        real, trained = torch.zeros(len(rows), width), torch.zeros(len(rows), width)
        for i, (s, p, _) in enumerate(rows):
            n = len(s) - p
            completion[i, :n] = torch.as_tensor(s.tokens[p:].astype(np.int64))
            real[i, :n] = 1
            trained[i, :n] = torch.as_tensor(s.action_mask[p:].astype(np.float32))
        prompts = np.stack([s.tokens[:p].astype(np.int64) for s, p, _ in rows])
        return {
            "prompt_ids": torch.as_tensor(prompts),
            "prompt_mask": torch.ones(prompts.shape, dtype=torch.long),
            "completion_ids": completion,
            "completion_mask": real.long(),
            "tool_mask": trained.long(),
            "advantages": torch.tensor([a for _, _, a in rows]),
        }

    def step(self) -> float:
        for batch in self.batches:
            self.backward(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def backward(self, batch: dict[str, torch.Tensor]) -> None:
        raise NotImplementedError


class Plain(Padded):
    """A plain loop: logits of completion positions, log-softmax, gather."""

    def backward(self, batch: dict[str, torch.Tensor]) -> None:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].shape[1]
        logits = self.model(
            input_ids=ids, attention_mask=seen, logits_to_keep=width + 1, use_cache=False
        ).logits[:, :-1]
        logps = logits.log_softmax(-1).gather(2, batch["completion_ids"][..., None])[..., 0]
        ratio = (logps - logps.detach()).exp()
        a, mask = batch["advantages"][:, None], batch["tool_mask"]
        each = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
        loss = ((each * mask).sum(-1) / mask.sum(-1)).mean() / len(self.batches)
        loss.backward()


class Trl(Padded):
    """TRL's own loss code at its best setting: micro-batch 8, no checkpointing, SDPA."""

    def __init__(self, groups: list[Group]) -> None:
        super().__init__(groups)
        from datasets import Dataset
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast
        from trl import GRPOConfig, GRPOTrainer

        vocabulary = {f"<{i}>": i for i in range(VOCAB)}
        raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, eos_token="<1>", pad_token="<0>", unk_token="<0>"
        )
        args = GRPOConfig(
            output_dir="/tmp/agentrl-benchmark-trl",
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=len(self.batches),
            num_generations=8,
            loss_type="grpo",
            beta=0.0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
        )
        self.trainer = GRPOTrainer(
            model=self.model,
            reward_funcs=lambda **_: [0.0],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": ["<2>"] * 8}),
            processing_class=tokenizer,
        )
        self.trainer.current_gradient_accumulation_steps = len(self.batches)
        self.model.train()

    def backward(self, batch: dict[str, torch.Tensor]) -> None:
        self.trainer.compute_loss(self.trainer.model, dict(batch)).backward()


CONTENDERS: dict[str, type] = {"ours": Ours, "plain": Plain, "trl": Trl}


def available() -> list[str]:
    try:
        import trl
    except ImportError:
        print("TRL is not installed here: pip install trl==1.16.0", file=sys.stderr)
        return ["ours", "plain"]
    print(f"TRL {trl.__version__}, torch {torch.__version__}", file=sys.stderr)
    return list(CONTENDERS)


def time_case(case: Case, names: list[str], repeats: int) -> None:
    groups = case.make()
    runs = {name: CONTENDERS[name](groups) for name in names}
    norms = {name: run.step() for name, run in runs.items()}
    for name, norm in norms.items():
        if abs(norm / norms["ours"] - 1) > 1e-4:
            sys.exit(f"{case.name}: gradient norms differ: {norms} ({name})")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run.step()
            seconds[name].append(time.perf_counter() - start)
    tokens = sum(len(s) for g in groups for e in g.episodes for s in e.segments)
    ours = runs["ours"].metrics
    print(
        f"\n{case.name}: {tokens} tokens, {ours['tokens_trained']:.0f} trained, "
        f"{ours['tokens_processed']:.0f} computed by ours; gradient norm {norms['ours']:.6f}"
    )
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.2f}-{max(seconds[name]):.2f}"
        print(
            f"  {name:6s} {median:7.3f} s a step ({spread})  {tokens / median:9.0f} tokens/s  "
            f"ours is {median / medians['ours']:.2f} x"
        )
    limit = flops(groups, ours) / matmul_rate()
    print(
        f"  limit  {limit:7.3f} s at the measured matmul rate; ours runs at "
        f"{100 * limit / medians['ours']:.0f}% of it"
    )


def flops(groups: list[Group], metrics: dict[str, float]) -> float:
    """Forward and backward of what must be computed: every distinct prefix once, the head on
    trained tokens, causal attention on what each token sees."""
    model = make_model()
    c = model.config
    layers = sum(p.numel() for n, p in model.named_parameters() if ".layers." in n and p.dim() > 1)
    head = VOCAB * c.hidden_size
    seen: set[bytes] = set()
    context = 0
    for e in (e for g in groups for e in g.episodes):
        (s,) = e.segments
        last = int(np.flatnonzero(s.action_mask)[-1])
        prompt = int(np.argmax(s.action_mask))
        key = s.tokens[:prompt].tobytes()
        start = prompt if key in seen else 0
        seen.add(key)
        context += (last * (last + 1) - start * (start + 1)) // 2
    width = c.num_attention_heads * c.head_dim
    attention = 12 * c.num_hidden_layers * width * context
    weights = 6 * layers * metrics["tokens_processed"] + 6 * head * metrics["tokens_trained"]
    return weights + attention


def matmul_rate() -> float:
    """FLOP/s of a 1024 x 1024 float32 product on the threads in use, best of 10."""
    a = torch.randn(1024, 1024)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


def memory_case(name: str, case: str, threads: int) -> float:
    """MB by which the peak resident memory of a fresh process rises in two steps."""
    command = [sys.executable, __file__, "--one", name, "--case", case, "--threads", str(threads)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(out.splitlines()[-1])["megabytes"])


def one(name: str, case: Case) -> None:
    run = CONTENDERS[name](case.make())
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _peak()
    run.step()
    run.step()
    print(json.dumps({"megabytes": _peak() - before}))


def _peak() -> float:
    """Peak resident memory in MB (Linux; getrusage would hand down the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        one(args.one, CASES[args.case])
        return
    names = available()
    for key in CASES if args.case == "all" else [args.case]:
        time_case(CASES[key], names, args.repeats)
        if args.memory:
            peaks = {name: memory_case(name, key, args.threads) for name in names}
            shown = ", ".join(f"{n} {mb:.0f} MB" for n, mb in peaks.items())
            print(f"  peak memory over the loaded model: {shown}")


if __name__ == "__main__":
    main()
