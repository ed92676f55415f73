"""Second order: how much the loss would rise without a weight, by the diagonal of the Fisher information."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from profilesearch.networks.cost import evaluating
from profilesearch.research.transfers.masks import Masks, prunable_layers
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import input_channels

IMAGES = 512
_AT_ONCE = 16


def fisher(upstream: Upstream, level: float) -> nn.Module:
    """Removes the weights whose loss costs least by Optimal Brain Damage (LeCun et al. 1989), then trains what is left.

    The saliency of a weight w is w² F / 2. F, the mean over training images of its squared gradient, stands for the
    diagonal of the Hessian, as in WoodFisher (Singh and Alistarh 2020, arXiv 2004.14340) with blocks of one weight.
    """
    model = upstream.trained()
    information = fisher_diagonal(model, upstream.data, upstream.sample(IMAGES))
    saliency = {
        name: layer.weight.detach() ** 2 * information[name] / 2 for name, layer in prunable_layers(model).items()
    }
    masks = Masks(model)
    masks.keep_best(saliency, level)
    upstream.tune(model, f"fisher-{level:g}")
    masks.bake()
    return model


def fisher_diagonal(model: nn.Module, data: DataSet, images: Images) -> dict[str, Tensor]:
    """Returns the mean squared gradient of the loss of single images, by layer, of the weights' shapes."""
    names = {f"{name}.weight": name for name in prunable_layers(model)}
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = {name: tensor.detach() for name, tensor in state.items()}
    weights = {full: state.pop(full) for full in names}

    def loss(weights: dict[str, Tensor], pixels: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, {**state, **weights}, (pixels[None],))
        return functional.cross_entropy(logits, label[None])

    total = {name: torch.zeros_like(weights[full]) for full, name in names.items()}
    each = vmap(grad(loss), in_dims=(None, 0, 0))
    channels = input_channels(model, data.image_shape)
    with evaluating(model):
        for start in range(0, len(images), _AT_ONCE):
            batch = images[start : start + _AT_ONCE]
            gradients = each(weights, data.normalize(batch.pixels, channels), batch.labels)
            for full, name in names.items():
                total[name] += gradients[full].square().sum(dim=0)
    return {name: tensor / len(images) for name, tensor in total.items()}
