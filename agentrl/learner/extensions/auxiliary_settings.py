"""Settings of the auxiliary losses (see auxiliary.py)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LastTokenLoss(BaseModel):
    """LaSeR (paper 7): the policy says of its own answer whether it is right, by the
    log-probability of one unused token behind it.

        r_s = beta * (log pi(token | x, y) - c_ref)
        loss = coefficient * mean_i[m_i w_i (r_s_i - r_v_i)^2]

    r_v is 1 for a reward over 0.5 and 0 else; m_i is 0 for answers that were cut off; the weights
    w make right and wrong answers count alike, N / (2 N_class).

    Attributes:
        token: id of an unused special token.
        c_ref: mean log-probability of the token under the policy at the start (Qwen2.5: -23);
            null asks the reference for that of each answer.
        verdict: name of the score that says what is right; "" takes the reward as it was before
            transforms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["last_token"] = "last_token"
    token: int = Field(ge=0)
    c_ref: float | None = -23.0
    beta: float = Field(default=0.1, gt=0)
    coefficient: float = Field(default=0.1, gt=0)
    verdict: str = ""


class ReferenceLoss(BaseModel):
    """Cross entropy on `Task.reference[reference]` behind what the policy said: the gradient of a
    log-probability reward by the policy's own parameters (paper 56), or plain imitation of
    references.

        loss = -coefficient * mean_i[sum or mean over t of log pi(a*_t | x, z_i, a*_<t)]

    Attributes:
        bridge: text between what was said and the reference.
        reduce: as in the reward `reference_likelihood`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["reference"] = "reference"
    reference: str = "answer"
    bridge: str = "\nAnswer: "
    reduce: Literal["mean", "sum"] = "mean"
    coefficient: float = Field(default=1.0, gt=0)


AuxiliarySettings = Annotated[LastTokenLoss | ReferenceLoss, Field(discriminator="kind")]
