"""Settings of guidance: seven orthogonal choices of what to do when a policy cannot do a task.

    1 trigger     when a group is helped                      `Trigger`
    2 ladder      which hints there are, least first          `Ladder`, of `Tier`s
    3 placement   where a hint stands                         `Placement`
    4 search      which hint is taken, with which rollouts    `Search`
    5 merge       what becomes of the guided episodes         `Merge`
    6 train       the context they are learned in             `Train`
    7 retirement  when help begins and ends                   `Retirement`

`kind` names a preset (see presets.py); every key given next to it overrides the preset's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentrl.guidance.presets import PRESETS
from agentrl.learner.presets import merge
from agentrl.learner.settings import Coefficient


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trigger(Strict):
    """When a group is helped; unjudged episodes say nothing.

    Kinds:
        no_positive: none of its episodes did the task.
        accuracy: at most the share `threshold` of them did.
        plateau: none did, nor more than `threshold` in the last `visits` visits of the task.
        first_error: an episode failed, but its steps were right for a good part (see `Placement`).
        has_feedback: an episode failed, and there is something to tell it.
        always: every group.

    Attributes:
        solved_at: the reward beyond which an episode did the task, where the environment does not
            say `resolved`.
        check: instead, a check of the reward that must have passed (an accuracy beside a format).
    """

    kind: Literal["no_positive", "accuracy", "plateau", "first_error", "has_feedback", "always"] = (
        "no_positive"
    )
    threshold: float = Field(default=0.0, ge=0, le=1)
    visits: int = Field(default=3, ge=1)
    solved_at: float = 0.0
    check: str = ""


class Tier(Strict):
    """A run of hints from one provider, least first.

    Kinds:
        static: written beforehand: `texts`, or `reference[key]` of the task: a list of texts.
        self: the current policy writes them, shown the reference (SAGE).
        teacher: a model behind an API writes them; `model` as a judge is written.
        prefix: the first `fractions` of the solution text `reference[key]` (GHPO).
        sibling: what a successful attempt at the task did.
        feedback: what the environment said to the failed attempt.
        plan, file: by rule, from the gold patch, the tests and how they failed.
        module:Name: a provider of your own, see `agentrl.guidance.Provider`.

    Attributes:
        levels: how many hints of growing detail, where the kind does not say itself.
        name: of the tier in metrics; "" is the key, or the kind.
        prompt: what self and teacher are told, instead of the built-in text; `{task}`,
            `{reference}`, `{level}`, `{attempt}` are filled in.
        answer: self and teacher give all levels as one JSON object, or one text a level.
        characters: of a hint at most; what is longer is clipped with a mark.
    """

    kind: str = Field(
        default="static",
        pattern=r"^(static|self|teacher|prefix|sibling|feedback|plan|file|[\w.]+:[\w.]+)$",
    )
    name: str = ""
    levels: int = Field(default=1, ge=1)
    texts: tuple[str, ...] = ()
    key: str = ""
    fractions: tuple[float, ...] = ()
    model: Any = None
    prompt: str = ""
    answer: Literal["json", "text"] = "json"
    characters: int = Field(default=4000, ge=1)
    tokens: int = Field(default=512, ge=1)
    args: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _complete(self) -> Tier:
        if self.kind == "teacher" and self.model is None:
            raise ValueError("a teacher needs `model`, such as {model: openai/..., budget: 5.0}")
        if self.kind == "prefix" and not all(0 < f <= 1 for f in self.fractions):
            raise ValueError("fractions are more than 0 and at most 1")
        return self

    @property
    def label(self) -> str:
        return self.name or self.key or self.kind


class Ladder(Strict):
    """Tiers from least to most help. `show` is what a level shows: its own hint, all of its tier
    up to it, or everything up to it."""

    tiers: tuple[Tier, ...] = ()
    show: Literal["one", "tier", "all"] = "one"

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"tiers": given} if isinstance(given, list | tuple) else given


class Placement(Strict):
    """Where a hint stands.

    Kinds:
        prompt: with the first messages.
        turn: before turn `turn` (from 1), with what the environment answered.
        assistant_prefix: the first message is made to begin with it; not trained.
        splice: the episode goes on from a step of a recorded one, its environment restored.
        teacher_only: the sampler never sees it: the policy that does is a target of a divergence.

    Attributes:
        role: of the hint's message.
        template: the message; `{hint}` is the hint.
        point: where a splice is: the first wrong step, or a token of high entropy (CURE).
        wrong_below: a step whose score is below this is wrong; at_least: the share of right steps
            below which an episode is not worth a repair (both derived, SCOPE gives no value).
        keep: whether the kept steps are trained in the spliced episode too, or are its context.
        top: splices at entropy choose among this many tokens.
    """

    kind: Literal["prompt", "turn", "assistant_prefix", "splice", "teacher_only"] = "prompt"
    role: Literal["system", "user"] = "user"
    template: str = "Hint: {hint}"
    turn: int = Field(default=1, ge=1)
    point: Literal["first_error", "entropy"] = "first_error"
    wrong_below: float = 0.5
    at_least: float = Field(default=0.5, ge=0, le=1)
    keep: Literal["trained", "context"] = "trained"
    top: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _has_a_place(self) -> Placement:
        if "{hint}" not in self.template:
            raise ValueError("template has no {hint}")
        return self


class Search(Strict):
    """Which level is taken, and with which rollouts.

    Kinds:
        sequential: whole groups, level by level, until one has a success.
        probe: one rollout per level, all at once; the least level that succeeds is taken.
        persistent: each task keeps a level from visit to visit: one up when the share of
            successes was below `up_below`, one down when it was above `down_above` (null: never).
        reattempt: each failed episode is tried once more, with the hints made for it.
        branch: each episode is sampled again `branches` times from its splice.
        none: no rollouts.

    Attributes:
        start: the first level that is tried (1 is the least help).
        branches: rollouts of a branch; or of a repair, which takes the first success.
        inclusive: a share of exactly `up_below` also goes up.
    """

    kind: Literal["sequential", "probe", "persistent", "reattempt", "branch", "none"] = "sequential"
    start: int = Field(default=1, ge=1)
    up_below: float = Field(default=0.35, ge=0, le=1)
    down_above: float | None = Field(default=None, ge=0, le=1)
    inclusive: bool = False
    branches: int = Field(default=1, ge=1)


class Merge(Strict):
    """What becomes of guided episodes.

    Kinds:
        replace_group: they take the group's place.
        replace_members: `count` of them that succeeded take the place of failed members (a repair
            that of its own source).
        append_members: they join the group, and are compared with it.
        append_group: they are a group of their own, if its members differ.
        none: they are not learned from.

    Attributes:
        keep_failures: also when no guided episode succeeded.
    """

    kind: Literal["replace_group", "replace_members", "append_members", "append_group", "none"] = (
        "replace_group"
    )
    count: int = Field(default=1, ge=1)
    keep_failures: bool = False


class Train(Strict):
    """The context in which guided episodes are learned.

    Attributes:
        context: `hinted`, as they were sampled (on-policy there); `unhinted`: the hint is taken
            out, and each token weighted by the ratio of the two contexts (`learner.ratio.hints`).
        off_policy: stage 5 for what the policy did not draw in the context of its training
            (`learner.off_policy`); null: as the others.
        learner: further settings of the learner that belong to the method; what the run file says
            itself counts before them.
    """

    context: Literal["hinted", "unhinted"] = "hinted"
    off_policy: Coefficient | None = None
    learner: dict[str, Any] = Field(default_factory=dict)


class Retirement(Strict):
    """When help begins and ends. Evaluation never has any.

    Attributes:
        exempt_steps: the first steps, without help; exempt_share: as a share of all.
        until: the last step with help (stage switch); null: all.
        fade_to, fade_by: the highest level falls evenly from the whole ladder to `fade_to` at
            step `fade_by`; null: it does not.
        done_at: a task that was once solved by this share of an unguided group needs no more help.
    """

    exempt_steps: int = Field(default=0, ge=0)
    exempt_share: float = Field(default=0.0, ge=0, le=1)
    until: int | None = Field(default=None, ge=0)
    fade_to: int = Field(default=0, ge=0)
    fade_by: int | None = Field(default=None, ge=1)
    done_at: float | None = Field(default=None, gt=0, le=1)


class Leaks(Strict):
    """A guided episode that quotes `words` words of its hint in a row is flagged; `drop` leaves it
    out of what is learned. (A policy that says "the hint told me" learns to say so without one.)"""

    words: int = Field(default=8, ge=1)
    drop: bool = False


class GuidanceSettings(Strict):
    """What to do when a policy cannot do a task; the seven choices, or a preset's name in `kind`.

    Attributes:
        budget: extra rollouts of one step at most; groups beyond it get no help; null: no limit.
    """

    kind: str = "custom"
    trigger: Trigger = Trigger()
    ladder: Ladder = Ladder()
    placement: Placement = Placement()
    search: Search = Search()
    merge: Merge = Merge()
    train: Train = Train()
    retirement: Retirement = Retirement()
    leaks: Leaks = Leaks()
    budget: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = dict(given)
        name = given.get("kind", "custom")
        if name not in PRESETS:
            raise ValueError(f"no guidance {name!r}; there are: {', '.join(sorted(PRESETS))}")
        if isinstance(given.get("ladder"), list | tuple):
            given["ladder"] = {"tiers": given["ladder"]}
        return merge(PRESETS[name], given)

    @model_validator(mode="after")
    def _choices_fit(self) -> GuidanceSettings:
        place, search = self.placement.kind, self.search.kind
        quiet = place == "teacher_only"
        branches = place == "splice" and self.placement.point == "entropy"
        if not self.ladder.tiers and not branches:
            raise ValueError("ladder: there is no hint; name tiers, or a preset in `kind`")
        if place == "assistant_prefix" and self.train.context == "unhinted":
            raise ValueError(
                "train.context: what a message was made to begin with cannot be taken out of it"
            )
        if quiet != (search == "none"):
            raise ValueError("search: {kind: none} goes with placement: {kind: teacher_only}")
        if (place == "splice") != (search == "branch"):
            raise ValueError("search: {kind: branch} goes with placement: {kind: splice}")
        if search == "persistent" and place == "assistant_prefix":
            raise ValueError("placement.kind: a persistent level is shown in the prompt or a turn")
        return self

    def learner_defaults(self) -> dict[str, Any]:
        """What the learner is to be told, unless the run file says otherwise."""
        given = dict(self.train.learner)
        if self.train.context == "unhinted" or self.placement.kind == "teacher_only":
            given = merge({"ratio": {"hints": "strip"}}, given)
        if self.train.off_policy is not None:
            given.setdefault("off_policy", self.train.off_policy.model_dump(exclude_unset=True))
        return given
