"""What a network says of images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating
from profilesearch.system.progress import Progress
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, best_precision, device_of
from profilesearch.tasks.inputs import arrange, input_channels, layout
from profilesearch.tasks.memory import batches, fitting
from profilesearch.tasks.names import Precision


def accuracy(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> float:
    """Returns the fraction of images that a network classifies correctly; for arguments see `predictions`."""
    return right_part(predictions(model, data, images, precision, say, progress), images)


def right_part(predicted: Tensor, images: Images) -> float:
    """Returns the fraction of images whose predicted class is theirs."""
    return int((predicted == images.labels.cpu()).sum()) / len(images)


def predictions(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Returns the class that a network gives each image, shape (N,), on the processor.

    Args:
        model: In any mode; evaluated in evaluation mode, and not changed.
        data: Gives the normalization.
        images: What to classify, N of them.
        precision: The processor's best where None.
        say: Called with a line for people when memory runs out and batches are halved.
        progress: Called after every batch with images done and images in all.
    """
    return _over(model, data, images, precision, lambda scores: scores.argmax(dim=1), say, progress)


def class_scores(model: nn.Module, data: DataSet, images: Images, precision: Precision | None = None) -> Tensor:
    """Returns what a network gives each image, shape (N, C), on the processor; for arguments see `predictions`."""
    return _over(model, data, images, precision, lambda scores: scores.float())


def _over(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None,
    take: Callable[[Tensor], Tensor],
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Passes images through a network, and returns what is taken of its scores."""
    device = device_of(model)
    dtype = DTYPES[precision or best_precision(device)]
    channels = input_channels(model, data.image_shape)
    order = layout(model, (channels, *data.image_shape[1:]))

    def work(size: int) -> Tensor:
        found = []
        for part in batches(len(images), size):
            pixels = arrange(data.normalize(images[part].pixels, channels), order).to(device)
            found.append(take(model(pixels)))
            if progress:
                progress(part.stop, len(images), "")
        return torch.cat(found).cpu()

    with evaluating(model), torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return fitting(work, say)
