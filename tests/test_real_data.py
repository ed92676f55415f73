"""Networks that other people trained, on CIFAR-10. Runs where the images and weights are."""

import json
from pathlib import Path

import pytest
import torch

from profilesearch import apply
from profilesearch.networks.architectures import build
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.files import for_network
from profilesearch.tasks.pools import foreign_member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.sources import open_data

pytestmark = pytest.mark.data

PUBLISHED = {
    "resnet20-cifar10-12fca82f.th": 91.73,
    "resnet20-cifar10-7b91455a.safetensors": 92.68,
    "resnet20-cifar10-e4034010.safetensors": 92.63,
    "resnet20-cifar10-4b83311b.safetensors": 92.00,
    "resnet20-cifar10-b4b79a5f.safetensors": 91.74,
    "resnet56-cifar10-4bfd9763.th": 93.39,
    "resnet56-cifar10-2d9e562d.safetensors": 93.68,
    "resnet56-cifar10-8a92920c.safetensors": 93.39,
}

WHOLE = "resnet20-cifar10-12fca82f.th"
"""Read on all test images; that the others load is seen on fewer."""


@pytest.fixture(scope="module")
def cifar(data_dir: Path) -> DataSet:
    return load_data("cifar10", data_dir)


@pytest.mark.parametrize("name", PUBLISHED)
def test_public_weights_reach_their_accuracy(name: str, cifar: DataSet, weights_dir: Path) -> None:
    member = foreign_member(name.split("-", maxsplit=1)[0], weights_dir / name, cifar)
    assert member.trained_on == "all"
    every = name == WHOLE
    reached = accuracy(member.load(), cifar, cifar.test if every else cifar.test[:1000], "fp32") * 100
    assert reached == pytest.approx(PUBLISHED[name], abs=0.1 if every else 2.5)  # three deviations of 1,000 images


@pytest.mark.parametrize(
    ("name", "classes", "shape", "first"),
    [("cifar100", 100, (3, 32, 32), "apple"), ("fashionmnist", 10, (1, 28, 28), "T-shirt/top")],
)
def test_data_sets_load(name: str, classes: int, shape: tuple[int, int, int], first: str, data_dir: Path) -> None:
    data = load_data(name, data_dir)
    assert data.image_shape == shape
    assert data.num_classes == classes == int(data.train.labels.max()) + 1
    assert set(data.test.labels.tolist()) == set(range(classes))
    assert (data.class_names[0], len(data.class_names)) == (first, classes)


def test_imagenets_folders_go_through_apply(
    weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = weights_dir.resolve().parent / "imagenet-50"
    if not images.is_dir():
        pytest.skip("needs the folder imagenet-50 beside the weights")
    data = for_network(open_data(str(images)), 1000)
    assert (data.num_classes, data.image_shape, len(data.train) + len(data.test)) == (1000, (3, 224, 224), 50)
    zebra, grey_fox = 340, 280
    assert {zebra, grey_fox} <= {*data.train.labels.tolist(), *data.test.labels.tolist()}
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(build("mobilenet_v3_small", 1000).state_dict(), "untrained.pth")
    options = ["--checkpoint", "untrained.pth", "--data", str(images), "--profile", "uniform", "--refit", "none"]
    apply.main(["--arch", "mobilenet_v3_small", *options, "--scope", "all", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["evidence"]["data"] == "imagenet-50@224"
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.5, rel=0.005)
