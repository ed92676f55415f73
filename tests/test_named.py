"""Torchvision's data sets by name, on small folders of their layouts."""

import bz2
import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from profilesearch.errors import UsageError
from profilesearch.tasks.catalogue import NAMED
from profilesearch.tasks.files import for_network
from profilesearch.tasks.sources import open_data


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = zlib.crc32(str(path).encode()) % 256
    Image.new("RGB", (30, 24), (shade, shade, shade)).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sun397(root: Path) -> None:
    write(root / "SUN397" / "ClassName.txt", "/a/abbey\n/b/bar/indoor\n")
    for name in ("a/abbey", "b/bar/indoor"):
        for index in range(4):
            picture(root / "SUN397" / name / f"sun_{index}.jpg")


def caltech101(root: Path) -> None:
    base = root / "caltech101" / "101_ObjectCategories"
    picture(base / "BACKGROUND_Google" / "image_0001.jpg")
    for name in ("ant", "barrel"):
        for index in range(1, 34):
            picture(base / name / f"image_{index:04d}.jpg")


def caltech256(root: Path) -> None:
    for number, name in enumerate(("001.ak47", "002.american-flag"), 1):
        for index in range(1, 64):
            picture(root / "caltech256" / "256_ObjectCategories" / name / f"{number:03d}_{index:04d}.jpg")


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    for part, index in (("train", 0), ("val", 1), ("test", 2)):
        names = [f"{name}/{name}_{index}.jpg" for name in ("banded", "dotted")]
        write(base / "labels" / f"{part}1.txt", "\n".join(names) + "\n")
        for name in names:
            picture(base / "images" / name)


def flowers102(root: Path) -> None:
    base = root / "flowers-102"
    for index in range(1, 7):
        picture(base / "jpg" / f"image_{index:05d}.jpg")
    scipy.io.savemat(base / "imagelabels.mat", {"labels": np.array([1, 2, 1, 2, 1, 2])})
    scipy.io.savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]})


def food101(root: Path) -> None:
    for part, index in (("train", 0), ("test", 1)):
        names = {name: [f"{name}/{index}"] for name in ("apple_pie", "bibimbap")}
        write(root / "food-101" / "meta" / f"{part}.json", json.dumps(names))
        for (name,) in names.values():
            picture(root / "food-101" / "images" / f"{name}.jpg")


def oxfordiiitpet(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    for part, index in (("trainval", 0), ("test", 1)):
        lines = [f"{name}_{index} {label} 1 1" for label, name in enumerate(("Abyssinian", "beagle"), 1)]
        write(base / "annotations" / f"{part}.txt", "\n".join(lines) + "\n")
        for line in lines:
            picture(base / "images" / f"{line.split()[0]}.jpg")


def fgvcaircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    write(base / "variants.txt", "707-320\nA300B4\n")
    for part, index in (("trainval", 0), ("test", 1)):
        lines = [f"{index}{label} {name}" for label, name in enumerate(("707-320", "A300B4"))]
        write(base / f"images_variant_{part}.txt", "\n".join(lines) + "\n")
        for line in lines:
            picture(base / "images" / f"{line.split()[0]}.jpg")


def stanfordcars(root: Path) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    kind = [("fname", object), ("class", np.int32)]
    for part, path in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        for index in (1, 2):
            picture(base / f"cars_{part}" / f"{index}.jpg")
        scipy.io.savemat(base / path, {"annotations": np.array([("1.jpg", 1), ("2.jpg", 2)], dtype=kind)})
    scipy.io.savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["AM Hummer", "Acura"], dtype=object)})


def imagenette(root: Path) -> None:
    for part in ("train", "val"):
        for wnid in datasets.Imagenette._WNID_TO_CLASS:
            picture(root / "imagenette2" / part / wnid / f"{wnid}_{part}.JPEG")


