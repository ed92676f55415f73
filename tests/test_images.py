"""Image files and folders of them: right pixels or one sentence, whatever is in them; known by content, cheaply."""

import io
import os
import resource
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from profilesearch.cli.baseline import state
from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.tasks import contents, decoded
from profilesearch.tasks.decoding import FORMATS, bring_to, decode, quiet
from profilesearch.tasks.files import FileImages, for_network, load_folder
from profilesearch.tasks.pools import foreign_member
from profilesearch.tasks.sources import open_data, open_for

SIZE = 8
GREY = np.round(np.linspace(0, 1, 30 * 20).reshape(30, 20) * 255).astype(np.uint8)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def folder_of(root: Path, images: Callable[[int], bytes], ending: str = "png", count: int = 10) -> Path:
    for place, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index}.{ending}").write_bytes(images(place * count + index))
    return root


WIDE: dict[str, bytes] = {
    "16-bit PNG": saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "16-bit TIFF": saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
    "16-bit TIFF, big-endian": saved(Image.frombytes("I;16B", (20, 30), (GREY.astype(">u2") * 257).tobytes()), "TIFF"),
    "16-bit PGM": b"P5 20 30 65535\n" + (GREY.astype(">u2") * 257).tobytes(),
    "12-bit PGM": b"P5 20 30 4095\n" + np.round(GREY * (4095 / 255)).astype(">u2").tobytes(),
    "float TIFF": saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
    "float PFM": saved(Image.fromarray((GREY / 255).astype(np.float32)), "PPM"),
    "8-bit PNG": saved(Image.fromarray(GREY), "PNG"),
}


@pytest.mark.parametrize("kind", WIDE)
def test_wide_grey_values_are_scaled(kind: str) -> None:
    expected = bring_to(Image.fromarray(GREY), SIZE).int()
    assert (decode(WIDE[kind], Path("x"), SIZE).int() - expected).abs().max() <= 1


UNKNOWN_RANGE = {
    "fractions that are not all between 0 and 1": saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
    "fractions": saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"),
    "integers of unknown range": saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "transparency alone": saved(Image.merge("LA", (Image.new("L", (20, 30)), Image.fromarray(GREY))), "PNG"),
}


@pytest.mark.parametrize("message", UNKNOWN_RANGE)
def test_values_of_unknown_range_are_refused(message: str) -> None:
    with pytest.raises(UsageError, match=f"^x.* {message}"):
        decode(UNKNOWN_RANGE[message], Path("x"), SIZE)


@pytest.mark.parametrize("colours", [1, 3])
def test_folders_of_12_bits_in_16_are_refused(tmp_path: Path, colours: int) -> None:
    twelve = GREY.astype(np.uint16) * 16
    if colours == 1:
        content = saved(Image.fromarray(twelve), "PNG")
    else:
        content = _colour_png(np.repeat(twelve[:, :, None], 3, axis=2))
    with pytest.raises(UsageError, match="have 16 bits, of which they use 14 or fewer; convert them to 8"):
        open_data(f"{folder_of(tmp_path / 'twelve', lambda _: content)}@8")


def _colour_png(values: np.ndarray) -> bytes:
    """Writes a colour PNG of 16 bits, which Pillow cannot."""
    height, width, _ = values.shape

    def chunk(name: bytes, inside: bytes) -> bytes:
        return len(inside).to_bytes(4) + name + inside + zlib.crc32(name + inside).to_bytes(4)

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBa",
    "I;16",
    "I;16B",
    "RGBX",
)


