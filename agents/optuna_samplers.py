"""Optuna's samplers as searchers (Akiba et al. 2019, arXiv 1907.10902), alone or several processes on one study."""

import os
import time
import warnings
from abc import abstractmethod
from datetime import datetime

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from agents.base import Evaluation, Searcher, Trial
from profilesearch.errors import UsageError

_ATTEMPTS = 3
_SETTLE_S = 1.0  # in which evaluations that ended before the last one are written by whoever made them
_WIDTHS, _OWN_COST = "widths", "own_cost"


class OptunaSearcher(Searcher):
    """Lets an Optuna sampler choose the keep ratio of every group; its proposals are projected onto the budget.

    Args:
        storage: Where Optuna keeps the study, such as `sqlite:///study.db`, `postgresql://...` or `journal.log`; in
            this process where None. Processes that search the same problem with the same storage share one study and
            its evaluations. A shared search depends on who was faster, so it is not repeated exactly.
    """

    def __init__(self, storage: str | None = None) -> None:
        self._storage = storage

    @abstractmethod
    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns a fresh sampler."""

    def propose(self, trial: Trial, seed: int) -> None:
        """Asks, evaluates and tells until no evaluation is left."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            if self._storage is None:
                study = optuna.create_study(sampler=self.sampler(trial, seed), direction="maximize")
                while trial.left:
                    self._step(trial, study)
                return
            study = self._open(trial, seed, self._storage)
            self._share(trial, study)

    def _step(self, trial: Trial, study: optuna.Study) -> None:
        space = trial.problem.space
        asked = study.ask()
        ratios = np.array([[asked.suggest_float(name, space.least, 1.0) for name in space.table.names]])
        own_cost = space.relative(space.widths(ratios))
        widths = space.project(ratios)
        fitness = float(trial.problem.fitness(trial.evaluate(widths, own_cost))[0])
        if self._storage is not None:
            asked.set_user_attr(_WIDTHS, widths[0].tolist())
            asked.set_user_attr(_OWN_COST, float(own_cost[0]))
        study.tell(asked, fitness)

    def _open(self, trial: Trial, seed: int, storage: str) -> optuna.Study:
        """Opens the study of this problem; a worker's own draws must differ from every other worker's."""
        name = f"{self.name} {trial.problem.digest} seed {seed}"
        for attempt in range(_ATTEMPTS):
            try:
                study = optuna.create_study(
                    storage=_storage(storage), study_name=name, load_if_exists=True, direction="maximize"
                )
                entropy = [seed, len(study.get_trials(deepcopy=False)), os.getpid()]
                break
            except Exception as error:  # of whichever database it is
                if attempt + 1 < _ATTEMPTS:  # two processes may be making the tables of a new database
                    time.sleep(1)
                    continue
                raise UsageError(
                    f"cannot open the Optuna storage {storage}: {str(error).splitlines()[0]}; give sqlite:///FILE, the "
                    "URL of a database, or a file for a journal"
                ) from error
        study.sampler = self.sampler(trial, int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        return study

    def _share(self, trial: Trial, study: optuna.Study) -> None:
        """Works on a study until it is complete, whoever does it."""
        while len(done := _complete(study)) < trial.evaluations:
            trial.adopt([_evaluation(each) for each in done])
            self._step(trial, study)
        time.sleep(_SETTLE_S)
        trial.adopt([_evaluation(each) for each in _complete(study)[: trial.evaluations]])


def _storage(name: str) -> str | optuna.storages.BaseStorage:
    if "://" in name:
        return name
    return optuna.storages.JournalStorage(JournalFileBackend(name))


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    """Returns what is finished in the order of finishing: an evaluation that ends late cannot move those before it."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted((each for each in done if _WIDTHS in each.user_attrs), key=_finished)


def _finished(done: FrozenTrial) -> tuple[datetime, int]:
    assert done.datetime_complete is not None  # noqa: S101  it is complete
    return done.datetime_complete, done.number


def _evaluation(done: FrozenTrial) -> Evaluation:
    assert done.value is not None  # noqa: S101  it is complete
    return Evaluation(np.array(done.user_attrs[_WIDTHS]), done.value, done.user_attrs[_OWN_COST])


class TpeSearcher(OptunaSearcher):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate."""

    name = "tpe"

    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns the sampler."""
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=self._storage is not None)


class CmaEsSearcher(OptunaSearcher):
    """Covariance matrix adaptation (Hansen 2016, arXiv 1604.00772).

    It starts from the middle of the ratios, which is the uniform profile once projected.
    """

    name = "cmaes"

    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns the sampler."""
        return optuna.samplers.CmaEsSampler(seed=seed)
