"""Masks: which weights of a network are there."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from profilesearch.errors import UsageError

Layer = nn.Conv2d | nn.Linear


class Mask(nn.Module):
    """Sets a part of a weight to zero, and its gradient with it.

    Args:
        weight: Of a layer; what is zero in it stays zero.

    Attributes:
        kept: Which entries are there, bool, of the weight's shape.
        gradient: Of the whole weight, without the mask, from the last backward pass while it was watched. Once there is
            one, it is a part of the state.
    """

    kept: Tensor
    gradient: Tensor | None

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", weight.detach() != 0)
        self.register_buffer("gradient", None)
        self.watched = False

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight as the layer sees it."""
        masked: Tensor = weight * self.kept
        if self.watched and masked.requires_grad:
            masked.register_hook(self._note)  # type: ignore[no-untyped-call]
        return masked

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Returns what gives `weight`."""
        return weight

    def _note(self, gradient: Tensor) -> None:
        self.gradient = gradient.detach().clone()


class Masks:
    """The masks of all layers of a network but its classifier.

    Args:
        model: Changed in place: its weights become products with masks, which keep what is not zero. `bake` ends that.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = prunable_layers(model)
        self._masks = {name: Mask(layer.weight) for name, layer in self.layers.items()}
        for name, layer in self.layers.items():
            parametrize.register_parametrization(layer, "weight", self._masks[name])

    def __getitem__(self, name: str) -> Mask:
        return self._masks[name]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights behind the masks, by layer; parameters."""
        return {name: original(layer) for name, layer in self.layers.items()}

    @property
    def level(self) -> float:
        """Fraction of the weights that are not there."""
        kept = [mask.kept for mask in self._masks.values()]
        return sum(int((~each).sum()) for each in kept) / sum(each.numel() for each in kept)  # as `sparsity` counts

    def keep_best(self, scores: Mapping[str, Tensor], level: float) -> None:
        """Keeps the weights with the highest scores of the whole network.

        Args:
            scores: By layer, of the weights' shapes.
            level: Fraction to remove; met to the last weight.
        """
        for name, kept in best(scores, level).items():
            self._masks[name].kept.copy_(kept)

    def keep_all(self) -> None:
        """Makes every weight be there; those that were not start from zero."""
        self.clear_removed()
        for mask in self._masks.values():
            mask.kept.fill_(True)

    def clear_removed(self) -> None:
        """Sets the weights behind removed entries to zero."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.mul_(self._masks[name].kept)

    def magnitudes(self) -> dict[str, Tensor]:
        """Returns absolute values of the weights behind the masks, by layer."""
        return {name: weight.detach().abs() for name, weight in self.weights.items()}

    def finish(self, level: float) -> bool:
        """Brings the network to its level, and ends the masks; says whether that removed more than the training had.

        Only a training that was too short for its schedule leaves more than the level. What training moved behind the
        masks does not count.
        """
        before = self.level
        self.keep_best({name: scores * self[name].kept for name, scores in self.magnitudes().items()}, level)
        further = self.level > before
        self.bake()
        return further

    def bake(self) -> None:
        """Turns products with masks back into plain weights with zeros; what is there stays different from zero."""
        for name, layer in self.layers.items():
            with torch.no_grad():
                weight, kept = original(layer), self._masks[name].kept
                weight[kept & (weight == 0)] = torch.finfo(weight.dtype).tiny  # grown, and never moved by a gradient
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def original(layer: Layer) -> Tensor:
    """Returns the parameter behind a parametrized weight."""
    behind: Tensor = layer.parametrizations.weight.original  # type: ignore[union-attr, assignment]
    return behind


def prunable_layers(model: nn.Module) -> dict[str, Layer]:
    """Returns convolutions and linear layers by name, without the classifier: the last linear layer."""
    layers: dict[str, Layer] = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    layers.pop(classifier_name(model))
    return layers


def classifier_name(model: nn.Module) -> str:
    """Returns the name of the last linear layer.

    Raises:
        UsageError: There is none.
    """
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise UsageError("this network has no linear classifier that another task's could replace")
    return names[-1]


def best(scores: Mapping[str, Tensor], level: float) -> dict[str, Tensor]:
    """Returns which entries are among the best of all layers together, so many that the rest is `level` of them."""
    flat = torch.cat([score.flatten().float() for score in scores.values()])
    kept = torch.zeros(len(flat), dtype=torch.bool)
    kept[torch.topk(flat, len(flat) - round(level * len(flat)), sorted=False).indices] = True
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def sparsity(model: nn.Module) -> float:
    """Returns the fraction of zeros in the weights that masks may cover."""
    weights = [layer.weight.detach() for layer in prunable_layers(model).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
