"""The one contract of all searchers: problem, evaluations and seed in, a result with its history out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from envs.reward import reward
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import CONTENDERS
from profilesearch.networks.rivals import rivals_of
from profilesearch.scoring.names import TARGET_WEIGHT
from profilesearch.scoring.problem import Problem
from profilesearch.system.amounts import LARGEST_SEED, whole_number
from profilesearch.tasks.splits import Part

HISTORY, POLICY = "history", "policy"
"""Where finalists are from that a search proposed."""
BEST = 8
"""How many of a search's best profiles are scored again, on other images."""
FINALISTS = BEST + len(CONTENDERS)
"""How many profiles are, at most: those that need no search are always among them, and cost it no evaluation."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One profile that a searcher tried.

    Attributes:
        widths: On the budget surface, shape (G,).
        fitness: Mean accuracy relative to the unpruned models, on search images.
        own_cost: Relative cost that the searcher itself proposed, before the projection.
        is_policy: Whether it is the deterministic profile of a policy.
    """

    widths: IntArray
    fitness: float
    own_cost: float
    is_policy: bool = False


@dataclass(frozen=True, eq=False)
class Finalist:
    """A profile that was scored again, on images that the search never saw.

    Attributes:
        evaluation: Its first score.
        choose: Mean accuracy relative to the unpruned models, on the images that choose the winner. The winner's is the
            largest of several, and so too high on average.
        fresh: Likewise on other images, which choose nothing.
        origin: `uniform` or `widest` where it is that profile, whoever proposed it; else `policy` or `history`.
    """

    evaluation: Evaluation
    choose: float
    fresh: float
    origin: str = HISTORY


@dataclass(frozen=True, eq=False)
class Result:
    """What a search found.

    Attributes:
        searcher: Its name.
        seed: Of the search.
        history: Every evaluation, in order.
        finalists: The best of them on search images, the policy's own profile, the uniform and the widest one, scored
            again on other images.
        policy: The policy's own profile, for searchers that have a policy: of its deterministic profiles after each
            update, the one with the highest reward on search images.
        changed: Hyperparameters of the searcher that are not as they are by default.
    """

    searcher: str
    seed: int
    history: tuple[Evaluation, ...]
    finalists: tuple[Finalist, ...]
    policy: Finalist | None = None
    changed: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def winner(self) -> Finalist:
        """The finalist that holds up best on the images that choose."""
        return max(self.finalists, key=lambda finalist: finalist.choose)

    @property
    def kept_rival(self) -> bool:
        """Whether a search ended with a profile that needs none."""
        return self.winner.origin in CONTENDERS and self.searcher not in CONTENDERS

    def best_so_far(self) -> FloatArray:
        """Best fitness on search images after each evaluation, shape (evaluations,)."""
        return np.maximum.accumulate([evaluation.fitness for evaluation in self.history])


Progress = Callable[[int, int, float], None]
"""Called after every evaluation with evaluations done, evaluations in all, and the best fitness so far (over many
architectures, the mean gain of the last fifty)."""


class Trial:
    """Counts and records the evaluations of one search.

    Args:
        problem: What is solved.
        evaluations: How many the search may use.
        progress: Called after each.

    Attributes:
        problem: As given.
        history: What was evaluated so far.
    """

    def __init__(self, problem: Problem, evaluations: int, progress: Progress | None) -> None:
        self.problem = problem
        self.evaluations = evaluations
        self.history: list[Evaluation] = []
        self._progress = progress
        self._best = -np.inf

    @property
    def left(self) -> int:
        """Evaluations that may still be used."""
        return self.evaluations - len(self.history)

    def evaluate(self, widths: IntArray, own_cost: FloatArray | None = None, is_policy: bool = False) -> FloatArray:
        """Evaluates profiles on the budget surface.

        Args:
            widths: Shape (N, G), N at most `left`.
            own_cost: Relative costs before the projection, shape (N,); those of the widths where None.
            is_policy: Marks the deterministic profile of a policy.

        Returns:
            Accuracies on search images, shape (N, M).

        Raises:
            UsageError: One of them costs more than the budget, by more than whole widths explain.
        """
        if len(widths) > self.left:
            raise ValueError(f"{len(widths)} profiles proposed, but only {self.left} evaluations are left")
        space = self.problem.space
        reached = space.relative(widths)
        if (reached > space.most).any():
            raise UsageError(
                f"a profile of {reached.max():.3f} of the {space.budget.metric} was proposed for a budget of "
                f"{space.budget.keep:g}; what a searcher evaluates is moved onto the budget by space.project"
            )
        costs = reached if own_cost is None else own_cost

        def record(index: int, accuracies: FloatArray) -> None:
            fitness = float(self.problem.fitness(accuracies))
            self.history.append(Evaluation(widths[index], fitness, float(costs[index]), is_policy))
            self._best = max(self._best, fitness)
            if self._progress:
                self._progress(len(self.history), self.evaluations, self._best)

        return self.problem.evaluate(widths, each=record)

    def adopt(self, history: list[Evaluation]) -> None:
        """Takes over the whole history of a search that several processes share."""
        self.history = history
        self._best = max((evaluation.fitness for evaluation in history), default=-np.inf)
        if self._progress and history:
            self._progress(len(history), self.evaluations, self._best)

    def fitness(self, widths: IntArray) -> FloatArray:
        """Evaluates profiles of shape (N, G) and returns their fitness, shape (N,)."""
        return self.problem.fitness(self.evaluate(widths))


