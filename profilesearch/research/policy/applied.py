"""What comes of profiles once `apply` has cut a network by them and refitted it, before any fine-tuning."""

from functools import partial

import numpy as np
from torch import Tensor, nn

from profilesearch.blending import blended
from profilesearch.errors import UsageError
from profilesearch.judging import Judge
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.criteria import MOST_SEEN, rank_channels
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import AUTO
from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.pruning import Pruned, prune_ordered
from profilesearch.refitting import most_used, outputs_of, refit_on
from profilesearch.scoring.problem import MOST, Problem
from profilesearch.tasks.inputs import arranged


class Applied:
    """Makes of profiles what `apply` makes of them, on every member of a pool, and counts how often it is right.

    A score refits a layer on what the full network gives, if at all; here every layer is refitted on what the cut ones
    before it give, or in whichever way is closest (`refit_on`), which mends more, and some profiles more than others.

    Args:
        problem: The pool. Layers are fitted on images that its members learned from, accuracies are of fresh ones.

    Raises:
        UsageError: A member is right on no fresh image.
    """

    def __init__(self, problem: Problem) -> None:
        criterion, seed = problem.settings.criterion, problem.settings.seed
        self._problem = problem
        self._learned: list[tuple[Plan, dict[str, Tensor], Tensor]] = []
        self._ways: list[str] = []  # which scores' keys do not know: they need none of these images
        self._fresh = [(images, labels) for _, _, images, labels in problem.seen(MOST, "fresh")]
        for network, table, images, labels in problem.seen(max(MOST_SEEN, most_used(AUTO))):
            order = rank_channels(network, table, criterion, seed, (images[:MOST_SEEN], labels[:MOST_SEEN]))
            channels, height, width = images.shape[1:]
            plan = Plan(problem.space.architecture, network, (channels, height, width))
            self._learned.append((plan, order, arranged(network, images)))
            self._ways.append(f"as applied on {tensor_digest({'images': images, 'labels': labels})}")
        self._base = [self._right(plan.network, place) for place, (plan, _, _) in enumerate(self._learned)]
        for member, base in zip(problem.members, self._base, strict=True):
            if not base:
                raise UsageError(f"{member.name} is right on no held-out image; give images with labels that it knows")

    def blend(self, space: ProfileSpace, losses: FloatArray) -> IntArray:
        """Returns the blend of a budget, shape (G,): what leaves the refitted members closest to the full ones.

        Args:
            space: The profiles of that budget.
            losses: What single layers lose, by `group_losses`.
        """
        judges = [Judge(plan.network, images[:MOST_SEEN]) for plan, _, images in self._learned]

        def judge(profile: Profile) -> float:
            return float(np.mean([far_off(self._cut(profile, place)) for place, far_off in enumerate(judges)]))

        return space.widths(space.table.ratios(blended(space, losses, judge)))

    def worth(self, space: ProfileSpace, widths: IntArray) -> float:
        """Returns the accuracy on fresh images relative to the unpruned one, mean over the members.

        Args:
            space: The profiles of any budget.
            widths: Shape (G,).

        Raises:
            UsageError: A member cannot be cut to these widths.
        """
        profile = space.profile(widths, {})

        def right(place: int) -> float:
            plan, _, images = self._learned[place]
            pruned = self._cut(profile, place)
            refit_on(pruned, plan.network, images[: most_used(AUTO)])
            return self._right(pruned.network, place)

        found = [
            self._problem.remembered(self._ways[place], place, widths, partial(right, place)) / base
            for place, base in enumerate(self._base)
        ]
        return float(np.mean(found))

    def _cut(self, profile: Profile, place: int) -> Pruned:
        plan, order, _ = self._learned[place]
        return prune_ordered(plan, profile, order)

    def _right(self, network: nn.Module, place: int) -> float:
        images, labels = self._fresh[place]
        return float((outputs_of(network, images)[0].argmax(dim=1) == labels).float().mean())
