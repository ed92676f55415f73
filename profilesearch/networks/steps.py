"""Single steps of width, as the budget surface of whole channels is walked on."""

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray


def steps(
    widths: IntArray, low: IntArray | FloatArray, high: IntArray | FloatArray, multiple: int, far: int = 1
) -> IntArray:
    """Returns a step up and a step down in each group, as changes of width; shorter where there is no room.

    Args:
        widths: Shape (N, G).
        low: Smallest widths, shape (G,).
        high: Largest widths, shape (G,).
        multiple: Widths are multiples of this, except for full groups.
        far: How many of the admissible widths a step goes.

    Returns:
        Shape (N, 2 G, G).
    """
    up = np.minimum((widths // multiple + far) * multiple, high) - widths
    below = (np.ceil(widths / multiple) - far) * multiple
    down = np.maximum(below, low) - widths
    one = np.eye(widths.shape[1])
    return np.concatenate([up[:, :, None] * one, down[:, :, None] * one], axis=1).astype(np.int64)
