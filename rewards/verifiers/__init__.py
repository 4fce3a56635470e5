"""Verifiers: how right an answer is, by rule, by execution or by proof."""

from agentrl.rewards.verifiers.base import Item, Verified, Verifier, verdict
from agentrl.rewards.verifiers.chain import CodeChecks, KeywordChain
from agentrl.rewards.verifiers.code import InputOutput, UnitTests
from agentrl.rewards.verifiers.extract import answer_in, extract
from agentrl.rewards.verifiers.logic import LogicEquivalence
from agentrl.rewards.verifiers.math import Math
from agentrl.rewards.verifiers.numbers import NumberSet, Quantity
from agentrl.rewards.verifiers.schema import JsonEqual, JsonSchema
from agentrl.rewards.verifiers.sql import Sql
from agentrl.rewards.verifiers.text import Choice, Citations, ExactMatch, Matches, TokenF1

__all__ = [
    "Choice",
    "Citations",
    "CodeChecks",
    "ExactMatch",
    "InputOutput",
    "Item",
    "JsonEqual",
    "JsonSchema",
    "KeywordChain",
    "LogicEquivalence",
    "Matches",
    "Math",
    "NumberSet",
    "Quantity",
    "Sql",
    "TokenF1",
    "UnitTests",
    "Verified",
    "Verifier",
    "answer_in",
    "extract",
    "verdict",
]
