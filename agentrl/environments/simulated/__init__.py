"""Simulated tools and users, and stateful services (papers 18 and 23)."""

from agentrl.environments.simulated.cache import CallCache, Recorded, canonical
from agentrl.environments.simulated.domain import Domain, load_domain
from agentrl.environments.simulated.environment import SimulatedEnvironment
from agentrl.environments.simulated.services import Service, StateMatch, snapshot
from agentrl.environments.simulated.tools import ModelSimulator, Refuse, SimulatedTools
from agentrl.environments.simulated.users import ModelUser, ScriptedUser, User, UserTurn

__all__ = [
    "CallCache",
    "Domain",
    "ModelSimulator",
    "ModelUser",
    "Recorded",
    "Refuse",
    "ScriptedUser",
    "Service",
    "SimulatedEnvironment",
    "SimulatedTools",
    "StateMatch",
    "User",
    "UserTurn",
    "canonical",
    "load_domain",
    "snapshot",
]
