"""Published weights by their names: torchvision's, and those that come as a package of the package index."""

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import filled_later, is_torchvisions, torchvision_models
from profilesearch.networks.checkpoints import load_tensors, save_network
from profilesearch.networks.names import folder_name
from profilesearch.networks.packaged import PACKAGED, PACKAGES, packaged_file
from profilesearch.system.files import cache_folder, regular_file

_RESCALING = ("googlenet", "inception_v3")


def published_names(architecture: str) -> list[str]:
    """Returns the names of published weights for an architecture, such as `IMAGENET1K_V1`; none for most."""
    if architecture in PACKAGES:
        return [PACKAGED]
    if not is_torchvisions(architecture):
        return []
    return list(torchvision_models().get_model_weights(architecture).__members__)


def published_weights(architecture: str, name: str) -> Path:
    """Returns the file of published weights, fetched into torch's own cache unless it is there.

    Those of a package are converted into the user's cache; nothing of the package is executed.

    Args:
        architecture: One that has some.
        name: One of `published_names(architecture)`.

    Raises:
        UsageError: The file is damaged, or not there and cannot be fetched, or the network would rescale its images.
    """
    if architecture in PACKAGES:
        return _converted(architecture)
    if architecture in _RESCALING:
        raise UsageError(
            f"the published weights of {architecture} are for a network that rescales its images, which a state dict "
            "does not say; fine-tune it without `transform_input` and give the file"
        )
    url = str(torchvision_models().get_model_weights(architecture)[name].url)
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


def _converted(architecture: str) -> Path:
    """Returns a package's weights under the architecture's own names, as a file in the user's cache."""
    file = packaged_file(architecture)
    out = cache_folder() / "weights" / f"{folder_name(architecture)}-{_sha256(file)[:8]}.safetensors"
    if out.exists():
        return out
    classes = 1000
    given = {name: each for name, each in load_tensors(file)[0].items() if not name.endswith(_COUNTER)}
    network = filled_later(architecture, classes)
    own = {name: each for name, each in network.state_dict().items() if not name.endswith(_COUNTER)}
    if [each.shape for each in own.values()] != [each.shape for each in given.values()]:
        package = PACKAGES[architecture]
        raise UsageError(f"{file} is of another network than {architecture}; install another version of {package}")
    network.load_state_dict(dict(zip(own, given.values(), strict=True)), strict=False)
    save_network(out, network, {"architecture": architecture, "num_classes": classes, "in_channels": 3})
    return out


_COUNTER = "num_batches_tracked"


def _sha256(file: Path) -> str:
    with regular_file(file, "checkpoint").open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
