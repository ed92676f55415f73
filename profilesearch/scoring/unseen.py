"""The accuracy of profiles on test images of models that no search saw: for final reports, never for a search."""

from dataclasses import replace

import torch
from torch import nn

from profilesearch.errors import UsageError
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.score import Scorer, ScoreSettings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, example_shape
from profilesearch.tasks.splits import split


class TestProblem:
    """Scores profiles on the test images of one model: for final reports, never for a search.

    Args:
        member: A model that the search did not see.
        data: Its data set.
        table: The channel groups that the profiles are about.
        settings: How profiles are scored; all test images are used.
        ledger: Where scores are looked up and recorded.
        device: On which device; the processor where None.

    Attributes:
        member: As given.
        image_shape: (C, H, W) of what the network takes.
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        member: Member,
        data: DataSet,
        table: GroupTable,
        settings: ScoreSettings,
        ledger: Ledger,
        device: torch.device | None = None,
    ) -> None:
        self.member = member
        self._ledger = ledger
        network = member.load()
        its_table = table_of(member, network, data, table)
        self.image_shape = example_shape(network, data)
        train = split(data, member.split_seed).images(data, "train")
        every = replace(settings, images=len(data.test))
        self._network, self._table = network.to(device or "cpu"), its_table
        self._scorer = Scorer(self._network, its_table, data, data.test, train, every)

    @property
    def digest(self) -> str:
        """Hash of all that its scores depend on, but the widths."""
        return self._scorer.digest

    def pruned(self, widths: IntArray) -> nn.Module:
        """Returns the network in full precision, of widths (G,), with the first channels of each group: to time it."""
        keep = {name: torch.arange(int(width)) for name, width in zip(self._table.names, widths, strict=True)}
        return Pruner(self._network, self._table).prune(keep, share=True)

    def score(self, widths: IntArray) -> float:
        """Returns the accuracy in [0, 1] on all test images for widths of shape (G,)."""
        key = self._scorer.key(widths)
        score = self._ledger.get(key)
        if score is None:
            score = self._scorer.score(widths)
            self._ledger.put(key, score, model=self.member.name, part="test", widths=widths.tolist())
        return score


def table_of(member: Member, network: nn.Module, data: DataSet, like: GroupTable) -> GroupTable:
    """Returns a network's own channel groups, restricted to those of another table of the same architecture.

    Raises:
        UsageError: The network lacks one of the groups.
    """
    own = Plan(member.architecture, network, example_shape(network, data)).table
    table = replace(own, groups=tuple(group for group in own.groups if group.name in like.names))
    if table.fingerprint != like.fingerprint:
        raise UsageError(f"{member.name} has other channel groups than the pool; use one architecture")
    return table
