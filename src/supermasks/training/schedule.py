"""Schedules of the learning rate."""

from math import cos, pi
from typing import Literal

Schedule = Literal["constant", "cosine"]


def rate_factor(schedule: Schedule, warmup: float, step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step.

    In the first `w = round(warmup * steps)` steps it is `step / w`. After them it is 1 ("constant"), or
    `(1 + cos(pi * t)) / 2` ("cosine"), where `t = (step - 1 - w) / (steps - w)` rises from 0 to nearly 1.

    Args:
        schedule: "constant" or "cosine".
        warmup: the fraction of all steps over which the rate rises, at least 0 and below 1.
        step: from 1.
        steps: of the whole training.

    Example:
        >>> [round(rate_factor("cosine", 0.4, step, 5), 2) for step in range(1, 6)]
        [0.5, 1.0, 1.0, 0.75, 0.25]
    """
    rising = round(warmup * steps)
    if step <= rising:
        return step / rising
    if schedule == "constant":
        return 1.0
    return (1 + cos(pi * (step - 1 - rising) / (steps - rising))) / 2