def usps(root: Path) -> None:
    line = " ".join(["{0}", *(f"{place}:{{1}}" for place in range(1, 257))])
    for name, shade in (("usps.bz2", 0.5), ("usps.t.bz2", 0.6)):
        (root / name).write_bytes(bz2.compress("\n".join(line.format(label, shade) for label in (1, 2)).encode()))


def eurosat(root: Path) -> None:
    for name in ("Forest", "River"):
        for index in range(10):
            picture(root / "eurosat" / "2750" / name / f"{name}_{index}.jpg")


def country211(root: Path) -> None:
    for part in ("train", "valid", "test"):
        for name in ("AD", "AE"):
            picture(root / "country211" / part / name / f"{part}.jpg")


def renderedsst2(root: Path) -> None:
    for part in ("train", "valid", "test"):
        for name in ("negative", "positive"):
            picture(root / "rendered-sst2" / part / name / f"{part}.png")


def inaturalist(root: Path) -> None:
    for part in ("2021_train", "2021_valid"):
        for name in ("00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
                     "00001_Animalia_Annelida_Polychaeta_Sabellida_Sabellidae_Sabella_spallanzanii"):  # fmt: skip
            picture(root / part / name / f"{part}.jpg")


def qmnist(root: Path) -> None:
    for part in ("train", "test"):
        base = root / "QMNIST" / "raw" / f"qmnist-{part}"
        base.parent.mkdir(parents=True, exist_ok=True)
        sizes = struct.pack(">iiii", 0x0803, 2, 28, 28)
        base.with_name(f"{base.name}-images-idx3-ubyte").write_bytes(sizes + part[1].encode() * (2 * 28 * 28))
        labels = np.array([[0, 7, 1], [1, 7, 2]], dtype=">i4")  # the digit, then who wrote it
        sizes = struct.pack(">iii", 0x0C02, *labels.shape)
        base.with_name(f"{base.name}-labels-idx2-int").write_bytes(sizes + labels.tobytes())


@pytest.mark.parametrize(
    ("layout", "train", "test"),
    [
        (sun397, 4, 4),
        (caltech101, 60, 6),
        (caltech256, 120, 6),
        (dtd, 4, 2),
        (flowers102, 4, 2),
        (food101, 2, 2),
        (oxfordiiitpet, 2, 2),
        (fgvcaircraft, 2, 2),
        (stanfordcars, 2, 2),
        (imagenette, 10, 10),
        (usps, 2, 2),
        (eurosat, 16, 4),
        (country211, 4, 2),
        (renderedsst2, 4, 2),
        (inaturalist, 2, 2),
        (qmnist, 2, 2),
    ],
)
def test_data_sets_are_split_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Callable[[Path], None], train: int, test: int
) -> None:
    layout(tmp_path)
    if layout is flowers102:  # torchvision knows the real files' digests
        monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda _: True)
    name = layout.__name__
    data = open_data(f"{name}@16", tmp_path)
    assert data.num_classes == NAMED[name].classes
    assert (len(data.train), len(data.test)) == (train, test)
    assert data.image_shape == (3, 16, 16)
    assert data.train.pixels.shape == (train, 3, 16, 16)
    assert data.train.labels.unique().tolist() == data.test.labels.unique().tolist()
    counts = data.train.labels.bincount()
    assert counts[counts > 0].unique().numel() == 1  # as many of every class
    again = open_data(f"{name}@16", tmp_path)
    assert data.train.digest == again.train.digest != data.test.digest


def test_small_images_keep_their_size(tmp_path: Path) -> None:
    usps(tmp_path)
    assert open_data("usps", tmp_path).image_shape == (3, 16, 16)


