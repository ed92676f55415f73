"""The problem that every searcher solves: a profile space, a pool to score on, and the ledger."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.evidence import PoolMember
from profilesearch.networks.cost import FloatArray, evaluated
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.identity import weights_digest
from profilesearch.networks.latency import LatencyModel
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget, Scope
from profilesearch.scoring.engines.base import Engine, LocalEngine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.score import Scorer, ScoreSettings, default_settings
from profilesearch.system.modes import own_modes
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.own import own_pool
from profilesearch.tasks.pools import Member, example_shape
from profilesearch.tasks.splits import Part, split

MOST = 5_000
"""Images that choose a winner, and as many fresh ones: their accuracy is then known to a point or better."""
_FOR: Mapping[Part, str] = {
    "train": "that it learned from",
    "search": "that the search scores on",
    "choose": "that choose its winner",
    "fresh": "that its winner is scored on",
}


class Problem:
    """Finds out how good profiles are, on all members of a pool. It cannot reach test images: it holds none.

    One evaluation is one profile scored on every member of the pool.

    Args:
        members: Trained models of one architecture, M of them.
        data: The members' data sets by name.
        budget: What profiles may cost.
        settings: How they are scored.
        ledger: Where scores are looked up and recorded.
        scope: Which groups profiles touch.
        multiple: Widths are multiples of this.
        engine: Where profiles are scored; in this process where None.
        device: On which device they are scored; the processor where None.

    Attributes:
        space: The profile space, G groups.
        members, settings, engine: As given.
        channels: Of the images that each member takes.

    Raises:
        UsageError: The pool is empty or of mixed structure, or the budget is out of reach.
    """

    @own_modes()
    def __init__(
        self,
        members: Sequence[Member],
        data: Mapping[str, DataSet],
        budget: Budget,
        settings: ScoreSettings,
        ledger: Ledger,
        scope: Scope = "block",
        multiple: int = 1,
        engine: Engine | None = None,
        device: torch.device | None = None,
    ) -> None:
        if not members:
            raise UsageError("the pool is empty; give it a trained network or more")
        self.members = tuple(members)
        self.settings = settings
        self.engine = engine or LocalEngine()
        self._ledger = ledger
        self._networks = [(member.load(), data[member.data].without_test()) for member in members]
        plans = [
            Plan(member.architecture, network, example_shape(network, its_data))
            for member, (network, its_data) in zip(members, self._networks, strict=True)
        ]
        self.space: ProfileSpace = plans[0].space(budget, scope, multiple)
        self.channels = tuple(plan.image_shape[0] for plan in plans)
        self._tables = [plan.table.within(scope) for plan in plans]
        for member, table in zip(members, self._tables, strict=True):
            if table.fingerprint != self.space.table.fingerprint:
                raise UsageError(
                    f"{member.name} has other channel groups than {members[0].name}; pool one architecture"
                )
        for network, _ in self._networks:
            network.to(device or "cpu")
        self._scorers: dict[Part, list[Scorer]] = {}
        self._base: dict[Part, FloatArray] = {}

    @classmethod
    @own_modes()
    def of(
        cls,
        networks: nn.Module | Sequence[nn.Module],
        images: Tensor,
        labels: Tensor,
        budget: Budget | None = None,
        scope: Scope = "block",
        seed: int = 0,
    ) -> "Problem":
        """Makes the problem of somebody's own trained networks, in memory; scores are kept in memory, too.

        Args:
            networks: One, or several of one architecture.
            images: Normalized, floating point, (N, C, H, W), that they did not learn from; 1,000 or more are worth it.
            labels: Classes, (N,).
            budget: What profiles may cost; half of the multiply-adds where None.
            scope: Which groups profiles touch.
            seed: Of random choices in scores.

        Raises:
            UsageError: Something does not fit together, or the budget is out of reach.
        """
        members, data = own_pool(networks, images, labels)
        settings = default_settings(min(1000, max(2, len(images) // 2)), seed=seed)
        return cls(members, {data.name: data}, budget or Budget(), settings, Ledger(), scope)

    def digests(self) -> list[PoolMember]:
        """Returns what tells each member from others of the same name: digests of weights and of a folder's images."""
        about: list[PoolMember] = []
        for network, data in self._networks:
            folder: PoolMember = {"data_digest": data.folder_digest} if data.folder_digest else {}
            about.append({**folder, "weights": weights_digest(network)})
        return about

    def with_budget(self, budget: Budget) -> "Problem":
        """Returns the same problem under another budget; models, scores and ledger are shared."""
        other = copy.copy(self)
        other.space = replace(self.space, budget=budget)
        return other

    def with_ledger(self, ledger: Ledger) -> "Problem":
        """Returns the same problem with scores in another ledger; models are shared."""
        other = copy.copy(self)
        other._ledger, other._base = ledger, {}
        return other

    def with_settings(self, settings: ScoreSettings) -> "Problem":
        """Returns the same problem with profiles scored in another way; models and ledger are shared."""
        other = copy.copy(self)
        other.settings, other._scorers, other._base = settings, {}, {}
        return other

    @own_modes()
    def evaluate(
        self, widths: IntArray, part: Part = "search", each: Callable[[int, FloatArray], None] | None = None
    ) -> FloatArray:
        """Scores profiles on all members.

        Args:
            widths: Shape (N, G).
            part: Held-out images that the search uses, those that choose its winner, or fresh ones.
            each: Called with the index of every finished profile and its accuracies (M,).

        Returns:
            Accuracies in [0, 1], shape (N, M).

        Raises:
            UsageError: The ledger cannot be written.
        """
        scorers = self._scorers_of(part)
        keys = [[scorer.key(row) for scorer in scorers] for row in widths]
        cells: dict[str, list[tuple[int, int]]] = {}
        for index, its_keys in enumerate(keys):
            for place, key in enumerate(its_keys):
                cells.setdefault(key, []).append((index, place))
        accuracies = np.full((len(widths), len(scorers)), np.nan)
        missing = []
        for key, where in cells.items():
            known = self._ledger.get(key)
            if known is None:
                missing.append(key)
            else:
                accuracies[tuple(zip(*where, strict=True))] = known
        tasks = [(cells[key][0][1], widths[cells[key][0][0]]) for key in missing]
        told = self._tell(accuracies, 0, each)
        for number, score in self.engine.scores(scorers, tasks):
            (place, row), key = tasks[number], missing[number]
            self._ledger.put(key, score, model=self.members[place].name, part=part, widths=row.tolist())
            accuracies[tuple(zip(*cells[key], strict=True))] = score
            told = self._tell(accuracies, told, each)
        return accuracies

    @staticmethod
    def _tell(accuracies: FloatArray, told: int, each: Callable[[int, FloatArray], None] | None) -> int:
        """Tells of profiles that are finished, in their order; returns how many were told of."""
        while told < len(accuracies) and not np.isnan(accuracies[told]).any():
            if each:
                each(told, accuracies[told])
            told += 1
        return told

    def remembered(self, way: str, place: int, widths: IntArray, make: Callable[[], float]) -> float:
        """Returns how right a member, by its place, is on fresh images once `make` cut it another way than scores do.

        What the ledger knows, under the settings, the widths, shape (G,), and the name of the `way`, is not made again.
        """
        key = f"{self._scorers_of('fresh')[place].key(widths)}-{way}"
        known = self._ledger.get(key)
        if known is None:
            known = make()
            self._ledger.put(key, known, model=self.members[place].name, part="fresh", widths=widths.tolist())
        return known

    def base(self, part: Part = "search") -> FloatArray:
        """Accuracies of the unpruned members under the same settings, shape (M,)."""
        if part not in self._base:
            self._base[part] = self.evaluate(self.space.table.channels[None], part)[0]
        return self._base[part]

    def relative(self, accuracies: FloatArray, part: Part = "search") -> FloatArray:
        """Accuracies relative to the unpruned members'; both of shape (N, M).

        Raises:
            UsageError: A member is right on no image of the part.
        """
        base = self.base(part)
        for member, reached, used in zip(self.members, base, self.used(part), strict=True):
            if reached <= 0:
                raise UsageError(
                    f"{member.name} is right on none of the {used.images} held-out images {_FOR[part]}; give images "
                    "with labels that it knows, or more of them"
                )
        return accuracies / base

    def fitness(self, accuracies: FloatArray, part: Part = "search") -> FloatArray:
        """Mean over the members of the accuracy relative to the unpruned one; (N, M) to (N,)."""
        return np.asarray(self.relative(accuracies, part).mean(axis=-1))

    def used(self, part: Part = "search") -> tuple[ScoreSettings, ...]:
        """Returns the settings as they were used on each member: with the number of images that were there."""
        return tuple(scorer.settings for scorer in self._scorers_of(part))

    def seen(self, most: int, part: Part = "train") -> Iterator[tuple[nn.Module, GroupTable, Tensor, Tensor]]:
        """Yields a copy of each member's full network, its groups, and some images.

        Args:
            most: Images of each, at most.
            part: Which ones: those that the member learned from, or held-out ones.

        Yields:
            Network, in single precision on the processor, groups, normalized images (N, C, H, W), and classes (N,).
        """
        for member, (network, data), table, channels in zip(
            self.members, self._networks, self._tables, self.channels, strict=True
        ):
            images = split(data, member.split_seed).images(data, part)[:most]
            full = evaluated(copy.deepcopy(network).cpu().float())
            yield full, table, data.normalize(images.pixels, channels), images.labels

    @property
    def pixels(self) -> tuple[int, ...]:
        """Height of each member's images."""
        return tuple(data.image_shape[1] for _, data in self._networks)

    @property
    def digest(self) -> str:
        """Hash of all that a search over this problem depends on, but its searcher."""
        space = self.space
        about = [space.architecture, space.scope, space.table.fingerprint, str(space.budget), space.multiple]
        about += [scorer.digest for scorer in self._scorers_of("search")]
        about += (
            [space.cost.digest] if space.budget.metric == "latency" and isinstance(space.cost, LatencyModel) else []
        )
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    def _scorers_of(self, part: Part) -> list[Scorer]:
        if part not in self._scorers:
            self._scorers[part] = self._make_scorers(part)
        return self._scorers[part]

    def _make_scorers(self, part: Part) -> list[Scorer]:
        made = []
        others = self._scorers_of("search") if part != "search" else [None] * len(self.members)
        for member, (network, data), table, like in zip(
            self.members, self._networks, self._tables, others, strict=True
        ):
            parts = split(data, member.split_seed)
            images, train = parts.images(data, part), parts.images(data, "train")
            # The others decide between finalists that are near each other, and are what is reported: many are used.
            settings = self.settings if part == "search" else replace(self.settings, images=min(len(images), MOST))
            made.append(Scorer(network, table, data, images, train, settings, like))
        return made
