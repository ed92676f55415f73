"""Which multiple of channels is worth asking for: networks of equal cost, really pruned, timed side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from profilesearch.errors import UsageError
from profilesearch.measure.speed import measure_speed
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.identity import code_identity
from profilesearch.networks.latency import default_cache, device_name
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget, Scope
from profilesearch.system.amounts import is_number
from profilesearch.system.files import read_cache, write_json

MULTIPLES = (1, 2, 4, 8, 16, 32)
_RANDOM = 2
_WORTH = 0.05
_OFF = 0.02
_LEAST = 1e-9
Times = dict[int, tuple[float, float]]
"""Mean milliseconds of one image, and of 64, by multiple."""


def multiple_times(
    plan: Plan, budget: Budget, scope: Scope, cache: Path | None = None, device: torch.device | None = None
) -> Times:
    """Times the uniform and two random profiles under a budget, rounded to each multiple that meets it.

    The times are kept by device, so that the choice, and all that depends on it, stays the same.

    Args:
        plan: Of the network.
        budget: What profiles may cost.
        scope: Which groups they touch.
        cache: File of the times; that of the user where None.
        device: Where to time them; the processor where None.

    Raises:
        UsageError: No multiple reaches the budget.
    """
    file = cache or default_cache().with_name("multiples.json")
    code = code_identity(plan.network, plan.image_shape)
    key = f"{plan.table.within(scope).fingerprint} {code} {tuple(plan.example.shape)} {scope} {budget}"
    known, where = read_cache(file, _is_times), device_name(device)
    if key not in known.get(where, {}):
        times = {str(multiple): list(pair) for multiple, pair in _measure(plan, budget, scope, device).items()}
        known.setdefault(where, {})[key] = times
        write_json(file, known)
    return {int(multiple): (pair[0], pair[1]) for multiple, pair in known[where][key].items()}


def best_multiple(times: Mapping[int, tuple[float, float]]) -> int:
    """Returns the multiple of the fastest networks; 1, which leaves a search the most room, unless 5 % are gained."""
    means = {multiple: float(np.prod(pair)) ** 0.5 for multiple, pair in times.items()}
    best = min(means, key=lambda multiple: means[multiple])
    smallest = min(means)
    return best if means[best] < means[smallest] * (1 - _WORTH) else smallest


def _measure(plan: Plan, budget: Budget, scope: Scope, device: torch.device | None) -> Times:
    networks, owners = [], []
    for multiple in MULTIPLES:
        try:
            space = plan.space(budget, scope, multiple)
        except UsageError:
            continue
        rows = np.concatenate([space.uniform()[None], space.sample(_RANDOM, np.random.default_rng(0))])
        if multiple > 1 and abs(space.relative(rows).mean() / budget.keep - 1) > _OFF:
            continue  # faster only because smaller
        order = rank_channels(plan.network, space.table, "l1")
        pruner = Pruner(plan.network, space.table)
        networks += [pruner.prune(keep_channels(order, space.table, row)).to(device) for row in rows]
        owners += [multiple] * len(rows)
    if not networks:
        plan.space(budget, scope)  # says why
    speeds = measure_speed(networks, tuple(plan.example.shape[1:]))  # type: ignore[arg-type]
    return {
        multiple: (
            float(np.mean([s.median(1) for s, owner in zip(speeds, owners, strict=True) if owner == multiple])),
            float(np.mean([s.median(64) for s, owner in zip(speeds, owners, strict=True) if owner == multiple])),
        )
        for multiple in dict.fromkeys(owners)
    }


def _is_times(value: Any) -> bool:
    """Says whether something is `Times` as JSON."""
    if not isinstance(value, dict) or not value or not value.keys() <= set(map(str, MULTIPLES)):
        return False
    pairs = value.values()
    return all(
        isinstance(pair, list) and len(pair) == 2 and all(is_number(ms, _LEAST) for ms in pair) for pair in pairs
    )
