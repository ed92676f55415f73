"""What can be asked for of scores, by name: read without torch, which takes seconds."""

from typing import Literal

from profilesearch.profiles import Metric

Measure = Literal["accuracy", "loss", "divergence"]
MEASURES: tuple[Measure, ...] = ("accuracy", "loss", "divergence")
ACCURACY, LOSS, DIVERGENCE = MEASURES
"""What a score measures of a pruned network's outputs."""
SHOWN: dict[Measure, str] = {"accuracy": "accuracy", "loss": "exp(-loss)", "divergence": "exp(-divergence)"}
"""Their names for people."""
Statistics = Literal["sample", "batch", "reestimate", "none"]
STATISTICS: tuple[Statistics, ...] = ("sample", "batch", "reestimate", "none")
"""Where BatchNorm takes its statistics from."""
LOCAL, PROCESSES, RAY = ENGINES = ("local", "processes", "ray")
"""Where profiles are scored."""
NO_RAY = "the engine ray needs Ray; install it with: pip install 'profilesearch[ray]'"
"""What is said where it is not installed."""
MEAN, WORST, CVAR = OVER_MEMBERS = ("mean", "worst", "cvar")
"""What is made of gains over the members of a pool."""
TARGET_WEIGHT = 1.0
"""How much a relative distance of 100 % from the budget costs a reward, in units of relative accuracy."""
MIXED_WEIGHT = 4.0
"""The same over several architectures, in spreads of random profiles: these are a quarter of the accuracy, or less."""
MIXED_METRICS: tuple[Metric, ...] = ("macs", "params")
"""Of budgets over several architectures."""
