"""Optuna's samplers as searchers (Akiba et al. 2019, arXiv 1907.10902), alone or several processes on one study."""

import os
import time
import warnings
from abc import abstractmethod
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from agents.base import Evaluation, Searcher, Trial
from agents.optuna_storage import StorageError, answering, open_storage
from agents.storage_files import check_storage

_ATTEMPTS = 3
_SETTLE_S = 1.0
_WIDTHS, _OWN_COST = "widths", "own_cost"


class OptunaSearcher(Searcher):
    """Lets an Optuna sampler choose the keep ratio of every group; its proposals are projected onto the budget.

    Args:
        storage: Where Optuna keeps the study, such as `sqlite:///study.db`, `postgresql://...` or `journal.log`; in
            this process where None. Processes that search the same problem with the same storage share one study and
            its evaluations. A shared search depends on who was faster, so it is not repeated exactly.

    Raises:
        UsageError: The storage cannot be one.
    """

    def __init__(self, storage: str | None = None) -> None:
        if storage is not None:
            check_storage(storage)
        self._storage = storage

    @abstractmethod
    def sampler(self, trial: Trial, seed: int) -> optuna.samplers.BaseSampler:
        """Returns a fresh sampler."""

    def propose(self, trial: Trial, seed: int) -> None:
        """Asks, evaluates and tells until no evaluation is left."""
        with warnings.catch_warnings(), ExitStack() as quiet:
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            quiet.callback(optuna.logging.set_verbosity, optuna.logging.get_verbosity())  # the caller's
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            if self._storage is None:
                study = optuna.create_study(sampler=self.sampler(trial, seed), direction="maximize")
                while trial.left:
                    self._step(trial, study)
                return
            self._share(trial, self._open(trial, seed, self._storage))

    def _step(self, trial: Trial, study: optuna.Study) -> None:
        space = trial.problem.space
        with self._asking():
            asked = study.ask()
            ratios = np.array([[asked.suggest_float(name, space.least, 1.0) for name in space.table.names]])
        own_cost = space.relative(space.widths(ratios))
        widths = space.project(ratios)
        fitness = float(trial.problem.fitness(trial.evaluate(widths, own_cost))[0])
        with self._asking(), suppress(UpdateFinishedTrialError):  # given up by those who waited for it
            if self._storage is not None:
                asked.set_user_attr(_WIDTHS, widths[0].tolist())
                asked.set_user_attr(_OWN_COST, float(own_cost[0]))
            study.tell(asked, fitness)

    def _asking(self) -> AbstractContextManager[None]:
        return nullcontext() if self._storage is None else answering(self._storage, "cannot go on with")

    def _open(self, trial: Trial, seed: int, storage: str) -> optuna.Study:
        """Opens the study of this problem; a worker's own draws must differ from every other worker's."""
        name = f"{self.name} {trial.problem.digest} seed {seed}"
        for attempt in range(_ATTEMPTS):
            try:
                with answering(storage, "cannot open"):
                    study = optuna.create_study(
                        storage=open_storage(storage), study_name=name, load_if_exists=True, direction="maximize"
                    )
                    entropy = [seed, len(study.get_trials(deepcopy=False)), os.getpid()]
                break
            except StorageError:
                if attempt + 1 == _ATTEMPTS:
                    raise
                time.sleep(1)  # two processes may be making the tables of a new database
        study.sampler = self.sampler(trial, int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        return study

    def _share(self, trial: Trial, study: optuna.Study) -> None:
        """Works on a study until it is complete, whoever does it."""
        while True:
            with self._asking():
                done = _complete(study)
            trial.adopt([_evaluation(each) for each in done[: trial.evaluations]])
            if len(done) >= trial.evaluations:
                break
            self._step(trial, study)
        with self._asking():
            done = _settled(study, trial.evaluations)
        trial.adopt([_evaluation(each) for each in done])


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    """Returns what is finished, by number: the clocks of those who finished it may differ."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted((each for each in done if _WIDTHS in each.user_attrs), key=lambda each: each.number)


def _settled(study: optuna.Study, evaluations: int) -> list[FrozenTrial]:
    """Returns the history that every process ends with.

    An evaluation that began before the last one that counts is waited for, since it would move those behind it. One
    that takes longer than all others took is given up: its process was killed.
    """
    begin = time.monotonic()
    while True:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        done = _complete(study)[:evaluations]  # after it, so that what ends in between is not missed
        late = [each for each in running if each.number < done[-1].number]
        if not late:
            return done
        longest = max((each.duration.total_seconds() for each in done if each.duration), default=0.0)
        if time.monotonic() - begin > _SETTLE_S + 2 * longest:
            for each in late:
                with suppress(UpdateFinishedTrialError):  # just in time
                    study.tell(each.number, state=TrialState.FAIL, skip_if_finished=True)
        time.sleep(_SETTLE_S / 10)


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
