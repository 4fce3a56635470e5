"""Tasks of MiniWoB++ (Liu et al. 2018), with its own reward read from the page."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from agentrl.core import ConfigError, Episode, Score, Task

SITE = "miniwob"
SIZE = (160, 210)
# "reward" is what the task says; "discounted" decays with the time taken, where the task wants it.
CHECK = (
    "({done: WOB_DONE_GLOBAL, reward: WOB_RAW_REWARD_GLOBAL, discounted: WOB_REWARD_GLOBAL, "
    "reason: WOB_REWARD_REASON ?? null})"
)
# It shows the last reward, and the time that is left.
HIDDEN = "#reward-display, #click-canvas, #sync-task-cover"
# What is right of the task is not for the policy, and selecting text must not scroll to it.
_READY = """new Promise((ready) => {
  document.documentElement.style.overflowX = 'hidden';
  core.EPISODE_MAX_TIME = %d; core.setDataMode('train'); Math.seedrandom(%d);
  core.startEpisodeReal();
  const look = () => WOB_TASK_READY ? ready() : setTimeout(look, 20);
  look();
})"""


def miniwob_site() -> dict[str, Path]:
    """The site to give to `BrowserScreens`. Raises ConfigError without the package."""
    found = find_spec("miniwob")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("MiniWoB++ is not installed", fix="pip install 'agentrl[miniwob]'")
    return {SITE: Path(found.submodule_search_locations[0]) / "html"}


def miniwob_names() -> list[str]:
    """The tasks there are, by the names of their pages."""
    return sorted(page.stem for page in (miniwob_site()[SITE] / "miniwob").glob("*.html"))


def miniwob_task(name: str, seed: int, *, seconds: float = 1000.0) -> Task:
    """One task with its layout and words drawn from a seed.

    Args:
        seconds: after which the page ends the episode with -1; its own 10 are too few for a
            policy that thinks.
    """
    prepare = _READY % (int(seconds * 1000), seed)
    payload = {
        "start": f"http://{SITE}.test/miniwob/{name}.html",
        "prepare": prepare,
        "brief": "core.getUtterance()",
        "over": "WOB_DONE_GLOBAL",
        "hide": HIDDEN,
        "viewport": list(SIZE),
    }
    return Task(
        f"miniwob/{name}/{seed}",
        "",
        environment="gui",
        payload=payload,
        reference={"check": CHECK},
        metadata={"name": name, "seed": seed, "seconds": seconds},
    )


@dataclass(slots=True)
class MiniWobReward:
    """The raw reward of the page, -1 to 1; -1 when the episode stopped before the page ended it."""

    name: str = "miniwob"

    async def score(self, episode: Episode) -> Score:
        state = episode.outcome.get("state")
        if not isinstance(state, dict):
            return Score(abstained=True, evidence="the page did not say")
        return Score(float(state["reward"]) if state["done"] else -1.0)
