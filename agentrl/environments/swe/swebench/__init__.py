"""SWE-bench and the data sets in its format: rows, images, logs, episodes."""

from agentrl.environments.swe.swebench.environment import SweBenchEnvironment, evaluate
from agentrl.environments.swe.swebench.logs import LogVerdict, log_verdict
from agentrl.environments.swe.swebench.rows import NAMED, load_set, to_tasks
from agentrl.environments.swe.swebench.vetting import vet_instance

__all__ = [
    "NAMED",
    "LogVerdict",
    "SweBenchEnvironment",
    "evaluate",
    "load_set",
    "log_verdict",
    "to_tasks",
    "vet_instance",
]
