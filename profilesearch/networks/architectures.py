"""Architectures by name: what people can ask for."""

import importlib
import inspect
import itertools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from profilesearch.errors import UsageError, choose, nearest
from profilesearch.networks.cifar_resnet import CIFAR_RESNETS, resnet18_small
from profilesearch.networks.names import TIMM
from profilesearch.networks.tiny import TINY_NETWORKS
from profilesearch.system.files import nearest_path

_IMAGES = {"inception_v3": 299}
SMALL_IMAGE_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **CIFAR_RESNETS,
    "resnet18_small": resnet18_small,
    **TINY_NETWORKS,
}


def architecture_names() -> list[str]:
    """Returns the names that come with the installation: small networks and torchvision's classifiers."""
    return [*SMALL_IMAGE_NETWORKS, *torchvision_names()]


def torchvision_names() -> list[str]:
    """Returns the names of torchvision's classifiers."""
    models = torchvision_models()
    names: list[str] = models.list_models(module=models)
    return names


def is_torchvisions(name: str) -> bool:
    """Says whether an architecture is one of torchvision's classifiers."""
    return name not in SMALL_IMAGE_NETWORKS and ":" not in name and name in torchvision_names()


def torchvision_models() -> Any:
    """Returns torchvision's module of networks, which takes a second or two to import."""
    return importlib.import_module("torchvision.models")


def check_architecture(name: str) -> None:
    """Checks that `build` knows an architecture, as far as that can be said without building it.

    Raises:
        UsageError: With the nearest name.
    """
    if name.startswith(TIMM):
        choose("timm architecture", name.removeprefix(TIMM), _timm().list_models())
    elif ":" in name:
        _callable(name)
    elif name not in SMALL_IMAGE_NETWORKS:
        names = architecture_names()
        if name not in names:
            raise UsageError(
                f"unknown architecture '{name}'; {nearest(name, names)}; your own is written module:callable"
            )


def is_foreign_code(name: str) -> bool:
    """Says whether an architecture is a user's own callable, whose module `build` imports."""
    return ":" in name and not name.startswith(TIMM)


def build(name: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Builds an untrained network.

    Args:
        name: One of `architecture_names()`, `timm:NAME`, or `package.module:callable` for one of your own; the
            callable is given `num_classes` and `in_channels` where it takes arguments of these names, or any.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the input images; torchvision's networks take 3.

    Raises:
        UsageError: The name is unknown, or the network takes other images or has other classes.
    """
    check_architecture(name)
    if name in SMALL_IMAGE_NETWORKS:
        return SMALL_IMAGE_NETWORKS[name](num_classes=num_classes, in_channels=in_channels)
    if name.startswith(TIMM):
        timm_network: nn.Module = _timm().create_model(
            name.removeprefix(TIMM), pretrained=False, num_classes=num_classes, in_chans=in_channels
        )
        return timm_network
    if is_foreign_code(name):
        return _own(name, {"num_classes": num_classes, "in_channels": in_channels})
    if in_channels != 3:
        raise UsageError(f"{name} takes images with 3 channels, not {in_channels}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = torchvision_models().get_model(name, weights=None, num_classes=num_classes)
    return network


def filled_later(name: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Builds a network that a file fills: its first weights are drawn from no stream that the caller goes on with."""
    with torch.random.fork_rng(devices=[]):
        return build(name, num_classes, in_channels)


def stem_channels(name: str, image_channels: int) -> int:
    """Returns how many input channels a new network gets; torchvision's take 3, with grey images repeated."""
    return 3 if is_torchvisions(name) else image_channels


def image_size(name: str) -> int:
    """Returns the height and width of the images that an architecture is made for."""
    if name.startswith(TIMM):
        size = _timm().get_pretrained_cfg(name.removeprefix(TIMM))
        return int(size.input_size[-1]) if size else 224
    return 32 if name in SMALL_IMAGE_NETWORKS else _IMAGES.get(name, 224)


def published_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the mean and standard deviation that timm's weights were trained with; None for other architectures."""
    about = _timm().get_pretrained_cfg(name.removeprefix(TIMM)) if name.startswith(TIMM) else None
    return (tuple(about.mean), tuple(about.std)) if about else None


def published_framing(name: str) -> tuple[float, str, bool] | None:
    """Returns how timm or torchvision bring images to the size that they test a network at; None for others.

    Returns:
        The shorter side before the centre is cut out, over the image size; the interpolation; and whether both sides
        are brought to that length.
    """
    if name.startswith(TIMM):
        about = _timm().get_pretrained_cfg(name.removeprefix(TIMM))
        return (1 / about.crop_pct, about.interpolation, about.crop_mode == "squash") if about else None
    weights = list(torchvision_models().get_model_weights(name)) if is_torchvisions(name) else []
    if not weights:
        return None
    test = weights[0].transforms()
    return test.resize_size[0] / test.crop_size[0], test.interpolation.value, False


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UsageError("timm is not installed; `pip install 'profilesearch[timm]'` brings it") from error


def _callable(name: str) -> Callable[..., Any]:
    module, _, leaf = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does, for the console script
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        plain = module.removesuffix(".py").replace("/", ".").strip(".")
        file = Path(f"{module.replace('.', '/')}.py")
        other = nearest_path(file)
        fix = "check the name and PYTHONPATH"
        if plain != module:
            fix = f"write {plain}:{leaf}"
        elif other is not None and other != file:
            fix = f"did you mean {'.'.join(other.with_suffix('').parts)}:{leaf}? else check PYTHONPATH"
        raise UsageError(f"cannot import {module} for '{name}': {error}; {fix}") from error
    except Exception as error:  # whatever is wrong in it
        raise UsageError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    made: Callable[..., Any] | None = getattr(found, leaf, None)
    if made is None:
        public = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
        own = [each for each in public if getattr(vars(found)[each], "__module__", "") == module] or public
        fix = nearest(leaf, own) if own else "define one there"
        raise UsageError(f"{module} has no '{leaf}'; {fix}; one of your own is written package.module:callable")
    return made


def _taken(made: Callable[..., Any], wanted: dict[str, int]) -> dict[str, int]:
    """Returns those of the wanted arguments that a builder takes; one that takes any is tried out."""
    takes = inspect.signature(made).parameters
    named = {key: value for key, value in wanted.items() if key in takes}
    if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in takes.values()):
        return named
    rest = {key: value for key, value in wanted.items() if key not in takes}
    for count in range(len(rest), 0, -1):
        for keys in itertools.combinations(rest, count):
            given = named | {key: rest[key] for key in keys}
            try:
                made(**given)
            except TypeError:  # it hands them on to what does not take them
                continue
            return given
    return named


def _own(name: str, wanted: dict[str, int]) -> nn.Module:
    made = _callable(name)
    try:
        network = made(**_taken(made, wanted))
    except Exception as error:
        fix = (
            "; name a function without arguments that returns the network (num_classes and in_channels are passed to "
            "what takes them)"
        )
        missing = isinstance(error, TypeError) and "required" in str(error)
        raise UsageError(f"{name} cannot be built: {type(error).__name__}: {error}{fix if missing else ''}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} returns a {type(network).__name__}; it must return a torch.nn.Module")
    lazy = next((where for where, each in network.named_parameters() if is_lazy(each)), None)
    if lazy:
        raise UsageError(
            f"{name} has a layer of unknown size ({lazy.rpartition('.')[0]}, a lazy module); pass one image through "
            f"the network before {name.partition(':')[2]} returns it"
        )
    return network
