"""Finds a network's tensors in a checkpoint, whatever was wrapped around them, by the network's own names."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from profilesearch.errors import choose
from profilesearch.networks.factors import Factored, Stored, put_together

_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What parallel, compiled, sharded and checkpointed modules put into names."""
_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")
"""Torchvision's first DenseNets had dots in their names."""
_SECOND = re.compile(r"ema|swa|av(?:era)?g|shadow|teacher|optim|moment", re.IGNORECASE)
"""Words for what is not the trained weights themselves."""
COUNTERS = ("num_batches_tracked", "total_ops", "total_params")
"""Buffers that no output depends on; the last two are what thop leaves."""


@dataclass(frozen=True)
class Found:
    """A network's tensors in a checkpoint.

    Attributes:
        tensors: By the network's names, in the order of the checkpoint, with all that the network does not know of.
        place: What stands before the names in the checkpoint: nothing, or words that end in a dot.
        others: Places where all of the names are found, too.
        ignored: What lies beside the network in this place and is no layer, such as losses and metrics.
    """

    tensors: dict[str, Stored]
    place: str = ""
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def note(self, path: Path) -> str:
        """Returns a sentence on what was taken from the file; nothing where that goes without saying."""
        factored = sum(isinstance(tensor, Factored) for tensor in self.tensors.values())
        parts = [
            f"took the tensors under '{self.place[:-1]}'" if self.place else "",
            f"left out {', '.join(self.ignored)}" if self.ignored else "",
            f"multiplied out {factored} weights that are stored in two parts" if factored else "",
            *(f"'{path}#{place[:-1]}' takes those under '{place[:-1]}'" for place in self.others),
        ]
        return f"{path}: {'; '.join(filter(None, parts))}" if any(parts) else ""


def under(tensors: Mapping[str, Tensor], entry: str) -> dict[str, Tensor]:
    """Returns the tensors of one entry of a checkpoint.

    Raises:
        UsageError: There is no such entry.
    """
    inside = {name[len(entry) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{entry}.")}
    if not inside:
        choose("entry of the checkpoint", entry, dict.fromkeys(name.partition(".")[0] for name in tensors))
    return inside


def find(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> Found:
    """Finds a network's tensors.

    Names are taken as they are where the network has them. Only where they do not fit, words before all of them are
    taken off, or put there; then wrappers' words within them are taken off; then weights stored in parts are put
    together.

    Args:
        tensors: By their places in the checkpoint.
        expected: Names and shapes in the network. Names decide; shapes choose between several places.

    Returns:
        The tensors of the place where all names are found, or else most of them.
    """
    best, most = Found(dict(tensors)), 0
    for spelled in _spellings(tensors):
        for own in _shared_places(expected):
            needed = {name[len(own) :]: shape for name, shape in expected.items() if not name.endswith(COUNTERS)}
            counts = _count_places(spelled, needed)
            whole = [place for place, count in counts.items() if count == len(needed)]
            if whole:
                fits = {place: _same_shapes(spelled, needed, place) for place in whole}
                whole = sorted(whole, key=lambda place: (-fits[place], bool(_SECOND.search(place)), place.count(".")))
                others = [place for place in whole[1:] if fits[place] == fits[whole[0]]]
                others = [place for place in others if any(name.startswith(place) for name in tensors)]
                return _take(spelled, expected, own, whole[0], others)
            place, count = max(counts.items(), key=lambda each: each[1], default=("", 0))
            if count > most:
                best, most = _take(spelled, expected, own, place), count
    return best


def _spellings(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Stored]]:
    """Yields the tensors under their names, and then under ever more changed ones."""
    names: dict[str, Stored] = dict(tensors)
    yield names
    for change in (
        lambda each: _rename(each, _WRAPPERS, ""),
        put_together,
        lambda each: _rename(each, _DENSENET, r"\1"),
    ):
        changed = change(names)
        if changed.keys() != names.keys():
            names = changed
            yield names


def _rename(stored: dict[str, Stored], pattern: re.Pattern[str], by: str) -> dict[str, Stored]:
    renamed = {pattern.sub(by, name): tensor for name, tensor in stored.items()}
    return renamed if len(renamed) == len(stored) else stored


def _shared_places(expected: Mapping[str, torch.Size]) -> list[str]:
    """Returns what could be taken off all names of a network: nothing first."""
    first, *others = expected or [""]
    starts = [first[: match.end()] for match in re.finditer(r"\.", first)]
    return ["", *(start for start in starts if all(name.startswith(start) for name in others))]


def _count_places(stored: Mapping[str, Stored], needed: Mapping[str, torch.Size]) -> Counter[str]:
    """Returns how many of the needed names there are at each place."""
    counts: Counter[str] = Counter()
    for name in stored:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        counts.update(name[:start] for start in starts if name[start:] in needed)
    return counts


def _same_shapes(stored: Mapping[str, Stored], needed: Mapping[str, torch.Size], place: str) -> int:
    return sum(stored[place + name].shape == shape for name, shape in needed.items())


def _take(
    stored: Mapping[str, Stored], expected: Mapping[str, torch.Size], own: str, place: str, others: Sequence[str] = ()
) -> Found:
    beside = tuple(other for other in others if other.startswith(place))
    tensors, extra = {}, {}
    for name, tensor in stored.items():
        if not name.startswith(place) or (beside and name.startswith(beside)):
            continue
        inside = own + name[len(place) :]
        if inside in expected or not name.endswith(COUNTERS):
            tensors[inside] = tensor
        if inside not in expected:
            extra[inside] = tensor
    known = {_top(name, own) for name in expected}
    layers = {_top(name, own) for name, tensor in extra.items() if name.endswith(".weight") and len(tensor.shape) > 1}
    ignored = [name for name in extra if name in tensors and _top(name, own) not in known | layers]
    kept = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    return Found(kept, place, tuple(others), tuple(dict.fromkeys(_top(name, own) for name in ignored)))


def _top(name: str, own: str) -> str:
    return name[len(own) :].partition(".")[0]
