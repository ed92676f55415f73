"""What can be asked for of networks, by name: read without torch, which takes seconds."""

from typing import Literal

Criterion = Literal["random", "l1", "l2", "fpgm", "bn", "taylor", "reconstruction"]
CRITERIA: tuple[Criterion, ...] = ("random", "l1", "l2", "fpgm", "bn", "taylor", "reconstruction")
"""Which channels of a group stay."""
SEEING: tuple[Criterion, ...] = ("taylor", "reconstruction")
"""Criteria that look at images."""
DRAWN: tuple[Criterion, ...] = ("random",)
"""Those that the seed matters to."""
AUTO = "auto"
"""Stands for what is found out by measurement: the best refit, the fastest multiple of channels."""
Inputs = Literal["sequential", "full"]
INPUTS: tuple[Inputs, ...] = ("sequential", "full")
"""On what layers are refitted."""
REFITS = (AUTO, *INPUTS, "none")
"""What may be asked for: `auto` finds out what is best, `none` leaves all weights as they were cut."""
UNIFORM, WIDEST, TAPER, RANDOM = UNSEARCHED = ("uniform", "widest", "taper", "random")
"""Profiles that need no search."""
CONTENDERS = (UNIFORM, WIDEST)
"""What every search must beat."""
POLICY = "policy"
NAMED = (*UNSEARCHED, POLICY)
"""Profiles by name, none of which needs a search on the network at hand."""
