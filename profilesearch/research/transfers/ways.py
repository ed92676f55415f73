"""How networks may be compressed and carried, by name: read without torch, which takes seconds."""

from dataclasses import dataclass, fields

STARTS = ("random", "source")
"""What some methods start from."""
FINETUNES = ("linear", "full", "none")
"""How carried networks are fine-tuned."""
LEVELS_OF = {"params": "weights", "macs": "multiply-adds"}
"""What levels are of, in words."""


@dataclass(frozen=True)
class Ways:
    """How methods work upstream, beside how long.

    Attributes:
        distill: Weight of the source's answers in trainings that start from it, beside the labels; 1 leaves labels out.
        start: What RigL, STR and AC/DC start from, and whether they train as long as methods that start from there:
            `random` weights, or the `source`.
        criterion: Which channels structured methods keep.
        refit: How the source's weights are fitted anew in closed form before structured methods train them.
    """

    distill: float = 0.0
    start: str = "random"
    criterion: str = "l1"
    refit: str = "none"

    @property
    def identity(self) -> str:
        """What is not as it is by default, in a row; nothing where all is, as before there was a choice."""
        changed = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return "".join(f" {name} {value}" for name, value, default in changed if value != default)