class Searcher(ABC):
    """Proposes profiles on the budget surface, within a number of evaluations."""

    name: str
    """As on the command line."""
    searches: bool = True
    """Whether it is a search, whose finalists the uniform and the widest profile join."""
    seeded: bool = True
    """Whether the seed has an influence; where it has none, more seeds find nothing else, and one is enough."""
    target_weight: float = TARGET_WEIGHT
    """Of the reward's target term, by which the best of a policy's own profiles is told."""

    def search(self, problem: Problem, evaluations: int, seed: int = 0, progress: Progress | None = None) -> Result:
        """Searches, then scores the finalists again: on images that choose the winner, and on fresh ones.

        The result depends on the arguments alone: with the scores of an interrupted search in the problem's ledger,
        the same call replays them and goes on.

        Args:
            problem: What to solve.
            evaluations: How many profiles may be scored; a searcher with fewer candidates uses fewer.
            seed: Of all random choices.
            progress: Called after every evaluation.

        Raises:
            UsageError: Evaluations or seed are no whole numbers, or out of range.
        """
        evaluations, seed = whole_number("evaluations", evaluations, 1), whole_number("seed", seed, 0, LARGEST_SEED)
        trial = Trial(problem, evaluations, progress)
        self.propose(trial, seed)
        return self._conclude(trial, seed)

    @abstractmethod
    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates profiles through `trial` until it has none left, or the searcher has no more to propose."""

    def changed(self) -> Mapping[str, float | str]:
        """Returns the hyperparameters that are not as they are by default, for the record; most searchers have none."""
        return {}

    def _conclude(self, trial: Trial, seed: int) -> Result:
        own, rivals = self._own(trial), rivals_of(trial.problem.space)
        ranked = sorted(trial.history, key=lambda evaluation: -evaluation.fitness)
        chosen: dict[bytes, Evaluation] = {own.widths.tobytes(): own} if own else {}
        for evaluation in ranked:
            if len(chosen) == BEST:
                break
            chosen.setdefault(evaluation.widths.tobytes(), evaluation)
        if self.searches:
            for evaluation in _evaluated(trial.problem, list(rivals.values())):
                chosen.setdefault(evaluation.widths.tobytes(), evaluation)
        origins = {own.widths.tobytes(): POLICY} if own else {}
        origins |= {widths.tobytes(): name for name, widths in rivals.items()}
        problem, candidates = trial.problem, list(chosen.values())
        widths, parts = np.array([c.widths for c in candidates]), tuple[Part, ...](("choose", "fresh"))
        again = [problem.fitness(problem.evaluate(widths, part), part) for part in parts]
        finalists = tuple(
            Finalist(c, float(choose), float(fresh), origins.get(c.widths.tobytes(), HISTORY))
            for c, choose, fresh in zip(candidates, *again, strict=True)
        )
        policy = finalists[0] if own else None
        return Result(self.name, seed, tuple(trial.history), finalists, policy, self.changed())

    def _own(self, trial: Trial) -> Evaluation | None:
        keep = trial.problem.space.budget.keep

        def earned(evaluation: Evaluation) -> float:
            fitness, own_cost = np.array(evaluation.fitness), np.array(evaluation.own_cost)
            return float(reward(fitness, own_cost, keep, self.target_weight))

        return max((e for e in trial.history if e.is_policy), key=earned, default=None)


def _evaluated(problem: Problem, profiles: list[IntArray]) -> list[Evaluation]:
    """Scores profiles on search images as a search does, but for none of its evaluations."""
    widths = np.array(profiles)
    fitness, costs = problem.fitness(problem.evaluate(widths)), problem.space.relative(widths)
    return [Evaluation(row, float(f), float(c)) for row, f, c in zip(widths, fitness, costs, strict=True)]
