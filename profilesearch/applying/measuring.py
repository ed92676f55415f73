"""The full network and the pruned ones, as they were read back from their files, measured side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from profilesearch.applying.subject import Subject
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import Side
from profilesearch.measure.speed import measure_speed, peak_memory
from profilesearch.networks.checkpoints import load_pruned
from profilesearch.pruning import Pruned
from profilesearch.tasks.hardware import device_of
from profilesearch.tasks.predicting import predictions, right_part


@dataclass(frozen=True, eq=False)
class Measured:
    """A network, and what was measured on it.

    Attributes:
        network: The full one, or a pruned one as it was read back from its file.
        predicted: The class that it gives each test image, shape (N,).
        side: The numbers of the before / after table.
    """

    network: nn.Module
    predicted: Tensor
    side: Side


def measure(
    subject: Subject, known: Tensor, pruned: Sequence[Pruned], files: Sequence[Path], output: Output
) -> list[Measured]:
    """Measures the full network and pruned ones; times are taken in alternation.

    Args:
        subject: The full network and its data.
        known: The class that the full network gives each test image, shape (N,).
        pruned: What was cut.
        files: Of the pruned networks.
        output: Shows how far it is.

    Returns:
        The full network, then the pruned ones in their order.
    """
    full, test = subject.network, subject.data.test
    networks = [full, *(load_pruned(file, subject.plan.architecture).to(device_of(full)) for file in files)]
    predicted = [known]
    for network in networks[1:]:
        with output.progress("classifying test images") as move:
            predicted.append(predictions(network, subject.data, test, "fp32", progress=move))
    with output.progress("timing the networks") as move:
        speeds = measure_speed(networks, subject.shape, move)
    sizes = [weight_bytes(network) for network in networks]
    cuts = [(pruned[0].cost, pruned[0].table.channels), *((each.cost, each.widths) for each in pruned)]
    return [
        Measured(
            network,
            classes,
            Side(
                right_part(classes, test),
                int(cost.macs(widths)),
                int(cost.params(widths)),
                size,
                speed,
                peak_memory(network, subject.shape),
            ),
        )
        for network, classes, size, speed, (cost, widths) in zip(networks, predicted, sizes, speeds, cuts, strict=True)
    ]


def weight_bytes(network: nn.Module) -> int:
    """Returns the size of a network's tensors in single precision: files may have others, and say more."""
    tensors = network.state_dict().values()
    return sum(each.numel() * (_SINGLE if each.is_floating_point() else each.element_size()) for each in tensors)


_SINGLE = 4
"""Bytes of a number."""
