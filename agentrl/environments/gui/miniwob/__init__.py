"""MiniWoB++ as tasks for a browser; the pages come from the `miniwob` package."""

from agentrl.environments.gui.miniwob.tasks import (
    MiniWobReward,
    miniwob_names,
    miniwob_site,
    miniwob_task,
)

__all__ = ["MiniWobReward", "miniwob_names", "miniwob_site", "miniwob_task"]
