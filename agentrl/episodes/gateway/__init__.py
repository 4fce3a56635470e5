"""The gateway: agent programs that know nothing of us talk to an engine, and are recorded.

A program speaks the wire format of OpenAI or Anthropic to a URL that names its session; what it is
answered with are the engine's tokens, and what is kept of it is the same record that the runner
makes.
"""

from agentrl.episodes.gateway.agent import AgentRunner
from agentrl.episodes.gateway.server import Gateway
from agentrl.episodes.gateway.session import Refused, Session, Voice

__all__ = ["AgentRunner", "Gateway", "Refused", "Session", "Voice"]
