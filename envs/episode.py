"""The core of the environment: N episodes in lock step, all arithmetic until their profiles are scored together."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from envs.reward import reward
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.features import FEATURES as GROUP_FEATURES
from profilesearch.networks.features import group_features
from profilesearch.networks.groups import IntArray
from profilesearch.networks.space import ProfileSpace
from profilesearch.scoring.names import TARGET_WEIGHT
from profilesearch.scoring.problem import Problem

DYNAMIC = (
    "keep of the budget",
    "uniform keep ratio of the budget",
    "share of the groups' cost that is decided",
    "cost saved by the decided groups",
    "forecast: own cost minus budget, the rest kept uniformly",
    "last action",
)


@dataclass(frozen=True)
class View:
    """What a policy sees, all in [-1, 1]: the architecture, the budget, its own past; never the model.

    Attributes:
        names: Of the columns.
        columns: Gives those of an architecture, shape (G, len(names) - len(DYNAMIC)); the budget and the past follow.
    """

    names: tuple[str, ...]
    columns: Callable[[ProfileSpace], FloatArray]


def _own_columns(space: ProfileSpace) -> FloatArray:
    channels, shares = space.table.channels, space.cost.shares(space.budget.metric)
    columns = np.linspace(0, 1, space.size), _place_in_run(channels), channels / channels.max(), shares / shares.max()
    return np.stack(columns, axis=1)


ONE = View(
    (
        "place of the group in the network",
        "place of the group among its neighbours of equal width",
        "channels, relative to the widest group",
        "share of the cost, relative to the costliest group",
        *DYNAMIC,
    ),
    _own_columns,
)
"""Of a policy for one architecture."""
ANY = View((*GROUP_FEATURES, *DYNAMIC), group_features)
"""Of a policy for any architecture."""
FEATURES = ONE.names


@dataclass(frozen=True)
class Finished:
    """N finished episodes.

    Attributes:
        widths: Projected onto the budget surface, shape (N, G).
        own_cost: Relative cost before the projection, shape (N,).
    """

    widths: IntArray
    own_cost: FloatArray


class EpisodeBatch:
    """The state of N episodes that decide one group a step.

    Args:
        space: The profile space under the episodes' budget.
        count: Number of episodes, N.
        view: What the policy sees.
        centre: Keep ratios that action 0 stands for, shape (G,); the uniform one of the budget where None.
    """

    def __init__(self, space: ProfileSpace, count: int, view: View = ONE, centre: FloatArray | None = None) -> None:
        self.space = space
        self.count = count
        self._uniform = space.uniform_ratio()
        self._centre = np.full(space.size, self._uniform) if centre is None else centre
        shares = space.cost.shares(space.budget.metric)
        self._decided_share = np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
        self._static = view.columns(space)
        self.reset()

    def reset(self) -> None:
        """Starts N new episodes."""
        self.step = 0
        self._ratios = np.tile(self._centre, (self.count, 1))
        self._last: FloatArray = np.zeros(self.count)

    @property
    def done(self) -> bool:
        """Whether every group is decided."""
        return self.step == self.space.size

    def observe(self) -> NDArray[np.float32]:
        """Returns what the policy sees, shape (N, F); after the last step, that of the last group again."""
        group = min(self.step, self.space.size - 1)
        saved = np.where(np.arange(self.space.size) < self.step, self._ratios, 1.0)
        keep = self.space.budget.keep
        columns = [
            *np.broadcast_to(self._static[group][:, None], (self._static.shape[1], self.count)),
            np.full(self.count, keep),
            np.full(self.count, self._uniform),
            np.full(self.count, self._decided_share[self.step]),
            1 - self.space.relative(self.space.widths(saved)),
            self.space.relative(self.space.widths(self._ratios)) - keep,
            self._last,
        ]
        observations: NDArray[np.float32] = np.clip(np.stack(columns, axis=1), -1, 1).astype(np.float32)
        return observations

    def act(self, actions: NDArray[np.float32]) -> None:
        """Decides the next group in every episode.

        Args:
            actions: In [-1, 1], shape (N,): 0 is the group's ratio in the centre, -1 the smallest ratio, 1 full width;
                linear in between.

        Raises:
            UsageError: One is no number.
        """
        if np.isnan(actions).any():
            raise UsageError("an action is NaN; give numbers in [-1, 1], or train a policy that diverged again")
        bounded = np.clip(actions.astype(np.float64), -1, 1)
        centre = self._centre[self.step]
        room = np.where(bounded < 0, centre - self.space.least, 1 - centre)
        self._ratios[:, self.step] = centre + bounded * room
        self._last = bounded
        self.step += 1

    def finish(self) -> Finished:
        """Returns the finished profiles."""
        own_cost = self.space.relative(self.space.widths(self._ratios))
        return Finished(self.space.project(self._ratios), own_cost)


def rewards(
    problem: Problem,
    finished: Finished,
    accuracies: FloatArray,
    model: int | None = None,
    weight: float = TARGET_WEIGHT,
) -> FloatArray:
    """Rewards of finished episodes from their accuracies (N, M), over all members or one of them; shape (N,)."""
    relative = problem.relative(accuracies)
    fitness = relative.mean(axis=1) if model is None else relative[:, model]
    return reward(fitness, finished.own_cost, problem.space.budget.keep, weight)


def with_keep(problem: Problem, keep: float | None) -> Problem:
    """Returns the problem under another keep fraction, or itself where None.

    Raises:
        UsageError: The fraction is out of reach.
    """
    if keep is None or keep == problem.space.budget.keep:
        return problem
    return problem.with_budget(replace(problem.space.budget, keep=keep))


def _place_in_run(channels: IntArray) -> FloatArray:
    """Place of each group, from 0 to 1, among consecutive groups of equal width."""
    starts = np.flatnonzero(np.diff(channels, prepend=-1))
    ends = np.append(starts[1:], len(channels))
    return np.concatenate([np.linspace(0, 1, end - start) for start, end in zip(starts, ends, strict=True)])
