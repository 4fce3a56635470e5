"""Rewards: what an episode was worth, and why."""

from agentrl.rewards.compose import Gated, Level, Weighted
from agentrl.rewards.config import RewardPlan, build_plan, build_reward, build_verifier
from agentrl.rewards.diagnostics import gra_metrics
from agentrl.rewards.evidence import EvidenceReward, evidence_metrics
from agentrl.rewards.grammar import SEARCH_TAGS, TagGrammar
from agentrl.rewards.judging import Composite, judge
from agentrl.rewards.outcome import Submitted, TestsPass
from agentrl.rewards.programs import ProgramOutput
from agentrl.rewards.resources import Resources
from agentrl.rewards.search import ClaimReward, ContextReward, claim_metrics
from agentrl.rewards.turns import FormatOk, ToolOk, ran_without_error, well_formed

__all__ = [
    "SEARCH_TAGS",
    "ClaimReward",
    "Composite",
    "ContextReward",
    "EvidenceReward",
    "FormatOk",
    "Gated",
    "Level",
    "ProgramOutput",
    "Resources",
    "RewardPlan",
    "Submitted",
    "TagGrammar",
    "TestsPass",
    "ToolOk",
    "Weighted",
    "build_plan",
    "build_reward",
    "build_verifier",
    "claim_metrics",
    "evidence_metrics",
    "gra_metrics",
    "judge",
    "ran_without_error",
    "well_formed",
]
