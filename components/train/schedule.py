"""The learning rate over a run."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Returns the learning rate of a step: a linear rise, then half a cosine down to zero.

    For a step `s` of `T` with `W` steps of warm-up the rate is `peak * (s + 1) / W` while `s < W`
    and `peak * (1 + cos(pi * (s - W) / (T - W))) / 2` after (Loshchilov and Hutter, 2017).

    Args:
        step: Steps done so far, 0 to total_steps - 1.
        peak: Largest learning rate.
        warmup_steps: Steps of the rise.
        total_steps: Steps of the whole run.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
