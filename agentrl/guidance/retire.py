"""Choice 7: when help begins, fades and ends."""

from __future__ import annotations

import math

from agentrl.guidance.settings import Retirement


def on_duty(retirement: Retirement, step: int, total: int) -> bool:
    """Whether there is help in a step (from 1) of `total`."""
    exempt = max(retirement.exempt_steps, math.floor(retirement.exempt_share * total + 1e-9))
    return step > exempt and (retirement.until is None or step <= retirement.until)


def highest_level(retirement: Retirement, top: int, step: int) -> int:
    """The most help that a step may give, of a ladder with `top` levels."""
    if retirement.fade_by is None:
        return top
    left = max(1.0 - (step - 1) / retirement.fade_by, 0.0)
    floor = min(retirement.fade_to, top)
    return floor + math.ceil((top - floor) * left - 1e-9)
