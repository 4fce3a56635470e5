"""The run on disk: episodes, metrics, failures and checkpoints."""

from agentrl.store.checkpoints import Checkpoint
from agentrl.store.errors import DamagedCheckpointError, DiskFullError, StoreError
from agentrl.store.failures import FailureEvent, FailureLog
from agentrl.store.run import EpisodeSummary, Failure, RunStore

__all__ = [
    "Checkpoint",
    "DamagedCheckpointError",
    "DiskFullError",
    "EpisodeSummary",
    "Failure",
    "FailureEvent",
    "FailureLog",
    "RunStore",
    "StoreError",
]
