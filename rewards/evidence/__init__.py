"""Evidence that an agent chose itself (SmartSnap, paper 38): what it is, and what it is worth."""

from agentrl.rewards.evidence.metrics import evidence_metrics
from agentrl.rewards.evidence.reward import EvidenceReward
from agentrl.rewards.evidence.submission import Snapshot, Submission, read_submission
from agentrl.rewards.evidence.votes import ModelVotes, Proof, RuleVotes, Votes

__all__ = [
    "EvidenceReward",
    "ModelVotes",
    "Proof",
    "RuleVotes",
    "Snapshot",
    "Submission",
    "Votes",
    "evidence_metrics",
    "read_submission",
]
