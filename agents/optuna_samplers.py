"""Optuna's samplers as searchers (Akiba et al. 2019, arXiv 1907.10902)."""

import warnings
from abc import abstractmethod

import numpy as np
import optuna

from agents.base import Searcher, Trial


class OptunaSearcher(Searcher):
    """Lets an Optuna sampler choose the keep ratio of every group; its proposals are projected onto the budget."""

    @abstractmethod
    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns a fresh sampler."""

    def propose(self, trial: Trial, seed: int) -> None:
        """Asks, evaluates and tells until no evaluation is left."""
        space = trial.problem.space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            study = optuna.create_study(sampler=self.sampler(trial, seed), direction="maximize")
            while trial.left:
                asked = study.ask()
                ratios = np.array([[asked.suggest_float(name, space.least, 1.0) for name in space.table.names]])
                own_cost = space.relative(space.widths(ratios))
                accuracies = trial.evaluate(space.project(ratios), own_cost)
                study.tell(asked, float(trial.problem.fitness(accuracies)[0]))


class TpeSearcher(OptunaSearcher):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate."""

    name = "tpe"

    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns the sampler."""
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)


class CmaEsSearcher(OptunaSearcher):
    """Covariance matrix adaptation (Hansen 2016, arXiv 1604.00772).

    It starts from the middle of the ratios, which is the uniform profile once projected.
    """

    name = "cmaes"

    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns the sampler."""
        return optuna.samplers.CmaEsSampler(seed=seed)
