"""Paper 21, Sweet Spot Learning: tiers of closeness teach where hits are rare.

A screen of 64 x 48 pixels with three buttons, to be clicked in their order; it succeeds when all
three clicks are inside. A small network sees where the buttons are and draws the clicks from one
softmax over the columns and one over the rows, uniform at first, so that about one try in a
thousand succeeds. It is trained by GRPO from one start with the binary reward, with `Tiered` and
with its continuous variant, all else alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentrl.core import Episode, Reward, Task, Turn, derive_seed
from agentrl.papers.kit.rollouts import normalised, values
from agentrl.papers.kit.toys import Fixed
from agentrl.papers.kit.world import on_one_thread
from agentrl.papers.registry import Measured
from agentrl.rewards.process.proximity import ClickProximity
from agentrl.rewards.process.tiers import Tiered

if TYPE_CHECKING:
    import torch
    from torch import nn

CLAIM = (
    "Where hits are rare, groups under the binary reward carry no signal; with tiers they do, and "
    "success comes sooner than with the continuous reward. Every hit outranks every miss."
)
CLICKS = 3
# The screen and a button, in cells of CELL pixels; clicks are at the centres of cells.
COLUMNS, ROWS, SIDE, CELL = 8, 6, 2, 8
SCREENS, GROUP, UPDATES, RATE = 16, 8, 420, 1e-3
EARLY, HELD_OUT = 50, 512


def rewards() -> dict[str, Reward]:
    hit = Fixed(read="hit", name="hit")
    return {
        "binary": hit,
        "continuous": Tiered(hit, ClickProximity(), tiers=[]),
        "tiered": Tiered(hit, ClickProximity()),
    }


def run(seeds: Sequence[int]) -> Measured:
    """Passes when, on every seed, tiers leave fewer groups silent and end highest by a margin."""
    rows: list[list[str | int | float]] = []
    passed = True
    for seed in seeds:
        found = {name: on_one_thread(train(r, seed)) for name, r in rewards().items()}
        rows += [[seed, name, f.silent, f.success, str(f.ordered)] for name, f in found.items()]
        binary, continuous, tiered = found.values()
        passed &= binary.silent > 0.9 and tiered.silent < 0.5
        passed &= binary.success < 0.1 and tiered.success > continuous.success + 0.1
        passed &= tiered.ordered and tiered.hits > 0
    columns = ["seed", "reward", "silent groups early", "succeeds after", "hits outrank misses"]
    return Measured(passed, columns, rows)


@dataclass(slots=True)
class Found:
    """What a training came to.

    Attributes:
        silent: share of the first `EARLY` updates' groups without variance.
        success: mean probability to hit all buttons of a held-out screen.
        hits: episodes of the training that succeeded.
        worst_hit, best_miss: lowest and highest reward of those that did and did not.
    """

    silent: float = 0.0
    success: float = 0.0
    hits: int = 0
    worst_hit: float = float("inf")
    best_miss: float = float("-inf")

    @property
    def ordered(self) -> bool:
        return self.worst_hit > self.best_miss


@dataclass(slots=True)
class Screens:
    """A batch: int[N, CLICKS] left and top cell of every button, and a task of each screen."""

    left: np.ndarray
    top: np.ndarray
    tasks: list[Task]

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> Screens:
        left = rng.integers(0, COLUMNS - SIDE + 1, (count, CLICKS))
        top = rng.integers(0, ROWS - SIDE + 1, (count, CLICKS))
        corners = CELL * np.stack([left, top, left + SIDE, top + SIDE], -1)
        return cls(
            left, top, [Task("s", "Click.", reference={"boxes": b}) for b in corners.tolist()]
        )

    def pictures(self) -> torch.Tensor:
        """float32[N, CLICKS, ROWS, COLUMNS], 1 where the k-th button is."""
        import torch

        rows, columns = np.arange(ROWS)[:, None], np.arange(COLUMNS)
        left, top = self.left[..., None, None], self.top[..., None, None]
        inside = (rows >= top) & (rows < top + SIDE) & (columns >= left) & (columns < left + SIDE)
        return torch.as_tensor(inside.astype(np.float32))

    def hit(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """bool[N, CLICKS, GROUP]: are cells [N, CLICKS, GROUP] inside their buttons?"""
        left, top = self.left[..., None], self.top[..., None]
        across, down = (x >= left) & (x < left + SIDE), (y >= top) & (y < top + SIDE)
        return np.asarray(across & down)


def network(seed: int) -> nn.Module:
    """Pictures to [N, CLICKS, COLUMNS + ROWS] logits; all the same before training."""
    import torch
    from torch import nn

    torch.manual_seed(derive_seed(seed, "weights") % 2**31)
    last = nn.Linear(128, CLICKS * (COLUMNS + ROWS))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first = nn.Linear(CLICKS * ROWS * COLUMNS, 128)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), last, nn.Unflatten(1, (CLICKS, -1)))


async def train(reward: Reward, seed: int) -> Found:
    """GRPO from the same start on the same screens."""
    import torch

    rng = np.random.default_rng(derive_seed(seed, "ssl"))
    draws = torch.Generator().manual_seed(derive_seed(seed, "clicks") % 2**31)
    policy = network(seed)
    optimizer = torch.optim.Adam(policy.parameters(), RATE)
    found, silent = Found(), []
    for _ in range(UPDATES):
        screens = Screens.draw(rng, SCREENS)
        chances = [p.log_softmax(-1) for p in policy(screens.pictures()).split([COLUMNS, ROWS], -1)]
        x, y = (_sample(p, draws) for p in chances)
        worth = await _judge(screens, x.numpy(), y.numpy(), reward, found)
        advantages = normalised(worth)
        silent.append(float((~advantages.any(-1)).mean()))
        said = chances[0].gather(2, x) + chances[1].gather(2, y)
        loss = -(torch.as_tensor(advantages, dtype=torch.float32) * said.sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found.silent = float(np.mean(silent[:EARLY]))
    found.success = _success(policy, Screens.draw(rng, HELD_OUT))
    return found


def _sample(logp: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """int64[N, CLICKS, GROUP] cells, from log-probabilities [N, CLICKS, cells]."""
    flat = logp.detach().exp().flatten(0, 1)
    return flat.multinomial(GROUP, replacement=True, generator=draws).unflatten(0, (-1, CLICKS))


async def _judge(
    screens: Screens, x: np.ndarray, y: np.ndarray, reward: Reward, found: Found
) -> np.ndarray:
    """float64[N, GROUP] rewards; `found` keeps count of hits and of what they are worth."""
    hit = np.asarray(screens.hit(x, y).all(1))
    points = np.stack([x, y], -1) * CELL + CELL // 2  # [N, CLICKS, GROUP, 2]
    episodes = [
        _episode(task, points[n, :, g], bool(hit[n, g]))
        for n, task in enumerate(screens.tasks)
        for g in range(GROUP)
    ]
    worth = np.asarray(await values(reward, episodes)).reshape(hit.shape)
    found.hits += int(hit.sum())
    found.worst_hit = min(found.worst_hit, worth[hit].min(initial=np.inf))
    found.best_miss = max(found.best_miss, worth[~hit].max(initial=-np.inf))
    return worth


def _episode(task: Task, clicks: np.ndarray, hit: bool) -> Episode:
    nothing = np.zeros(0, np.int32)
    turns = [Turn(nothing, nothing.astype(np.float32), "") for _ in clicks]
    rounds = [{"point": point, "turn": k} for k, point in enumerate(clicks)]
    return Episode(task, turns=turns, outcome={"rounds": rounds, "hit": hit})


def _success(policy: nn.Module, screens: Screens) -> float:
    """Exact: the probability of a hit is the share of the softmaxes inside the button."""
    import torch

    with torch.no_grad():
        logits = policy(screens.pictures())
    x, y = (p.softmax(-1).numpy() for p in logits.split([COLUMNS, ROWS], -1))
    cells_x, cells_y = np.arange(COLUMNS), np.arange(ROWS)
    left, top = screens.left[..., None], screens.top[..., None]
    across = (x * ((cells_x >= left) & (cells_x < left + SIDE))).sum(-1)
    down = (y * ((cells_y >= top) & (cells_y < top + SIDE))).sum(-1)
    return float((across * down).prod(-1).mean())