def test_imagenet_is_the_folder_of_that_name(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    for part in ("train", "val"):
        for wnid in ("n01440764", "n15075141"):
            picture(tmp_path / "imagenet" / part / wnid / f"{wnid}_{part}.JPEG")
    data = for_network(open_data("imagenet@32", tmp_path), 1000)
    assert (data.name, data.num_classes) == ("imagenet@32", 1000)
    assert sorted(data.test.labels.tolist()) == [0, 999]


def test_birdsnap_is_a_folder_of_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("Acadian_Flycatcher", "Acorn_Woodpecker"):
            picture(tmp_path / "birdsnap" / part / name / "1.jpg")
    data = open_data(f"{tmp_path / 'birdsnap'}@16")
    assert (len(data.train), len(data.test), data.num_classes) == (2, 2, 2)


def norb(path: Path, values: np.ndarray, magic: int, packed: bool) -> None:
    sizes = np.array([magic, values.ndim, *values.shape, *[1] * (3 - values.ndim)], dtype="<i4")
    content = sizes.tobytes() + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)


def test_smallnorb_is_read_from_its_own_files(tmp_path: Path) -> None:
    stem = tmp_path / "smallnorb" / "smallnorb-5x{}x9x18x6x2x96x96-{}"
    pixels = np.arange(3 * 2 * 96 * 96, dtype=np.uint8).reshape(3, 2, 96, 96)
    for objects, part in (("46789", "training"), ("01235", "testing")):
        base = str(stem).format(objects, part)
        norb(Path(f"{base}-dat.mat"), pixels, 0x1E3D4C55, packed=part == "testing")
        norb(Path(f"{base}-cat.mat"), np.array([0, 4, 2], dtype="<i4"), 0x1E3D4C54, packed=part == "testing")
    data = open_data("smallnorb", tmp_path)
    assert torch.equal(data.test.pixels, torch.from_numpy(pixels[:, :1].copy()))
    assert data.train.labels.tolist() == [0, 4, 2]
    assert open_data("smallnorb@32", tmp_path).normalize(data.train.pixels).shape == (3, 1, 32, 32)
    cut = Path(f"{str(stem).format('46789', 'training')}-dat.mat")
    cut.write_bytes(cut.read_bytes()[:-5])
    with pytest.raises(UsageError, match=r"cannot read .*training-dat"):
        open_data("smallnorb", tmp_path)


def fer2013(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    for name, text in files.items():
        write(folder / "fer2013" / name, text)
    # torchvision knows the real files' digests
    monkeypatch.setattr("torchvision.datasets.fer2013.check_integrity", lambda *_, **__: True)


def test_faces_that_are_rows_of_a_table_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = " ".join(["7"] * 48 * 48)
    rows = [f"{label},{pixels},{part}" for part in ("Training", "PublicTest") for label in (0, 1)]
    fer2013(tmp_path, monkeypatch, {"fer2013.csv": "\n".join(["emotion,pixels,Usage", *rows])})
    data = open_data("fer2013", tmp_path)
    assert data.image_shape == (3, 48, 48)
    assert sorted(data.test.labels.tolist()) == [0, 1]
    assert data.train.digest == open_data("fer2013", tmp_path).train.digest
    without = tmp_path / "kaggle"
    bare = {"train.csv": f"emotion,pixels\n0,{pixels}\n", "test.csv": f"pixels\n{pixels}\n"}
    fer2013(without, monkeypatch, bare)
    with pytest.raises(UsageError, match="no labels for the test images"):
        open_data("fer2013", without)


def test_a_folder_that_is_called_like_a_data_set_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        for index in range(5):
            picture(tmp_path / "eurosat" / name / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    assert open_data("eurosat@8").num_classes == 2
    with pytest.raises(UsageError, match=r"one subfolder a class, by `\./eurosat`$"):
        open_data("eurosat@8", tmp_path / "elsewhere")
    assert open_data("./eurosat@8", tmp_path / "elsewhere").num_classes == 2
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match=rf"by `{re.escape(str(tmp_path / 'eurosat'))}`$"):
        open_data("eurosat@8", tmp_path)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_missing_data_sets_are_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} in .* is missing or incomplete") as error:
        open_data(name, tmp_path)
    assert ("`download=True`" in str(error.value)) == NAMED[name].fetched
