"""Every reward that a run file can name: where it is, what it says, what it costs.

Entries are imported when they are used, so that heavy libraries stay away from runs that do not
need them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

Scope = Literal[
    "answer", "outcome", "turn", "trajectory", "group", "transform", "derive", "monitor"
]


@dataclass(slots=True, frozen=True)
class Kind:
    """One entry.

    Attributes:
        name: as in `{kind: NAME}`; "" for what is used from Python only.
        scope: "answer" (a verifier: judges the answer), "outcome" (the episode), "turn" (each
            turn), "trajectory" (an automaton over the turns), "group" (episodes together),
            "transform" (rewards of a step), "derive" (tasks of a step's episodes), "monitor" (says
            something about rewards).
        cost: what an episode costs, in calls of models or runs of code; "" for arithmetic.
        paper: number in docs/papers.md; 0 for none.
    """

    name: str
    path: str
    scope: Scope
    cost: str = ""
    paper: int = 0

    def load(self) -> Callable[..., Any]:
        module, _, attribute = self.path.partition(":")
        found: Callable[..., Any] = getattr(import_module(f"agentrl.rewards.{module}"), attribute)
        return found


KINDS: tuple[Kind, ...] = (
    Kind("exact_match", "verifiers.text:ExactMatch", "answer"),
    Kind("f1", "verifiers.text:TokenF1", "answer"),
    Kind("choice", "verifiers.text:Choice", "answer"),
    Kind("regex", "verifiers.text:Matches", "answer"),
    Kind("citations", "verifiers.text:Citations", "answer", "", 52),
    Kind("math", "verifiers.math:Math", "answer", "sympy, deadline 5 s"),
    Kind("quantity", "verifiers.numbers:Quantity", "answer"),
    Kind("number_set", "verifiers.numbers:NumberSet", "answer", "", 29),
    Kind("json_schema", "verifiers.schema:JsonSchema", "answer"),
    Kind("json_equal", "verifiers.schema:JsonEqual", "answer"),
    Kind("sql", "verifiers.sql:Sql", "answer", "2 queries a database", 5),
    Kind("logic", "verifiers.logic:LogicEquivalence", "answer", "z3, deadline 5 s", 14),
    Kind("input_output", "verifiers.code:InputOutput", "answer", "1 run a case", 10),
    Kind("unit_tests", "verifiers.code:UnitTests", "answer", "1 run a test"),
    Kind("keyword_chain", "verifiers.chain:KeywordChain", "answer", "", 19),
    Kind("code_checks", "verifiers.chain:CodeChecks", "answer", "1 run a check", 19),
    Kind("or_else", "combine:OrElse", "answer", "of its parts", 61),
    Kind("guard", "combine:Guard", "answer", "of its part", 61),
    Kind("all_of", "combine:AllOf", "answer", "of its parts"),
    Kind("mean", "combine:Mean", "answer", "of its parts"),
    Kind("soft_verifier", "judges.verify:SoftVerifier", "answer", "1 call, 1 token", 22),
    Kind("judge", "judges.verify:JudgeVerifier", "answer", "votes calls"),
    Kind("first_error", "process.first_error:FirstErrorJudge", "answer", "votes calls", 12),
    Kind("tests_pass", "outcome:TestsPass", "outcome"),
    Kind("program_output", "programs:ProgramOutput", "outcome", paper=10),
    Kind("claim", "search:ClaimReward", "outcome", "", 71),
    Kind("context", "search:ContextReward", "outcome", "", 52),
    Kind("submitted", "outcome:Submitted", "outcome", "", 4),
    Kind("evidence", "evidence:EvidenceReward", "outcome", "0 or votes calls", 38),
    Kind("rubric", "judges.rubric:Rubric", "outcome", "items x votes calls", 11),
    Kind("preference_mix", "judges.preference:PreferenceMix", "outcome", "2 x votes calls", 3),
    Kind("hierarchical", "process.hierarchy:Hierarchical", "outcome", "1 to 1 + turns calls", 18),
    Kind("spell_rule", "group.spell:SpellRule", "outcome", "", 17),
    Kind("tiered", "process.tiers:Tiered", "outcome", "", 21),
    Kind("grid_proximity", "process.proximity:GridProximity", "outcome", "", 21),
    Kind("flaw_found", "process.flaws:FlawFound", "outcome", "", 47),
    Kind("dense", "process.shaping:Dense", "outcome", "of its parts", 63),
    Kind("shuffle_consistency", "data.options:ShuffleConsistency", "outcome", "1 call", 25),
    Kind(
        "reference_likelihood",
        "probability.reference:ReferenceLikelihood",
        "outcome",
        "1 forward",
        56,
    ),
    Kind("rlpr", "probability.reference:Rlpr", "outcome", "1 to 3 forwards", 26),
    Kind("self_aligned", "probability.aligned:SelfAligned", "outcome", "1 forward", 24),
    Kind("certainty", "probability.certainty:Certainty", "outcome", "0 or 1 forward", 27),
    Kind("last_token", "probability.self_reward:LastToken", "outcome", "1 forward", 7),
    Kind("cooper", "learned.cooper:Cooper", "outcome", "1 forward of the reward model", 32),
    Kind("format_ok", "turns:FormatOk", "turn"),
    Kind("tool_ok", "turns:ToolOk", "turn"),
    Kind("click_proximity", "process.proximity:ClickProximity", "turn", "", 21),
    Kind("checklist", "process.checklist:ChecklistReward", "turn", "steps x items calls", 23),
    Kind("process", "process.principles:ProcessReward", "turn", "votes calls", 36),
    Kind("capo", "process.capo:Capo", "turn", "votes calls", 41),
    Kind("process_verified", "process.first_error:ProcessVerified", "turn", "votes calls", 12),
    Kind("faithful", "process.faithful:Faithful", "turn", "votes calls", 37),
    Kind("belief", "probability.belief:BeliefProgress", "turn", "turns + 1 forwards", 35),
    Kind("potential_shaping", "process.shaping:PotentialShaping", "turn", "", 63),
    Kind("count_bonus", "process.shaping:CountBonus", "turn", "", 63),
    Kind("intrinsic", "process.intrinsic:Intrinsic", "turn", "1 call a new observation", 72),
    Kind("flow", "learned.flow:FlowReward", "turn", "1 forward", 57),
    Kind("decomposition", "learned.decomposition:ReturnDecomposition", "turn", "1 run", 58),
    Kind("reward_machine", "automata.machine:RewardMachine", "trajectory", "", 34),
    Kind("ltlf", "automata.ltlf:Ltlf", "trajectory", "", 34),
    Kind("majority_vote", "group.vote:MajorityVote", "group", "", 27),
    Kind("bootstrap", "group.bootstrap:Bootstrap", "group", "2 x votes calls", 53),
    Kind("difficulty", "group.difficulty:DifficultyWeighted", "group", "", 66),
    Kind("tournament", "group.tournament:Tournament", "group", "about 4 x votes calls", 69),
    Kind("group_contrast", "group.preference:GroupContrast", "group", "", 16),
    Kind("length", "group.length:Length", "group", "", 24),
    Kind("checklist_group", "group.checklist:ChecklistGroup", "group", "", 23),
    Kind("spell_roles", "group.spell:SpellRoles", "group", "", 17),
    Kind("clip", "transforms.scale:Clip", "transform"),
    Kind("z_score", "transforms.scale:ZScore", "transform", "", 22),
    Kind("centre", "transforms.scale:Centre", "transform"),
    Kind("subtract", "transforms.scale:Subtract", "transform", "", 26),
    Kind("fade", "transforms.scale:Fade", "transform", "", 63),
    Kind("std_filter", "transforms.filters:StdFilter", "transform", "", 26),
    Kind("skew_filter", "transforms.filters:SkewFilter", "transform", "", 53),
    Kind("constraints", "transforms.constraints:Constraints", "transform", "", 54),
    Kind("self_reward_mix", "transforms.mix:SelfRewardMix", "transform", "", 7),
    Kind("verify_own", "data.verify_own:VerifyOwn", "derive", "count x group episodes", 9),
    Kind("spell", "data.spell:Spell", "derive", "questions x group episodes", 17),
    Kind("", "diagnostics.monitors:CollapseMonitor", "monitor", "", 27),
    Kind("", "diagnostics.monitors:HackMonitor", "monitor", "a sample of oracle calls", 61),
    Kind("", "diagnostics.monitors:DriftMonitor", "monitor", "", 3),
)

EPISODE_SCOPES = ("answer", "outcome", "turn", "trajectory")


def kinds(*scopes: str) -> dict[str, Kind]:
    """The named entries of some scopes, by name."""
    return {k.name: k for k in KINDS if k.name and k.scope in scopes}
