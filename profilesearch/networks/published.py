"""Torchvision's published weights by their names."""

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
import torchvision

from profilesearch.errors import UsageError
from profilesearch.system.files import regular_file

_RESCALING = ("googlenet", "inception_v3")


def published_names(architecture: str) -> list[str]:
    """Returns the names of torchvision's weights for an architecture, such as `IMAGENET1K_V1`; none for others."""
    if architecture not in torchvision.models.list_models(module=torchvision.models):
        return []
    return list(torchvision.models.get_model_weights(architecture).__members__)


def published_weights(architecture: str, name: str) -> Path:
    """Returns the file of published weights, fetched into torch's own cache unless it is there.

    Args:
        architecture: One of torchvision's.
        name: One of `published_names(architecture)`.

    Raises:
        UsageError: The file is damaged, or not there and cannot be fetched, or the network would rescale its images.
    """
    if architecture in _RESCALING:
        raise UsageError(
            f"the published weights of {architecture} are for a network that rescales its images, which a state dict "
            "does not say; fine-tune it without `transform_input` and give the file"
        )
    url = str(torchvision.models.get_model_weights(architecture)[name].url)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    digest = file.stem.rpartition("-")[2]
    if file.exists():
        if not _sha256(file).startswith(digest):  # the older ones have no checksums inside
            raise UsageError(f"{file} is damaged: it is not what {url} gives; remove it, to fetch it again")
    else:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise UsageError(f"cannot fetch {name} of {architecture} from {url} ({error}); put it at {file}") from error
    return file


def _sha256(file: Path) -> str:
    with regular_file(file, "checkpoint").open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