@given(mode=st.sampled_from(MODES), kind=st.sampled_from([*FORMATS, "TGA", "PCX", "ICO"]), seed=st.integers(0, 99),
       width=st.integers(1, 40), height=st.integers(1, 40))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_mode_in_any_format_is_right_or_refused(mode: str, kind: str, seed: int, width: int, height: int) -> None:
    image = _random_image(mode, width, height, seed)
    try:
        content = saved(image, kind)
    except (OSError, KeyError, ValueError):
        return  # Pillow does not write this
    try:
        pixels = decode(content, Path("x.png"), SIZE)
    except UsageError as error:
        assert str(error).startswith("x.png ")
        assert "\n" not in str(error)
        assert mode in ("I", "F", "LA", "PA", "RGBA", "RGBa", "HSV") or kind not in FORMATS
        return
    read = Image.open(io.BytesIO(content))
    if read.mode in ("I", "I;16", "I;16B"):
        expected = Image.fromarray(np.round(np.asarray(read).astype(np.float64) / 257).astype(np.uint8))
    elif read.mode == "F":
        expected = Image.fromarray(np.round(np.asarray(read) * 255).astype(np.uint8))
    else:
        expected = read.convert("RGB")
    assert (pixels.int() - bring_to(expected, SIZE).int()).abs().max() <= 1


