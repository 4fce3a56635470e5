"""Settings of the learner: eight orthogonal stages, and what turns their loss into an update.

    1 returns      raw outcome -> reward                      `Transform`
    2 channels     baseline and scale -> advantage            `Channel`, `whiten`
    3 field        weights that act after normalisation       `WeightField`
    4 ratio        log-probability now against then           `Ratio`
    5 coefficient  what a ratio and an advantage come to      `Coefficient`
    6 link         contrast inside a group instead of 2 + 5   `Link`
    7 divergences  pull to a reference, push for entropy      `Divergence`
    8 aggregation  one weight per trained token               `Aggregation`

`algorithm` names a preset (see presets.py); every key given next to it overrides the preset's.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentrl.learner.extensions.auxiliary_settings import AuxiliarySettings
from agentrl.learner.presets import PRESETS, merge


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Transform(Strict):
    """Stage 1, one step: reward -> reward, on the episodes that carry `flag` (all when "").

    Kinds:
        affine: scale * r + shift.   replace: shift.   penalty: r - shift.
        unbias: (r - false_positive) / (1 - false_positive - false_negative), the reward a noisy
            0/1 verifier should have given on average (noisy verifiers, backward form).
        majority: 1 where `outcome["answer"]` is the most frequent of the flagged episodes of
            the group, else 0 (TraPO's pseudo label).
        coin: 1 or 0 by a fair coin of the episode's own seed: the placebo that a real reward has
            to beat (clipping and spurious rewards).

    Flags: `truncated` (ended by a turn, token or time limit), a Status value, a key of
    `Episode.outcome` or `Task.metadata` that is truthy, or a check of the reward that passed.
    """

    kind: Literal["affine", "replace", "penalty", "unbias", "majority", "coin"] = "affine"
    flag: str = ""
    scale: float = 1.0
    shift: float = 0.0
    false_positive: float = Field(default=0.0, ge=0, lt=0.5)
    false_negative: float = Field(default=0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _can_be_inverted(self) -> Transform:
        if 1.0 - self.false_positive - self.false_negative < 0.1:
            raise ValueError("false_positive + false_negative is over 0.9: nothing can be learned")
        return self


class Channel(Strict):
    """Stage 2: one stream of rewards, compared inside its own key. Advantages of channels add up.

    Attributes:
        source: `outcome` (the episode's reward, one sample per episode), `steps` (discounted
            reward-to-go of the step rewards, one per turn), `return` (steps plus the outcome at
            the last turn, one per turn), `items` (each check of the score, one per episode and
            check, averaged over the checks by their weights), `spans` (rewards of parts of turns,
            one per trained token).
        by: what samples must share to be compared; () compares the whole batch.
        baseline: `none`, `constant`, `mean`, `leave_one_out`.
        scale: `none`, `std` of the key, `batch_std` of all samples of the channel, `l1` (the
            advantages of a key sum to their count in absolute value).
        ddof, epsilon: of the standard deviation: std(ddof) + epsilon.
        discount: gamma per turn, for `steps` and `return`.
        weight: of this channel in the sum.
        min_group: keys with fewer samples get advantage zero.
    """

    source: Literal["outcome", "steps", "return", "items", "spans"] = "outcome"
    by: tuple[Literal["group", "turn", "state"], ...] = ("group",)
    baseline: Literal["none", "constant", "mean", "leave_one_out"] = "mean"
    constant: float = 0.0
    scale: Literal["none", "std", "batch_std", "l1"] = "none"
    ddof: Literal[0, 1] = 1
    epsilon: float = Field(default=1e-4, ge=0)
    discount: float = Field(default=1.0, ge=0, le=1)
    weight: float = 1.0
    min_group: int = Field(default=2, ge=1)


class HiddenReward(Strict):
    """THR's factor: what raising a token does to the group's correct answers (see influence.py).

    `thr`: dominant tokens weigh 1 + p * sign(advantage * s), s being their influence. `nthr`:
    dominant tokens of wrong answers weigh 2 |1/2 - share of correct answers|.

    Attributes:
        dominance: dominant are tokens whose influence is beyond this many times the least mean
            influence among the correct answers; 0: all are.
        p: above 0 exploits, below 0 explores; the source gives no value, 0.1 to 0.2 is derived.
    """

    kind: Literal["thr", "nthr"] = "thr"
    p: float = Field(default=0.1, gt=-1, lt=1)
    dominance: float = Field(default=1.0, ge=0)


class WeightField(Strict):
    """Stage 3: factors on the loss of a token, after normalisation (before it they cancel).

    An episode whose tokens all get factor 0 also leaves the denominators of stage 8; it still
    counts in the baseline.

    Attributes:
        positive, negative: by the sign of the advantage.
        sources: by `Episode.source`; 1 where not named.
        flags: by flag (see `Transform`); `{"truncated": 0}` is DAPO's overlong filter.
        roles: by `Task.metadata["role"]`: (factor of positive, of negative advantages).
        hidden: by what a token does to the group's correct answers.
    """

    positive: float = Field(default=1.0, ge=0)
    negative: float = Field(default=1.0, ge=0)
    sources: dict[str, float] = Field(default_factory=dict)
    flags: dict[str, float] = Field(default_factory=dict)
    roles: dict[str, tuple[float, float]] = Field(default_factory=dict)
    hidden: HiddenReward | None = None


class Ratio(Strict):
    """Stage 4: pi(token | training context) / pi_old(token | behaviour context).

    Attributes:
        level: `token`; `turn` or `row` take the geometric mean over that unit (GSPO is `row`);
            `row_sum` the product.
        old: `auto` is `current` when every token was drawn by the very weights being trained, in
            the same context, and the batch makes one optimiser step, else `behaviour`.
            `current`: logp.detach(), no extra forward. `behaviour`: as recorded by the engine.
            `recompute`: a forward before the first optimiser step (decoupled PPO).
        correction: engine against trainer. `truncate` caps the importance weight of a token at
            `cap`; `mask` drops tokens outside [1/cap, cap]; `none`.
        hints: `keep` trains in the hinted context, `strip` takes hint tokens out of it.
    """

    level: Literal["token", "turn", "row", "row_sum"] = "token"
    old: Literal["auto", "current", "behaviour", "recompute"] = "auto"
    correction: Literal["none", "truncate", "mask"] = "truncate"
    cap: float = Field(default=2.0, gt=1)
    hints: Literal["keep", "strip"] = "keep"


class Coefficient(Strict):
    """Stage 5: the map whose gradient is -kappa(ratio, advantage) * grad logp.

    Kinds: `ppo_clip` (with `dual`, the cap on ratio for negative advantages), `is_clip` (detached
    clipped ratio times logp: CISPO, DISPO), `shape` (ratio / (ratio + gamma)), `power`
    (ratio ** gamma), `identity` (ratio), `reinforce` (logp).

    `low`, `high` bound the ratio to [1 - low, 1 + high], None leaves that side open;
    `negative_low`, `negative_high` do so for negative advantages ("same": as the others).
    `quantile` makes gamma that quantile of the ratios at the start of the step (at least 1e-4).
    """

    kind: Literal["ppo_clip", "is_clip", "shape", "power", "identity", "reinforce"] = "ppo_clip"
    low: float | None = 0.2
    high: float | None = 0.2
    negative_low: float | Literal["same"] | None = "same"
    negative_high: float | Literal["same"] | None = "same"
    dual: float | None = Field(default=None, gt=1)
    gamma: float = Field(default=1.0, gt=0)
    quantile: float | None = Field(default=None, ge=0, le=1)


class Link(Strict):
    """Stage 6: a loss on whole groups that takes the place of stages 2 and 5.

    An episode's score is `scale` times the sum, mean or sum / sqrt(n) of its log ratios, or the
    mean of its log-probabilities. `bce` classifies it against its label (reward > `threshold`),
    `logsumexp` ranks it against an anchor of zero (REAL); `dpo` takes its log ratios to the
    reference and prefers each success of a group to each failure, -log sigmoid(s+ - s-).
    `contrast` takes the other members' mean off first (PACS), or makes it a z-score. `balance`
    weighs the classes of a mixed group alike: n / (2 n_class) on both of them, or on the right or
    wrong answers only.
    """

    kind: Literal["bce", "logsumexp", "dpo"] = "bce"
    score: Literal["sum", "mean", "sqrt", "mean_logprob"] = "sum"
    scale: float = Field(default=1.0, gt=0)
    contrast: Literal["none", "leave_one_out", "z"] = "none"
    balance: Literal["none", "both", "positive", "negative"] = "none"
    threshold: float | Literal["mean"] = 0.5


class Divergence(Strict):
    """Stage 7: one term, `coefficient` times a divergence of the policy from a target.

    Attributes:
        target: `reference`; `tempered`, the reference with its logits times phi =
            floor + (1 - floor) * reward, renormalised exactly (RAPO); `uniform`, which is the
            entropy bonus (exact); `hinted`, the reference that reads the hints which
            `ratio.hints: strip` takes out of the policy's context (SDPO): only of episodes that
            have some.
        direction: `reverse` KL(policy || target), `forward` KL(target || policy), `jsd` between
            them (see `mix`; estimator `full` only).
        estimator: `k1`, `k2`, `k3` from the sampled token, `k3_ratio` (k3 times the
            differentiable ratio, TRL's default), `full` over the whole vocabulary.
        place: `loss`, or `reward`: taken from the reward before stage 2.
        mix: share of the target in the mixture of `jsd`.
        top: `full` looks at so many most likely tokens, and at the others as one; null: at all.
    """

    target: Literal["reference", "tempered", "uniform", "hinted"] = "reference"
    direction: Literal["reverse", "forward", "jsd"] = "reverse"
    estimator: Literal["k1", "k2", "k3", "k3_ratio", "full"] = "k3"
    place: Literal["loss", "reward"] = "loss"
    coefficient: float = 0.0
    floor: float = Field(default=0.5, ge=0, le=1)
    mix: float = Field(default=0.5, gt=0, lt=1)
    top: int | None = Field(default=None, ge=1)


class Reference(Strict):
    """Which policy `reference` is: a frozen copy made at the start, a moving average that
    follows by `rate` per optimiser step, or the policy with its LoRA adapter off."""

    kind: Literal["frozen", "ema", "adapter_off"] = "frozen"
    rate: float = Field(default=0.05, gt=0, le=1)


class Critic(Strict):
    """PPO's critic; with one, stage 2 is GAE and `channels` are not used.

    Attributes:
        kind: `head` puts a value head on the policy's trunk, `model` trains a model of its own.
        path: of that model, such as a reward model, whose score head is taken along; "": a copy
            of the policy.
        level: `token` or `turn`: between which states GAE steps. Observations are no steps.
        bootstrap: an episode ended by a turn, token or time limit is worth the value of where it
            stopped; else its end is terminal.
        clip: how far a value may move from where it was before its error counts (0: no clip).
        warmup_steps: optimiser steps in which only the critic learns.
    """

    kind: Literal["head", "model"] = "head"
    path: str = ""
    level: Literal["token", "turn"] = "token"
    gamma: float = Field(default=1.0, ge=0, le=1)
    lam: float = Field(default=0.95, ge=0, le=1)
    bootstrap: bool = True
    coefficient: float = Field(default=0.1, gt=0)
    clip: float = Field(default=0.2, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-5, ge=0)


class Hindsight(Strict):
    """PIPO's second look at the last batch (with a critic the source has `limit` 2).

    Attributes:
        window: mean rewards that the new one is compared with; least: before that many, nothing.
        negative: factor on a change for the worse; limit: on the standardised change.
        threshold: changes of at most this many deviations are no news.
        kind: tasks with an equal value of it are compared: `environment` or a key of
            `Task.metadata`; "" compares whole batches.
    """

    window: int = Field(default=8, ge=2)
    least: int = Field(default=8, ge=2)
    negative: float = Field(default=0.1, ge=0)
    limit: float = Field(default=3.0, gt=0)
    threshold: float = Field(default=0.0, ge=0)
    kind: str = "environment"


class Lora(Strict):
    """Low-rank adapters through peft (`pip install "agentrl[lora]"`); the rest is frozen."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    targets: str | list[str] = "all-linear"


class Aggregation(Strict):
    """Stage 8: how the losses of tokens become one number.

    `token`: mean over all trained tokens. `sequence`: mean over episodes of their token means.
    `turn`: mean over episodes of the mean over turns of their token means. `constant`: sum over
    tokens / (episodes * constant), constant being the longest episode allowed (Dr.GRPO).
    """

    kind: Literal["token", "sequence", "turn", "constant"] = "token"
    constant: int = Field(default=1024, ge=1)


class LearnerSettings(Strict):
    """What `Learner` needs to know.

    Attributes:
        group_size: episodes per task; the training loop samples that many.
        refill: the training loop samples other tasks, up to that many times, for groups that
            teach nothing (DAPO); 0: never.
        schedule: of the learning rate after `warmup_steps` of linear warm-up; `linear` and
            `cosine` reach zero at `total_steps`.
        max_grad_norm: 0 switches clipping off.
        mini_batches: optimiser steps a batch of groups is split into; epochs: passes over it.
        token_budget: tokens of one micro-batch. Memory grows with it; a prefix that micro-batches
            share is computed in each. An episode that is longer has one of its own.
        logit_budget: logits kept between forward and backward; beyond it they are computed twice.
        share_prefixes: compute the tokens that rows of a micro-batch have in common once.
        min_shared: shared prefixes shorter than this are not worth a cut.
        off_policy: stage 5 for episodes that the policy did not draw in the context it is trained
            in (`ratio.hints: strip`, or a `source` other than "policy"); null: as the others.
        autocast: compute dtype of the trunk under torch.autocast ("" for none).
        auxiliary: further losses, on tokens that the policy is asked about.
    """

    algorithm: str = "grpo"
    group_size: int = Field(default=8, ge=1)
    refill: int = Field(default=0, ge=0)

    learning_rate: float = Field(default=1e-6, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    total_steps: int | None = Field(default=None, ge=1)
    betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, ge=0)
    mini_batches: int = Field(default=1, ge=1)
    epochs: int = Field(default=1, ge=1)

    token_budget: int = Field(default=4096, ge=1)
    logit_budget: int = Field(default=1 << 26, ge=1)
    share_prefixes: bool = True
    min_shared: int = Field(default=16, ge=1)
    autocast: Literal["", "bfloat16"] = ""

    returns: tuple[Transform, ...] = ()
    channels: dict[str, Channel] = {"outcome": Channel()}
    whiten: bool = False
    field: WeightField = WeightField()
    ratio: Ratio = Ratio()
    coefficient: Coefficient = Coefficient()
    off_policy: Coefficient | None = None
    link: Link | None = None
    divergences: dict[str, Divergence] = Field(default_factory=dict)
    reference: Reference = Reference()
    critic: Critic | None = None
    hindsight: Hindsight | None = None
    lora: Lora | None = None
    aggregation: Aggregation = Aggregation()
    auxiliary: dict[str, AuxiliarySettings] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("algorithm", "grpo")
        if name not in PRESETS:
            raise ValueError(f"no algorithm {name!r}; there are: {', '.join(sorted(PRESETS))}")
        return merge(PRESETS[name], given)

    @model_validator(mode="after")
    def _terms_fit(self) -> LearnerSettings:
        for name, d in self.divergences.items():
            if d.place == "reward" and (d.estimator == "full" or d.target == "uniform"):
                raise ValueError(
                    f"divergences.{name}: only a sampled estimator to a reference goes into the "
                    "reward"
                )
            if d.direction == "jsd" and d.estimator != "full":
                raise ValueError(f"divergences.{name}: jsd needs estimator: full")
            if d.target == "hinted" and (d.place == "reward" or self.ratio.hints == "keep"):
                raise ValueError(
                    f"divergences.{name}: target hinted goes into the loss, and needs "
                    "ratio.hints: strip"
                )
            if d.direction == "forward" and d.estimator == "k3_ratio":
                raise ValueError(f"divergences.{name}: k3_ratio is an estimator of reverse KL")
        if self.coefficient.quantile is not None:
            raise ValueError("coefficient.quantile: only off_policy takes gamma from the ratios")
        others = [n for n in ("critic", "hindsight") if getattr(self, n) is not None]
        if self.link is not None and others:
            raise ValueError(f"link and {others[0]} do not go together: set one")
        return self

    @model_validator(mode="after")
    def _schedule_has_an_end(self) -> LearnerSettings:
        if self.schedule != "constant" and self.total_steps is None:
            raise ValueError(f"schedule {self.schedule!r} needs total_steps")
        return self
