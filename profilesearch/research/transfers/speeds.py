"""How long compressed networks really take, beside the source; those of one shape share a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from profilesearch.measure.speed import BATCHES, measure_speed
from profilesearch.networks.checkpoints import load_pruned
from profilesearch.networks.latency import device_name
from profilesearch.research.study.cells import Table, amount, one_of, part, text
from profilesearch.research.study.records import Records, Row
from profilesearch.research.transfers.answers import Key
from profilesearch.research.transfers.methods import METHODS
from profilesearch.research.transfers.setting import Setting
from profilesearch.tasks.pools import example_shape

SPEEDS: Table = {
    "id": text, "method": one_of(METHODS), "level": part, "batch1": amount, "batch64": amount, "device": text,
}  # fmt: skip
"""Times are relative to the source's in the same rounds; method and level are those of the network that was timed."""
_TOGETHER = 8
"""More networks in alternation would let the machine's pace change within a round."""


def measure(setting: Setting, keys: Sequence[Key], path: Path) -> dict[Key, Row]:
    """Times networks in torch, in full precision, each in alternation with the source.

    Args:
        setting: Of the comparison.
        keys: Methods and levels; those of a shape that is not on disk are left out unless it was timed before.
        path: File of the times; delete it to measure on another device.

    Returns:
        Rows by method and level.
    """
    records = Records(path, SPEEDS)
    names = {key: f"{setting.identity}/{_shape(setting, key)}" for key in keys}
    timed = {name: key for key, name in names.items() if setting.network(*key).exists()}
    missing = [key for name, key in timed.items() if records.get(name) is None]
    source = setting.source.load()
    shape = example_shape(source, setting.data(setting.folders[0][0]))
    for start in range(0, len(missing), _TOGETHER):
        several = missing[start : start + _TOGETHER]
        networks = [load_pruned(setting.network(*key), setting.source.architecture) for key in several]
        base, *speeds = measure_speed([source, *networks], shape)
        for key, speed in zip(several, speeds, strict=True):
            parts = [f"{speed.part(base, batch)[0]:.3f}" for batch in BATCHES]
            cells = (names[key], key[0], f"{key[1]:g}", *parts, device_name())
            records.put(dict(zip(SPEEDS, cells, strict=True)))
    return {key: row for key, name in names.items() if (row := records.get(name))}


def times(rows: Mapping[Key, Row]) -> dict[Key, float]:
    """Returns the time of 64 images relative to the source's."""
    return {key: float(row["batch64"]) for key, row in rows.items()}


def _shape(setting: Setting, key: Key) -> str:
    """Names the tensors' shapes: masks leave the source's, and a profile's tickets have the profile's."""
    method, level = key
    if not METHODS[method].structured or method == "dense":
        return "dense"
    return "-".join(filter(None, (method.partition("-")[0], f"{level:g}", setting.profile(method, level))))
