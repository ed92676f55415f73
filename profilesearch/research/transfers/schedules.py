"""How sparsity grows while a network is trained."""

RAMP = 0.7
"""Part of the training in which the level is reached; the rest recovers at that level."""


def cubic(level: float, step: int, steps: int) -> float:
    """Returns the level at a step: fast at first, slowly at the end (Zhu and Gupta 2017, arXiv 1710.01878)."""
    done = min(1.0, step / max(1, RAMP * steps))
    return level * (1 - (1 - done) ** 3)


def growing(step: int, steps: int) -> bool:
    """Says whether the level is still to be reached at a step."""
    return step < RAMP * steps
