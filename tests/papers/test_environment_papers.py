"""Claims of the environment papers hold on a seed; and fail when what they rest on is broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agentrl.core import Episode, Score
from agentrl.environments import beam, chain, choices, maze
from agentrl.environments.sql import environment as sql_environment
from agentrl.papers import check, cm2, cosine_verifier, logic_llama, verifier_vs_free
from agentrl.rewards import search
from agentrl.rewards.evidence import reward as evidence
from agentrl.rewards.process import tiers
from agentrl.rewards.verifiers.base import Item
from agentrl.rewards.verifiers.numbers import Quantity
from agentrl.rewards.verifiers.sql_equivalence import Equivalence

pytestmark = pytest.mark.timeout(900)  # wall time, where many share the cores


def exact_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(maze, "common_prefix", lambda a, b: 0)


def wrong_gold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(chain, "_integer", lambda problem: problem.reference["answer"] + 1)


def no_counterexample(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sql_environment, "compare", lambda *_: Equivalence("unknown"))


def blind_tool(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cosine_verifier, "Quantity", lambda relative: Quantity(relative=-1.0))


def all_alike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(logic_llama, "similarity", lambda *_: 1.0)


def surplus_allowed(patch: pytest.MonkeyPatch) -> None:
    strict = beam.REACTIONS

    class Lenient:
        async def verify(self, item: Item) -> Score:
            values = strict.read(item.answer) or []
            return Score(float(all(min(abs(v - g) for v in values) < 1e-4 for g in item.reference)))

    patch.setattr(beam, "REACTIONS", Lenient())


def unshuffled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(choices.random.Random, "shuffle", lambda self, order: None)


def no_precision(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(search, "f_beta", lambda right, given, wanted, beta: right / wanted)


def no_evidence(patch: pytest.MonkeyPatch) -> None:
    parts = search.claim_parts
    patch.setattr(
        search, "claim_parts", lambda right, cited, gold, form: parts(right, gold, gold, form)
    )


def no_credit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        cm2, "step_advantages", lambda items, credits: [np.zeros(len(c.open)) for c in credits]
    )


def trusting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "decided", lambda votes: 1.0)


def blind_verifier(patch: pytest.MonkeyPatch) -> None:
    async def finish(self: verifier_vs_free.Search, episode: Episode) -> None:
        episode.scores["reward"] = Score(0.5)

    patch.setattr(verifier_vs_free.Search, "finish", finish)


def one_tier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiers, "tier", lambda *_: 0.0)


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "ariadne": exact_only,
    "r_horizon": wrong_gold,
    "revisql": no_counterexample,
    "cosine_verifier": blind_tool,
    "logic_llama": all_alike,
    "beamperl": surplus_allowed,
    "vmr": unshuffled,
    "long_rlvr": no_precision,
    "veri_r1": no_evidence,
    "cm2": no_credit,
    "ssl": one_tier,
    "smartsnap": trusting,
    "verifier_vs_free": blind_verifier,
}


TRAINED = ("ssl", "smartsnap", "verifier_vs_free")
KEYS = [pytest.param(key, marks=pytest.mark.claim) if key in TRAINED else key for key in BROKEN]


@pytest.mark.parametrize("key", KEYS)
def test_the_claim_holds(key):
    result = check(key, seeds=(0,))
    assert result.passed, result.table()


@pytest.mark.parametrize("key", KEYS)
def test_the_check_fails_where_what_it_rests_on_is_broken(key, monkeypatch):
    BROKEN[key](monkeypatch)
    assert not check(key, seeds=(0,)).passed
