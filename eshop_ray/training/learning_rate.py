"""How fast each step learns."""

import math


def cosine_rate(step: int, num_steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate of a step: a linear climb, then half a cosine down to zero."""
    num_warmup = max(1, round(num_steps * warmup_share))
    if step < num_warmup:
        return peak * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - num_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
