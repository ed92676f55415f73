"""Which hyperparameters make PPO a good searcher? Asked of a model of the scores, where a search takes seconds.

Fits a Gaussian process to the scores of a ledger that lie on the budget, and searches it with PPO under several
settings and with the other searchers. What a search sees has noise like that of a thousand images; the table shows the
noise-free value of its winner and of the policy's own profile, and how far the policy's own cost is off the budget.
Where the process is uncertain it counts less, by its standard deviation, so that nobody gains from leaving the data.

    python benchmarks/tune_ppo.py --arch resnet56 --ledger runs/ledger.jsonl --evaluations 300 --seeds 5
"""

import argparse
import copy
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from agents import SEARCHERS, PpoSearcher, PpoSettings, Searcher
from profilesearch.measure.intervals import mean_interval
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget

NOISE = 0.006
FIT, SCREEN = 1200, 900
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "16 episodes, learning rate 1e-3": {"episodes": 16, "learning_rate": 1e-3},
    "wider": {"log_std": -0.5},
    "narrower": {"log_std": -1.2},
    "learning rate 5e-3": {"learning_rate": 5e-3},
    "learning rate 1e-3": {"learning_rate": 1e-3},
    "4 episodes": {"episodes": 4},
    "16 episodes": {"episodes": 16},
    "target weight 0.5": {"target_weight": 0.5},
    "target weight 2": {"target_weight": 2.0},
    "clip 0.3": {"clip": 0.3},
    "entropy 0.003": {"entropy": 0.003},
}


class ModelledProblem:
    """A problem whose scores come from a Gaussian process; what searchers need of `Problem`, and no more."""

    def __init__(self, space: ProfileSpace, ledgers: list[Path]) -> None:
        self.space = space
        self.members = (None,)
        widths, scores = _scores(space, ledgers)
        inputs = self._inputs(widths)
        kernel = ConstantKernel(4.0, (0.5, 50)) * RBF(3.0 * np.ones(space.size if space.size < 12 else 1), (0.5, 30))
        kernel += WhiteKernel(0.05, (1e-3, 0.5))
        train = min(SCREEN, int(0.85 * len(scores)))
        fitted = GaussianProcessRegressor(kernel, normalize_y=True).fit(inputs[:train], scores[:train])
        predicted, held_out = fitted.predict(inputs[train:]), scores[train:]
        quality = 1 - ((predicted - held_out) ** 2).sum() / ((held_out - held_out.mean()) ** 2).sum()
        rank = spearmanr(predicted, held_out).statistic
        fit = f"held-out R2 {quality:.3f}, rank correlation {rank:.3f}"
        print(f"{len(scores)} scores, {scores.min():.3f} to {scores.max():.3f}; {fit}", flush=True)
        self._process = GaussianProcessRegressor(fitted.kernel_, normalize_y=True, optimizer=None)
        self._process.fit(inputs[:FIT], scores[:FIT])
        self._floor = np.sqrt(np.exp(fitted.kernel_.theta[-1])) * scores[:FIT].std()

    def value(self, widths: np.ndarray) -> np.ndarray:
        """Noise-free value of profiles (N, G)."""
        mean, deviation = self._process.predict(self._inputs(np.atleast_2d(widths)), return_std=True)
        return np.asarray(np.clip(mean - np.maximum(deviation - self._floor, 0), 0, 1))

    def evaluate(self, widths: np.ndarray, part: str = "search", each: Callable[..., None] | None = None) -> np.ndarray:
        """Values with noise that depends on profile and part alone, (N, 1)."""
        seeds = [int(hashlib.sha256(f"{part} {row.tolist()}".encode()).hexdigest()[:8], 16) for row in widths]
        noise = np.array([np.random.default_rng(seed).normal() for seed in seeds])
        accuracies = (self.value(widths) + NOISE * noise)[:, None]
        for index, row in enumerate(accuracies):
            if each:
                each(index, row)
        return accuracies

    def base(self, part: str = "search") -> np.ndarray:
        """The scores are relative already."""
        return np.ones(1)

    def fitness(self, accuracies: np.ndarray, part: str = "search") -> np.ndarray:
        """Mean over the one member."""
        return np.asarray(np.mean(accuracies, axis=-1))

    def with_budget(self, budget: Budget) -> "ModelledProblem":
        """The same scores under another budget."""
        other = copy.copy(self)
        other.space = replace(self.space, budget=budget)
        return other

    def _inputs(self, widths: np.ndarray) -> np.ndarray:
        return np.log(widths / self.space.table.channels)


def _scores(space: ProfileSpace, ledgers: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Profiles on the budget with their relative scores, of the model and settings with the most of them."""
    by_scorer: dict[str, dict[tuple[int, ...], float]] = defaultdict(dict)
    for ledger in ledgers:
        for line in ledger.read_text().splitlines():
            row = json.loads(line.partition(" ")[2])
            if row.get("part") == "search" and len(row["widths"]) == space.size:
                by_scorer[row["key"].partition("-")[0]][tuple(row["widths"])] = row["score"]
    scored = max(by_scorer.values(), key=len)
    base = scored[tuple(space.table.channels.tolist())]
    widths = np.array(list(scored))
    scores = np.array(list(scored.values())) / base
    there = np.abs(space.relative(widths) / space.budget.keep - 1) < 0.01
    order = np.random.default_rng(0).permutation(int(there.sum()))
    return widths[there][order], scores[there][order]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet56")
    parser.add_argument("--ledger", type=Path, nargs="+", required=True)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    space = Plan(options.arch, build(options.arch, 10), (3, 32, 32)).space(Budget("macs", options.keep))
    problem = ModelledProblem(space, options.ledger)
    searchers: dict[str, Searcher] = {name: SEARCHERS[name]() for name in ("random", "tpe", "cmaes")}
    searchers |= {f"ppo, {name}": PpoSearcher(PpoSettings(**changes)) for name, changes in VARIANTS.items()}
    print(f"{'searcher':40} {'winner':>16} {'policy':>16} {'miss':>7}   ({options.evaluations} evaluations)")
    for name, searcher in searchers.items():
        results = [searcher.search(problem, options.evaluations, seed) for seed in range(options.seeds)]  # type: ignore[arg-type]
        cells = [_cell([float(problem.value(r.winner.evaluation.widths)[0]) for r in results])]
        policies = [r.policy.evaluation for r in results if r.policy]
        if policies:
            cells.append(_cell([float(problem.value(policy.widths)[0]) for policy in policies]))
            cells.append(f"{np.mean([abs(policy.own_cost / options.keep - 1) for policy in policies]):7.2%}")
        print(f"{name:40} {' '.join(cells)}", flush=True)


def _cell(values: list[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.4f} ± {half:.4f}"


if __name__ == "__main__":
    main()
