"""Real bugs from a package's release history: older source, newer tests."""

from agentrl.environments.swe.releases.make import (
    Attempt,
    ReleaseReport,
    ReleaseSettings,
    tasks_from_releases,
)

__all__ = ["Attempt", "ReleaseReport", "ReleaseSettings", "tasks_from_releases"]
