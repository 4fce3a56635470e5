"""A run small enough to be killed, resumed and compared often: `agentrl` as a real process."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agentrl.core import Episode
from agentrl.models import save_policy, tiny_policy, train_tokenizer
from agentrl.store import RunStore

PRELOAD = [
    "agentrl.cli",
    "agentrl.training.live",
    "agentrl.training.loop",
    "agentrl.training.warmstart",
    "agentrl.learner",
    "agentrl.engines",
    "agentrl.models",
    "transformers.models.qwen3.modeling_qwen3",
    "matplotlib.figure",
]

# The environment, and what goes wrong: FAULT=point:number:what makes `what` happen the
# number-th time that the process reaches the point.
MODULE = '''\
"""An environment whose verdict is a coin that the sampled text throws."""

import os
import signal
import time
import zlib

from agentrl import Environment, Score, Task, tool
from agentrl.learner import Learner
from agentrl.store.checkpoints import Checkpoints
from agentrl.training import loop

POINT, NUMBER, WHAT = os.environ.get("FAULT", "none:0:none").split(":")
reached = 0


def pass_by(point):
    global reached
    if point != POINT:
        return
    reached += 1
    if reached != int(NUMBER):
        return
    print("reached", POINT, flush=True)
    if WHAT == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif WHAT == "fill":
        with open("disk/ballast", "wb", 0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
    for _ in range({"interrupt": 1, "twice": 2}.get(WHAT, 0)):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)


def after(owner, name, point):
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        value = original(*args, **kwargs)
        pass_by(point)
        return value

    setattr(owner, name, wrapped)


def before(owner, name, point):
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        pass_by(point)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


after(Learner, "_descend", "learned")
after(loop, "_keep", "stored")
before(loop, "_keep_evaluation", "evaluated")
before(Checkpoints, "_publish", "checkpoint")


class Coin(Environment):
    def reset(self, task: Task):
        pass_by("episode")
        self.heard = ""
        return task.prompt

    async def step(self, turn):
        self.heard += turn.text
        observation = await super().step(turn)
        self.done = observation.done = False
        return observation

    @tool
    def look(self) -> str:
        """Look."""
        return "nothing"

    def finish(self, episode):
        return {"resolved": bool(zlib.crc32(self.heard.encode("utf-8", "replace")) % 2)}


class Landed:
    name = "landed"

    async def score(self, episode):
        return Score(float(episode.outcome["resolved"]))


def expert(seed):
    heard = yield ""
    yield f"heads {seed % 3}"
    yield "tails"


def stumbler(seed):
    heard = yield ""
    raise LookupError("the expert has lost its notes")
'''

RUN_FILE = """\
model: policy
environment: {kind: "coin_world:Coin", max_turns: 2, max_tokens: 400, concurrency: 4}
tasks: {train: train.jsonl, eval: eval.jsonl}
reward: {kind: "coin_world:Landed"}
sampling: {max_tokens: 10}
learner: {group_size: 3, learning_rate: 0.003}
train: {steps: 5, tasks_per_step: 2, checkpoint_every: 2, eval_every: 2}
warmstart: {kind: scripted, script: "coin_world:expert", batch_size: 3, epochs: 4}
run: {dir: run}
"""


def make_world(directory: Path) -> Path:
    """A directory with everything that `agentrl train run.yaml` needs."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "coin_world.py").write_text(MODULE)
    (directory / "run.yaml").write_text(RUN_FILE)
    for file, count in (("train", 5), ("eval", 3)):
        tasks = [{"id": f"{file}{i}", "prompt": f"throw {i}"} for i in range(count)]
        (directory / f"{file}.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tasks))
    tokenizer = train_tokenizer(["throw heads or tails"], 280)
    sizes: dict[str, Any] = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16}
    save_policy(tiny_policy(tokenizer, **sizes), directory / "policy")
    return directory


@dataclass(slots=True)
class Ended:
    """How a process ended: its exit code (minus the signal), and what it said."""

    returncode: int
    stdout: str
    stderr: str


def agentrl(world: Path, *arguments: str, fault: str = "none:0:none") -> Ended:
    """The command in a process of its own, in that directory.

    Processes are forked from one that has imported everything and run nothing: the imports would
    take most of the tests' time.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    process = context.Process(target=_command, args=(str(world), arguments, fault))
    try:
        process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ |= {} if before is None else {"OMP_NUM_THREADS": before}
    process.join(250)
    if process.is_alive():
        process.kill()
    process.join()
    said = [(world / f".{name}").read_text("utf-8") for name in ("stdout", "stderr")]
    return Ended(process.exitcode or 0, *said)


def _command(world: str, arguments: tuple[str, ...], fault: str) -> None:
    os.chdir(world)
    os.environ["FAULT"] = fault
    for descriptor, name in ((1, ".stdout"), (2, ".stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    # A test run may be a background job, which shells start deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from agentrl.cli import main

    sys.exit(main(arguments))


def plain(episode: Episode) -> Any:
    """An episode without what a clock said."""
    return (
        episode.id,
        episode.status,
        episode.reward,
        [turn.text for turn in episode.turns],
        [(s.tokens.tolist(), s.logprobs.tolist(), s.weights.tolist()) for s in episode.segments],
    )


def history(run: Path) -> dict[str, Any]:
    """All that a run has done, in a form that can be compared: seconds only by their presence."""
    with RunStore.open(run, read_only=True) as store:
        episodes = {
            (s.step, s.split): sorted(plain(e) for e in store.episodes(step=s.step, split=s.split))
            for s in store.summaries()
        }
        metrics = {
            (name, step): "some" if "seconds" in name else repr(value)
            for name, series in store.metrics().items()
            for step, value in series
        }
        failures = sorted((f.step, f.task, tuple(sorted(f.episodes))) for f in store.failures())
        last = store.load_checkpoint()
    weights = {name: tensor.numpy().tobytes() for name, tensor in last.tensors.items()}
    return {
        "step": last.step,
        "weights": weights,
        "episodes": episodes,
        "metrics": metrics,
        "failures": failures,
    }


def assert_same(run: Path, other: Path) -> None:
    """Nothing lost, nothing doubled, every bit of the weights the same."""
    found, expected = history(run), history(other)
    for part in ("step", "failures"):
        assert found[part] == expected[part], part
    for part in ("metrics", "episodes", "weights"):
        odd = {
            key
            for key in {*found[part], *expected[part]}
            if found[part].get(key) != expected[part].get(key)
        }
        assert not odd, f"{part} differ: {sorted(odd, key=str)[:5]}"
