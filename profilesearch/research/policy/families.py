"""Families of architectures, read off their names: what a policy must not have learned from to be measured there."""

import re

from profilesearch.networks.names import TIMM

_FAMILY = re.compile(r"(?:tf_|tv_|gluon_|legacy_|wide_)?([a-z]+?)(?=v?\d|[^a-z]|$)", re.IGNORECASE)
"""timm writes mobilenetv3 for mobilenet_v3; a wide network is of the family that it widens."""
_ROOT = re.compile(r"(?:^|(?<!inception)_)(?:se|sk|eca|pre)?(resnext|resnet|regnet|mnasnet|densenet)", re.IGNORECASE)
"""Families that have kinds with names of their own, such as legacy_seresnet18, resnetrs50, regnety_002."""


def family_of(architecture: str) -> str:
    """Returns the family of an architecture: the letters that its name begins with, such as `resnet` of `resnet56`.

    Of names with an older family in them it is that one: a policy that learned from relatives has seen them.
    """
    name = architecture.removeprefix(TIMM).rpartition(":")[2]
    found = _ROOT.search(name) or _FAMILY.match(name)
    return found[1].lower() if found else name
