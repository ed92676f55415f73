"""Channel groups as plain data: which slices of which tensors must be pruned together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from profilesearch.errors import UsageError, nearest
from profilesearch.profiles import Profile, Scope

IntArray = NDArray[np.int64]
TIED = "tied by a residual sum; scope 'all' prunes it"
"""Why scope `block` leaves groups of scope `all`."""
_HALF = 0.5
"""Of a channel: less is rounded to none."""


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of one tensor dimension that follows a group's channels.

    Attributes:
        tensor: Name of the parameter or buffer, as in the state dict.
        dim: Of the tensor.
        rows: Indices along `dim`, shape (channels, r): row c belongs to channel c. r is 1 for most tensors and the
            number of pixels for a linear layer behind a flatten.
        takes: Whether the tensor consumes the channels there: it sums over them, as a weight does over its layer's
            inputs. Elsewhere it makes them, or has values for each.
    """

    tensor: str
    dim: int
    rows: IntArray
    takes: bool = False


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """The channels that must be pruned together; the unit of a profile.

    Attributes:
        name: Name of the first layer that makes the channels, such as `layer1.0.conv1`.
        channels: How many there are.
        scope: `block`, or `all` where a residual sum ties several layers.
        slices: Every tensor dimension that follows the group.
        layers: Every layer that makes the channels, in network order.
    """

    name: str
    channels: int
    scope: Scope
    slices: tuple[Slice, ...]
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutOfScope:
    """Channels that no profile may touch, and why.

    Attributes:
        name: Name of the first layer that makes them.
        channels: How many there are.
        reason: For people.
        layers: Every layer that makes them, in network order.
    """

    name: str
    channels: int
    reason: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GroupTable:
    """All channel groups of one architecture, in network order, and what is out of scope."""

    groups: tuple[ChannelGroup, ...]
    excluded: tuple[OutOfScope, ...] = field(default=())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Group names in network order."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def channels(self) -> IntArray:
        """Channels of every group, shape (G,)."""
        return np.array([group.channels for group in self.groups], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, widths and couplings.

        It does not depend on the number of classes, the resolution or the input channels, so that a profile moves
        between them. The number of columns of a slice is left out for that reason.
        """
        digest = hashlib.sha256()
        for group in self.groups:
            digest.update(f"{group.name} {group.channels} {group.scope}\n".encode())
            for part in sorted((s.tensor, s.dim) for s in group.slices):
                digest.update(f"  {part[0]} {part[1]}\n".encode())
        return digest.hexdigest()[:16]

    def within(self, scope: Scope) -> "GroupTable":
        """Returns the table restricted to the groups that `scope` may touch."""
        kept = tuple(group for group in self.groups if scope in ("all", group.scope))
        left = [group for group in self.groups if group not in kept]
        return GroupTable(kept, (*self.excluded, *(OutOfScope(g.name, g.channels, TIED, g.layers) for g in left)))

    @property
    def tied(self) -> bool:
        """Whether the scope leaves out groups that scope `all` has."""
        return any(each.reason == TIED for each in self.excluded)

    def ratios(self, profile: Profile) -> NDArray[np.float64]:
        """Returns the keep ratios of `profile` in the order of this table, shape (G,).

        Raises:
            UsageError: A group of the profile is unknown here, or one of this table is missing in the profile; the
                message names the first one and the nearest valid name.
        """
        check_names(profile.keep, self.names, f"the profile is for {profile.architecture}")
        if profile.fingerprint != self.fingerprint:
            raise UsageError(
                f"the profile's groups for {profile.architecture} have other widths or couplings than this network "
                f"(fingerprint {profile.fingerprint}, here {self.fingerprint}); search a profile for this network, or "
                "carry this one over with `profilesearch.networks.mapping.carry`"
            )
        ratios = np.array([profile.keep[name] for name in self.names])
        for name, ratio, channels in zip(self.names, ratios, self.channels, strict=True):
            if ratio * channels < _HALF:
                raise UsageError(
                    f"the profile keeps {ratio:g} of group '{name}', which is none of its {channels} channels; keep "
                    f"{1 / channels:.3g} or more"
                )
        return ratios


def check_names(given: Mapping[str, object], valid: Sequence[str], context: str) -> None:
    """Checks that `given` names exactly the `valid` groups.

    Raises:
        UsageError: With the first name that does not fit, and the nearest valid one.
    """
    for name in given:
        if name not in valid:
            raise UsageError(
                f"{context}: group '{name}' does not exist in this network; {nearest(name, valid)}, or carry the "
                "profile over with `profilesearch.networks.mapping.carry`"
            )
    for name in valid:
        if name not in given:
            raise UsageError(
                f"{context}: it has no keep ratio for group '{name}' of this network; "
                "`profilesearch.networks.mapping.carry` carries a profile to a relative"
            )
