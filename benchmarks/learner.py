"""The learner against TRL's GRPO trainer and a plain PyTorch loop: same weights, same tokens.

    pip install trl==1.16.0          # into an environment that also has agentrl
    python benchmarks/learner.py     # --repeats 5 --threads 1 --case all --memory --json

Every contender makes the same optimiser steps on the same token ids; gradient norms are checked
to agree before anything is timed. Contenders alternate, and processor seconds (all threads;
`wall` is the clock, which other programs disturb) are compared round by round; printed is the
median of the ratios. `--micro` sets the rows per micro-batch of both baselines; 8 is their
fastest. Without TRL its column is left out.
`--memory` runs each contender in a process of its own and reports how far its peak resident
memory rose over the loaded model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
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
    """A group of 8 episodes: a shared prompt, then turns of (trained, observed) tokens."""

    name: str
    prompt: int
    turns: Callable[[np.random.Generator], list[tuple[int, int]]]

    def make(self) -> list[Group]:
        rng = np.random.default_rng(1)
        prompt = rng.integers(0, VOCAB, self.prompt).tolist()
        return [Group((0,), [self._episode(rng, prompt, str(i)) for i in range(8)])]

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
    "short_prompt": Case("8 x (128 shared + 384 trained)", 128, lambda _: [(384, 0)]),
    "long_prompt": Case("8 x (1024 shared + 128 trained)", 1024, lambda _: [(128, 0)]),
    "multi_turn": Case("8 x 6 turns, 2/3 observed, 200-1500 tokens", 64, _ragged),
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
    """What both baselines share: padded micro-batches of `micro` rows."""

    def __init__(self, groups: list[Group], micro: int, *, together: bool) -> None:
        """`together` pads all rows to the longest of the whole batch, as TRL's trainer does when
        it prepares a batch; else rows are sorted, and each micro-batch has its own width."""
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
        width = max(len(s) - p for s, p, _ in rows) if together else 0
        self.batches = [self._pad(rows[i : i + micro], width) for i in range(0, len(rows), micro)]
        self.optimizer = self.make_optimizer()

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=RATE, weight_decay=0.0, fused=True)

    def _pad(self, rows: list[Any], width: int) -> dict[str, torch.Tensor]:
        width = width or max(len(s) - p for s, p, _ in rows)
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

    def __init__(self, groups: list[Group], micro: int) -> None:
        super().__init__(groups, micro, together=False)

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
    """TRL's trainer on a prepared batch: its training_step, optimiser and defaults, without
    gradient checkpointing (which is slower). Generation, which it times too, is left out."""

    def __init__(self, groups: list[Group], micro: int) -> None:
        super().__init__(groups, micro, together=True)

    def make_optimizer(self) -> torch.optim.Optimizer:
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
            output_dir=str(Path(tempfile.gettempdir()) / "agentrl-benchmark-trl"),
            per_device_train_batch_size=len(self.batches[0]["advantages"]),
            gradient_accumulation_steps=len(self.batches),
            num_generations=8,
            learning_rate=RATE,
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
        self.trainer._prepare_inputs = dict  # the batch is prepared
        return self.trainer.create_optimizer()

    def backward(self, batch: dict[str, torch.Tensor]) -> None:
        self.trainer.training_step(self.trainer.model, batch, None)


CONTENDERS: dict[str, type] = {"ours": Ours, "plain": Plain, "trl": Trl}


def available() -> list[str]:
    try:
        import trl
    except ImportError:
        print("TRL is not installed here: pip install trl==1.16.0", file=sys.stderr)
        return ["ours", "plain"]
    print(f"TRL {trl.__version__}, torch {torch.__version__}", file=sys.stderr)
    return list(CONTENDERS)


def timed(run: Any) -> tuple[float, float]:
    """(processor seconds, wall seconds) of one optimiser step."""
    wall, processor = time.perf_counter(), time.process_time()
    run.step()
    return time.process_time() - processor, time.perf_counter() - wall


def make(name: str, groups: list[Group], micro: int) -> Any:
    return Ours(groups) if name == "ours" else CONTENDERS[name](groups, micro)


def time_case(key: str, names: list[str], repeats: int, micro: int) -> dict[str, Any]:
    case = CASES[key]
    groups = case.make()
    runs = {name: make(name, groups, micro) for name in names}
    norms = {name: run.step() for name, run in runs.items()}
    for name, norm in norms.items():
        if abs(norm / norms["ours"] - 1) > 1e-4:
            sys.exit(f"{case.name}: gradient norms differ: {norms} ({name})")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    product = Product()
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(timed(run))
            product.run()
    tokens = sum(len(s) for g in groups for e in g.episodes for s in e.segments)
    ours = runs["ours"].metrics
    print(
        f"\n{case.name}: {tokens} tokens, {ours['tokens_trained']:.0f} trained, "
        f"{ours['tokens_processed']:.0f} computed by ours; gradient norm {norms['ours']:.6f}"
    )
    median = {n: [statistics.median(x) for x in zip(*t, strict=True)] for n, t in taken.items()}
    out: dict[str, Any] = {"case": key, "tokens": tokens}
    for name, (processor, wall) in median.items():
        rounds = zip(taken[name], taken["ours"], strict=True)
        pairs = [(a[0] / b[0], a[1] / b[1]) for a, b in rounds]
        ratios = [statistics.median(x) for x in zip(*pairs, strict=True)]
        print(
            f"  {name:6s} {processor:7.3f} s processor, {wall:7.3f} s wall a step "
            f"{tokens / processor:9.0f} tokens/s  ours is {ratios[0]:.2f} x ({ratios[1]:.2f} x "
            f"wall)"
        )
        out[name] = {"processor": processor, "wall": wall, "ratio": ratios[0]}
    limit = flops(groups, ours) / product.rate()
    share = out["share_of_limit"] = limit / median["ours"][0]
    print(
        f"  limit  {limit:7.3f} s at {product.rate() / 1e9:.0f} GFLOP/s, the rate of matrix "
        f"products between the steps; ours runs at {100 * share:.0f}% of it"
    )
    return out


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


class Product:
    """The machine's rate: a 1024 x 1024 float32 product, timed beside what it is compared with."""

    def __init__(self) -> None:
        self._a = torch.randn(1024, 1024)
        self._seconds: list[float] = []

    def run(self) -> None:
        for _ in range(3):
            start = time.process_time()
            self._a @ self._a
            self._seconds.append(time.process_time() - start)

    def rate(self) -> float:
        """FLOP per processor second, median."""
        return 2 * 1024**3 / statistics.median(self._seconds)


def memory_case(name: str, case: str, args: argparse.Namespace) -> float:
    """MB by which the peak resident memory of a fresh process rises in two steps."""
    settings = ["--threads", str(args.threads), "--micro", str(args.micro)]
    command = [sys.executable, __file__, "--one", name, "--case", case, *settings]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(out.splitlines()[-1])["megabytes"])


def one(name: str, case: Case, micro: int) -> None:
    run = make(name, case.make(), micro)
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
    parser.add_argument("--micro", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--one", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        one(args.one, CASES[args.case], args.micro)
        return
    names = available()
    found = []
    for key in CASES if args.case == "all" else [args.case]:
        found.append(time_case(key, names, args.repeats, args.micro))
        if args.memory:
            peaks = {name: memory_case(name, key, args) for name in names}
            shown = ", ".join(
                f"{n} {mb:.0f} MB ({mb / peaks['ours']:.1f} x ours)" for n, mb in peaks.items()
            )
            print(f"  peak memory over the loaded model: {shown}")
            found[-1]["megabytes"] = peaks
    if args.json:
        print(json.dumps({"threads": args.threads, "repeats": args.repeats, "cases": found}))


if __name__ == "__main__":
    main()