def _random_image(mode: str, width: int, height: int, seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    if mode == "F":
        return Image.fromarray(random.random((height, width), dtype=np.float32) * (1 + seed % 2))
    if mode in ("I", "I;16"):
        kind = np.int32 if mode == "I" else np.uint16
        return Image.fromarray(random.integers(0, 65536, (height, width)).astype(kind))
    if mode == "I;16B":
        return Image.frombytes(mode, (width, height), random.bytes(2 * width * height))
    image = Image.frombytes("RGBA", (width, height), random.bytes(4 * width * height))
    if mode in ("RGBa", "RGBA"):
        return image.convert(mode)
    if mode in ("LA", "PA"):
        return image.convert("LA").convert(mode)
    return image.convert("RGB").convert(mode)


SMALL = {
    kind: saved(_random_image(mode, 16, 12, 0), kind)
    for kind, mode in (("PNG", "P"), ("JPEG", "RGB"), ("TIFF", "RGB"), ("BMP", "RGB"), ("GIF", "P"), ("WEBP", "RGBA"),
                       ("PPM", "RGB"), ("AVIF", "RGB"), ("JPEG2000", "RGB"))
}  # fmt: skip


@given(
    kind=st.sampled_from(sorted(SMALL)),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    cut=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_damaged_images_never_give_a_traceback(kind: str, place: float, bit: int, cut: bool) -> None:
    content = bytearray(SMALL[kind])
    where = int(place * len(content))
    if cut:
        del content[where:]
    else:
        content[where] ^= 1 << bit
    try:
        with quiet():
            assert decode(bytes(content), Path("x.png"), SIZE).shape == (3, SIZE, SIZE)
    except UsageError as error:
        assert str(error).startswith("x.png ")
        assert "\n" not in str(error)


def test_images_that_claim_to_be_huge_take_no_memory(tmp_path: Path) -> None:
    def claims(width: int, height: int, colour: int = 6) -> bytes:
        header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, colour, 0, 0, 0])
        ihdr = b"IHDR" + header
        start = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + ihdr + zlib.crc32(ihdr).to_bytes(4)
        inside = b"IDAT" + zlib.compress(bytes(1000))
        return start + (len(inside) - 4).to_bytes(4) + inside + zlib.crc32(inside).to_bytes(4)

    for shape in ((13_000, 13_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        with quiet(), pytest.raises(UsageError, match=r"pixels.*; scale it down, or take it out|cannot be decoded"):
            decode(claims(*shape), Path("x.png"), 224)
    long = folder_of(tmp_path / "long", lambda _: saved(Image.new("L", (60_000, 1)), "PNG"))
    data, before = open_data(str(long)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert data.train.pixels.shape[2:] == (224, 224)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def pictures(root: Path, count: int = 10) -> Path:
    return folder_of(root, lambda index: saved(Image.new("RGB", (9, 9), (9 * index, 0, 0)), "BMP"), "bmp", count)


def test_what_is_no_image_of_a_class_is_left_out_and_named(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos")
    clean = open_data(f"{root}@8")
    assert clean.remarks == ()
    (root / ".ipynb_checkpoints").mkdir()
    (root / "a" / ".trash").mkdir()
    for place in (".ipynb_checkpoints/0.bmp", "a/.trash/0.bmp", "a/._0.bmp", "outside.bmp"):
        (root / place).write_bytes((root / "a" / "0.bmp").read_bytes())
    for place in ("a/note.txt", "b/0.psd", "b/Thumbs.DB", "a/README", "b/1.psd"):
        (root / place).write_text("no image")
    (root / "c").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "gone.bmp").symlink_to("nowhere.bmp")
    (root / "a" / "again.bmp").symlink_to("0.bmp")
    os.mkfifo(root / "b" / "pipe.bmp")
    data = open_data(f"{root}@8")
    assert (data.num_classes, data.identity) == (2, clean.identity)
    (line,) = data.remarks
    for part in ("hidden folders (2)", "linked folders (2)", "links to nothing (1)", "hidden images (1)",
                 "pipes and other special files (1)", "links to images of the same folder (1)",
                 "images outside of class folders (1)", "files of unknown kinds (5: .psd, "):  # fmt: skip
        assert part in line
    (root / "a" / "elsewhere.bmp").symlink_to(tmp_path / "other.bmp")
    Image.new("RGB", (9, 9), (0, 0, 200)).save(tmp_path / "other.bmp")
    more = open_data(f"{root}@8")
    assert len(more.train) + len(more.test) == 21


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos")
    (root / "c").mkdir()
    (root / "c" / "0.psd").write_text("no image")
    with pytest.raises(UsageError, match=r"photos/c has no image \(left out: files of unknown kinds \(1: \.psd\)\)"):
        open_data(str(root))


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos")
    odd = Path(os.fsdecode(os.fsencode(root / "a") + b"/\xff.bmp"))
    (root / "a" / "0.bmp").rename(odd)
    moved = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    root.rename(moved)
    data = open_data(f"{moved}@8")
    assert len(data.train.pixels) == 16
    assert data.identity
    assert data.name.encode().decode() == "\\xfe@8"
    for file in (moved / "a").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(UsageError, match="cannot be decoded") as error:
        open_data(f"{moved}@8")
    assert str(error.value).encode()


def test_a_file_that_becomes_a_pipe_or_unreadable_is_one_sentence(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", count=200)
    data = open_data(f"{root}@8")
    last = max(data.train._indices[16:].tolist())  # type: ignore[attr-defined]
    file = data.train._contents.files[last]  # type: ignore[attr-defined]
    file.unlink()
    with pytest.raises(UsageError, match=r"cannot be read \(No such file or directory\); make it readable"):
        _ = data.train.pixels
    os.mkfifo(file)
    with pytest.raises(UsageError, match="is no regular file; take it out"):
        _ = data.train.pixels


def test_folders_are_known_by_content(tmp_path: Path) -> None:
    one, two, other = (pictures(tmp_path / name / "photos") for name in ("one", "two", "other"))
    (other / "a" / "3.bmp").write_bytes(saved(Image.new("RGB", (9, 9), (1, 2, 3)), "BMP"))  # as long as before
    first, second, third = (open_data(f"{root}@8") for root in (one, two, other))
    assert first.identity == second.identity != third.identity
    assert open_data(f"{one}@16").identity != first.identity
    assert first.renormalize([0.5], [0.5]).identity != first.identity
    assert (first.name, first.own_name) == (third.name, second.own_name)
    assert third.own_name == f"photos-{third.train.digest[:8]}@8"
    half = torch.tensor([1, 0])
    assert isinstance(first.train, FileImages)
    assert first.train.relabelled(half).digest != first.train.digest


def test_digests_are_computed_once_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_SETTLED", -1)
    root, read = pictures(tmp_path / "photos"), contents.read_image
    opened: list[Path] = []
    monkeypatch.setattr(contents, "read_image", lambda path: opened.append(path) or read(path))

    def fresh() -> str:
        opened.clear()
        files = sorted(root.rglob("*.bmp"))
        return " ".join(contents.Contents(files).digests(range(len(files))))

    before = fresh()
    assert len(opened) == 20
    assert (fresh(), opened) == (before, [])
    file = root / "a" / "3.bmp"
    times = file.stat().st_mtime_ns
    file.write_bytes(saved(Image.new("RGB", (9, 9), (1, 2, 3)), "BMP"))
    os.utime(file, ns=(times, times))
    assert fresh() != before
    assert opened == [file]
    (tmp_path / "cache" / "profilesearch" / "contents.sqlite").write_bytes(b"damaged")
    after = fresh()
    assert len(opened) == 20
    assert after != before


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "_SETTLED", -1)
    monkeypatch.setattr(decoded, "_full", set())
    return tmp_path / "cache" / "profilesearch"


@pytest.fixture
def opened(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Image files that were read."""
    read, found = contents.read_image, []
    monkeypatch.setattr(contents, "read_image", lambda path: found.append(path) or read(path))
    return found


def test_pixels_and_digest_take_one_reading(tmp_path: Path, opened: list[Path]) -> None:
    data = open_data(f"{pictures(tmp_path / 'photos')}@8")
    opened.clear()  # some were looked at
    assert len(data.train.pixels) == 16
    assert data.train.digest
    assert len(opened) <= 16


def test_a_second_start_reads_no_image(tmp_path: Path, opened: list[Path], own_cache: Path) -> None:
    root = pictures(tmp_path / "photos")
    first = open_data(f"{root}@8").train
    before, _ = first.pixels, first.digest
    opened.clear()
    again = open_data(f"{root}@8").train
    opened.clear()  # a few are looked at
    assert torch.equal(again.pixels, before)
    assert again.digest == first.digest
    assert opened == []
    assert open_data(f"{root}@16").train.pixels.shape[-1] == 16
    changed = sorted(root.rglob("*.bmp"))[0]
    changed.write_bytes(saved(Image.new("RGB", (9, 9), (1, 2, 3)), "BMP"))
    everything = open_data(f"{root}@8")
    seen = torch.cat([everything.train.pixels, everything.test.pixels])
    assert (seen == torch.tensor([1, 2, 3], dtype=torch.uint8).view(3, 1, 1)).all(dim=(1, 2, 3)).sum() == 1
    (own_cache / "decoded.sqlite").write_bytes(b"damaged")
    assert torch.equal(open_data(f"{root}@8").test.pixels, everything.test.pixels)


def test_a_digest_that_is_not_of_its_file_stands_in_the_way_once(tmp_path: Path, own_cache: Path) -> None:
    files = sorted(pictures(tmp_path / "photos").rglob("*.bmp"))
    digests = contents.Contents(files).digests(range(20))
    with closing(sqlite3.connect(own_cache / "contents.sqlite")) as cache, cache:
        cache.execute("UPDATE files SET digest = 'other' WHERE path = ?", [os.fsencode(files[0])])
    told = contents.Contents(files)
    assert told.digests([0]) == ["other"]
    with pytest.raises(UsageError, match="has changed meanwhile; start again"):
        told.read(0)
    assert contents.Contents(files).digests(range(20)) == digests


def test_decoded_images_are_kept_within_bounds(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "MOST", 400_000)
    monkeypatch.setattr(decoded, "_full", set())
    today, file = decoded._today(), own_cache / "decoded.sqlite"

    def kept(name: str) -> int:
        return len(decoded.kept([f"{name}{index}" for index in range(20)], "1", 64))

    def keep(name: str) -> None:  # 12 kB each
        for index in range(20):
            decoded.keep({f"{name}{index}": torch.full((3, 64, 64), index, dtype=torch.uint8)}, "1")

    keep("first")
    keep("second")
    there = kept("second")
    assert (kept("first"), file.stat().st_size <= 400_000) == (20, True)
    assert 0 < there < 20  # what is of today does not go
    monkeypatch.setattr(decoded, "_has_room", lambda _: pytest.fail("looked for room again"))
    keep("second")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache.parent))
    monkeypatch.setattr(decoded, "MOST", 400_000)
    monkeypatch.setattr(decoded, "_today", lambda: today + 1)
    keep("third")
    assert (kept("first"), kept("second"), kept("third")) == (0, 0, 20)
    assert file.stat().st_size <= 400_000


def test_what_is_damaged_or_of_another_decoder_is_not_taken(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.full((3, 8, 8), 77, dtype=torch.uint8)
    decoded.keep({"one": image}, "1")
    assert torch.equal(decoded.kept(["one"], "1", 8)["one"], image)
    file = own_cache / "decoded.sqlite"
    file.write_bytes(file.read_bytes().replace(bytes([77] * 192), bytes([77] * 191 + [78])))
    assert decoded.kept(["one"], "1", 8) == {}
    asked: list[str] = []
    monkeypatch.setattr(decoded, "kept", lambda _, kind, size: asked.append(kind) or {})
    for version in ("1", "2"):
        monkeypatch.setattr("PIL.__version__", version)
        assert len(open_data(f"{pictures(own_cache.parent / version)}@8").train.pixels)
    assert len(set(asked)) == 2


@pytest.mark.parametrize("name", ["a" * 300, "file/below", "\udcff"])
def test_a_cache_that_cannot_be_is_done_without(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(decoded, "_full", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    assert len(open_data(f"{pictures(tmp_path / 'photos')}@8").train.pixels) == 16


def test_small_images_that_are_enlarged_unasked_are_named(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos")
    (remark,) = open_data(str(root)).remarks
    assert f"images of {root} have about 9 pixels a side and are enlarged to 224" in remark
    assert f"{root}@9" in remark
    own = open_for("mynets:net", str(root))
    assert own.image_shape == (3, 9, 9)
    assert (
        f"are taken at 9 by 9; for a network that was trained on them enlarged to 224, name it {root}@224"
        in own.remarks[0]
    )
    assert open_for("resnet18", str(root)).image_shape == (3, 224, 224)
    large = folder_of(tmp_path / "large", lambda _: saved(Image.new("RGB", (300, 200)), "BMP"), "bmp", 10)
    assert open_data(str(large)).remarks == ()


def test_a_part_of_imagenet_serves_a_network_of_all_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path / "part")
    (root / "a").rename(root / "n01440764")
    (root / "b").rename(root / "n03000684")
    data = open_data(f"{root}@8")
    assert (data.num_classes, data.train.labels.unique().tolist()) == (2, [0, 1])
    assert for_network(data, 2) is data
    every = for_network(data, 1000)
    assert (every.num_classes, every.train.labels.unique().tolist()) == (1000, [0, 491])
    assert torch.equal(every.test.labels > 0, data.test.labels > 0)
    assert for_network(every, 1000) is every


def test_test_images_that_a_network_may_have_learned_from_are_said_to_be(
    tmp_path: Path, write_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(tmp_path / "mine.safetensors", build("resnet20", 2), {})
    output = Output(False, Console(width=400))
    for folder, said in (("flat", True), ("parts", False)):
        for part in ("",) if said else ("train", "test"):
            write_images(tmp_path / folder / part, ["a", "b"])
        data = load_folder(tmp_path / folder, 32)
        member = foreign_member("resnet20", tmp_path / "mine.safetensors", data)
        state(output, member, 0.9, data.test, "test", data, 3)
        assert ("flat@32 came without test images" in capsys.readouterr().out) == said
