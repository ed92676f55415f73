"""How long the compressed networks really take, beside the source."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from profilesearch.experiments.records import Records, Row
from profilesearch.latency import measure_speed
from profilesearch.networks.checkpoints import load_pruned
from profilesearch.networks.latency import device_name
from profilesearch.tasks.pools import example_shape
from profilesearch.transfers.answers import Key
from profilesearch.transfers.methods import METHODS
from profilesearch.transfers.setting import Setting

COLUMNS = ("id", "method", "level", "batch1", "batch64", "device")
"""Times are relative to the source's in the same rounds."""
_TOGETHER = 8
"""More networks in alternation would let the machine's pace change within a round."""


def measure(setting: Setting, keys: Sequence[Key], path: Path) -> dict[Key, Row]:
    """Times networks in torch, in full precision, each in alternation with the source.

    Args:
        setting: Of the comparison.
        keys: Methods and levels; those whose network is not on disk are left out unless they were measured before.
        path: File of the times; delete it to measure on another device.

    Returns:
        Rows by method and level.
    """
    records = Records(path, COLUMNS)
    names = {key: f"{setting.identity}/{setting.network(*key).stem}" for key in keys}
    missing = [key for key in keys if records.get(names[key]) is None and setting.network(*key).exists()]
    source = setting.source.load()
    shape = example_shape(source, setting.data(setting.folders[0][0]))
    for start in range(0, len(missing), _TOGETHER):
        several = missing[start : start + _TOGETHER]
        networks = [load_pruned(setting.network(*key), setting.source.architecture) for key in several]
        base, *speeds = measure_speed([source, *networks], shape)
        for key, speed in zip(several, speeds, strict=True):
            parts = f"{speed.batch1 / base.batch1:.3f}", f"{speed.batch64 / base.batch64:.3f}"
            cells = (names[key], key[0], f"{key[1]:g}", *parts, device_name())
            records.put(dict(zip(COLUMNS, cells, strict=True)))
    return {key: row for key, name in names.items() if (row := records.get(name))}


def times(rows: Mapping[Key, Row]) -> dict[Key, float]:
    """Returns the time of 64 images relative to the source's; networks of one shape have the mean of theirs."""
    shapes: dict[Key, list[float]] = {}
    for key, row in rows.items():
        shapes.setdefault(_shape(key), []).append(float(row["batch64"]))
    return {key: float(np.mean(shapes[_shape(key)])) for key in rows}


def _shape(key: Key) -> Key:
    """Returns a name for the tensors' shapes: masks leave the source's, and a profile's tickets have the profile's."""
    method, level = key
    return (method.partition("-")[0], level) if METHODS[method].structured else ("dense", 0.0)
