"""How many classes a checkpoint's network knows, and how many channels its images have."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build


def dimensions(architecture: str, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the classes and input channels of a classifier.

    Classes are the rows of what changes with their number in the architecture, or of the last weight where nothing
    does; channels are the columns of the first convolution. Safetensors files keep no order, so it is the network's.

    Raises:
        UsageError: The tensors are of no network that can be pruned.
    """
    two, three = (skeleton(architecture, classes) for classes in (2, 3))
    ordered = {name: tensors[name] for name in (*two, *tensors) if name in tensors}
    weights = [tensor for name, tensor in ordered.items() if name.endswith("weight") and tensor.dim() in (2, 4)]
    first = next((tensor for tensor in weights if tensor.dim() == 4), None)
    if first is None:
        raise UsageError("the checkpoint has no convolution; it is of no network that can be pruned here")
    heads = [ordered[name] for name in two if name in ordered and two[name] != three.get(name)]
    matrices = [tensor for tensor in weights if tensor.dim() == 2] or weights
    return len(heads[0] if heads and heads[0].dim() else matrices[-1]), first.shape[1]


@cache
def skeleton(architecture: str, classes: int = 2) -> dict[str, torch.Size]:
    """Returns names and shapes of a network's tensors, without their values where it can be built without them."""
    try:
        with torch.device("meta"):
            network = build(architecture, classes)
    except UsageError:
        raise
    except Exception:  # builders may look at values
        network = build(architecture, classes)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
