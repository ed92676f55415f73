"""What other libraries are given: Torch-Pruning's ratios, and what exported files say of the images they take."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from profilesearch.applying.exports import export
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Scope
from profilesearch.pruning import prune_with_profile
from profilesearch.tasks.data import DataSet

SHAPE = (3, 32, 32)


@pytest.mark.full
@pytest.mark.parametrize(("name", "scope"), [("resnet18", "block"), ("resnet18", "all"), ("mnasnet0_5", "block")])
def test_torch_pruning_keeps_as_many_channels(name: str, scope: Scope) -> None:
    network = build(name, 5).eval()
    space = Plan(name, network, SHAPE).space(Budget("macs", 0.5), scope)
    profile = space.profile(space.sample(1, np.random.default_rng(1))[0], {})
    ours = prune_with_profile(network, profile, SHAPE).network
    ratios, example = profile.to_torch_pruning(network), torch.rand(1, *SHAPE)
    importance, last = tp.importance.MagnitudeImportance(p=1), list(network.modules())[-1]
    tp.pruner.MagnitudePruner(
        network, example, importance=importance, pruning_ratio=0, pruning_ratio_dict=ratios, ignored_layers=[last]
    ).step()
    assert [each.shape for each in network.parameters()] == [each.shape for each in ours.parameters()]


def test_groups_that_are_no_layer_have_no_ratio() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
    space = Plan("mine:net", network, (3, 8, 8)).space(Budget("macs", 0.5))
    profile = space.profile(space.uniform(), {})
    with pytest.raises(UsageError, match="group '0#2' is no layer of this network by itself"):
        replace(profile, keep={"0#2": 0.5}).to_torch_pruning(network)


def test_grouped_convolutions_are_refused_for_torch_pruning() -> None:
    network = build("regnet_y_tiny", 10, 1)
    space = Plan("regnet_y_tiny", network, (1, 8, 8)).space(Budget("macs", 0.6))
    with pytest.raises(UsageError, match=r"block1-0\.f\.b\.0' is a grouped convolution"):
        space.profile(space.uniform(), {}).to_torch_pruning(network)


@pytest.mark.full
def test_exported_files_say_what_images_they_take(digits: DataSet, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    named = replace(digits, classes=tuple(f"number {digit}" for digit in range(10)))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    for kind in ("onnx", "pt2"):
        export(network, kind, tmp_path / f"net.{kind}", named, named.test[:20])
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    assert [each.shape for each in (*session.get_inputs(), *session.get_outputs())] == [
        ["batch", 1, 8, 8],
        ["batch", 10],
    ]
    told = session.get_modelmeta().custom_metadata_map
    extra = dict.fromkeys(("class_names", "mean", "std", "input_size", "data"), "")
    torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert {name: json.loads(text) for name, text in told.items() if name in extra} == {
        "class_names": list(named.classes),
        "mean": [0.305],
        "std": [0.376],
        "input_size": [1, 8, 8],
        "data": "digits",
    }
    assert extra == {name: told[name] for name in extra}
