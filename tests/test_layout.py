"""Where the parts of a folder of images are: found under the names that people give them, and named where not read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from profilesearch.errors import UsageError
from profilesearch.system.folders import APPLIED, SEARCHED, drafted
from profilesearch.tasks.files import check_outside
from profilesearch.tasks.sources import open_data

Write = Callable[..., Path]


def opened(folder: Path, *parts: str) -> tuple[str, ...]:
    """Returns the remarks of a folder whose first part has 8 images a class, and whose second one has 3."""
    data = open_data(f"{folder}@8")
    assert (data.classes, len(data.train), len(data.test)) == (("one", "zero"), 16, 6), parts
    return data.remarks


@pytest.mark.parametrize(
    "parts",
    [("Train", "Test"), ("training_set", "test_set"), ("train-set", "Test Set"), ("train", "eval"),
     ("TRAINING", "testing"), ("train", "valid"), ("training", "validation")],
)  # fmt: skip
def test_parts_go_by_many_names(parts: tuple[str, str], tmp_path: Path, write_images: Write) -> None:
    for part, count in zip(parts, (8, 3), strict=True):
        write_images(tmp_path / part, ["one", "zero"], count)
    assert opened(tmp_path) == ()


def test_what_lies_beside_both_parts_is_named(tmp_path: Path, write_images: Write) -> None:
    for part, count in (("train", 8), ("val", 5), ("test", 3)):
        write_images(tmp_path / part, ["one", "zero"], count)
    assert opened(tmp_path) == ("not read: val beside train and test",)


def test_a_flat_test_folder_leaves_its_place_to_one_with_classes(tmp_path: Path, write_images: Write) -> None:
    for part, count in (("train", 8), ("val", 3)):
        write_images(tmp_path / part, ["one", "zero"], count)
    write_images(tmp_path, ["test"], 4)
    assert opened(tmp_path) == ("not read: test beside train and val",)


def test_a_class_may_be_called_like_a_part(tmp_path: Path, write_images: Write) -> None:
    data = open_data(f"{write_images(tmp_path, ['bus', 'car', 'train'])}@8")
    assert (data.classes, data.remarks) == (("bus", "car", "train"), ())


def test_folders_that_look_like_parts_are_no_classes(tmp_path: Path, write_images: Write) -> None:
    for name in ("first", "second"):
        write_images(tmp_path / name, ["one", "zero"])
    with pytest.raises(UsageError, match=r"first and .*second hold the same folders; name them train and test, or if"):
        open_data(f"{tmp_path}@8")
    write_images(tmp_path / "first", ["two"])
    assert open_data(f"{tmp_path}@8").classes == ("first", "second")


def test_a_folder_in_a_folder_is_asked_about(tmp_path: Path, write_images: Write) -> None:
    write_images(tmp_path / "data", ["one", "zero"])
    with pytest.raises(UsageError, match=r"one class alone, 'data'.*, did you mean .*/data\?$"):
        open_data(str(tmp_path))


def test_results_are_neither_classes_nor_images(tmp_path: Path, write_images: Write) -> None:
    clean = open_data(f"{write_images(tmp_path / 'photos', ['one', 'zero'])}@8")
    for place, main in (("applied", APPLIED), ("runs/resnet20/a", SEARCHED), ("runs/resnet20/b", SEARCHED),
                        ("one/applied", APPLIED), ("zero", APPLIED)):  # fmt: skip
        with drafted(tmp_path / "photos" / place, main, "settings") as draft:
            (draft.folder / "profile.png").write_bytes((tmp_path / "photos" / "one" / "0.png").read_bytes())
            draft.seal({})
    data = open_data(f"{tmp_path / 'photos'}@8")
    assert (data.identity, data.classes) == (clean.identity, clean.classes)
    for name, count in (("applied", 1), ("runs", 2), ("one", 1), ("zero", 1)):
        assert f"results of profilesearch in {name} ({count})" in data.remarks[0]


def test_a_result_does_not_go_among_the_images(tmp_path: Path, write_images: Write) -> None:
    data = open_data(f"{write_images(tmp_path / 'photos', ['one', 'zero'])}@8")
    for place in ("one", "one/deep/applied"):
        with pytest.raises(UsageError, match=r"lies among the images of photos@8; name a folder outside"):
            check_outside(tmp_path / "photos" / place, data)
    for place in ("photos/applied", "applied", "photos/once"):
        check_outside(tmp_path / place, data)
