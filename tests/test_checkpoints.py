"""Checkpoints as people have them: wrapped, damaged, compressed, odd; each loads as it was saved or is one sentence."""

import argparse
import json
import os
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from profilesearch import load_network, load_pruned
from profilesearch.errors import UsageError
from profilesearch.networks.checkpoints import load_fitting, load_matched, load_metadata, load_tensors, write_tensors
from profilesearch.networks.reading import DIGEST_KEY, METADATA_KEY, file_digest
from profilesearch.showing.settings import Pooling

HERE = "test_checkpoints"


def small(num_classes: int = 10, in_channels: int = 1, width: int = 4) -> nn.Sequential:
    """A network without statistics, so that each tensor alone decides the output."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(in_channels, width, 3),
            norm=nn.BatchNorm2d(width),
            body=nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU()),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            head=nn.Linear(width, num_classes),
        )
    )


class Inner(nn.Module):
    """All layers under self.model."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.model = small(num_classes, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.model(images)
        return made


def parallel(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    return nn.DataParallel(small(num_classes, in_channels))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def state(seed: int = 0, **how: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(small(**how).state_dict())


def under(place: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{place}{name}": tensor for name, tensor in tensors.items()}


def optimizer() -> dict[str, Any]:
    network = small()
    made = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    made.step()
    return made.state_dict()


def same(path: Path, expected: dict[str, Tensor], architecture: str = f"{HERE}:small") -> bool:
    loaded = load_matched(architecture, path).tensors
    return loaded.keys() == expected.keys() and all(torch.equal(loaded[name], expected[name]) for name in expected)


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "averaged": lambda own: {"n_averaged": torch.tensor(7), **under("module.", own)},
    "net": lambda own: under("net.", own),
    "basicsr": lambda own: {"params": own},
    "model_state": lambda own: {"model_state": own, "epoch": 7, "optimizer": optimizer()},
    "lightning": lambda own: {
        "state_dict": under("net.model.", own) | {"loss.weight": torch.rand(10), "auc.confmat": torch.zeros(10, 10)},
        "optimizer_states": [optimizer()],
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint{}": {"best_k_models": defaultdict(int, a=1)}},
    },
    "lightning itself": lambda own: {"state_dict": own | {"criterion.weight": torch.rand(10)}},
    "deepspeed": lambda own: {"module": own, "optimizer": None, "ds_config": {"zero": 1}, "buffer_names": ["a"]},
    "timm": lambda own: {"arch": "x", "args": argparse.Namespace(lr=0.1), "state_dict": own, "metric": np.float64(0.9)},
    "detectron": lambda own: {"model": under("backbone.bottom_up.", own) | {"roi.weight": torch.rand(3, 3)}},
    "compiled in parallel": lambda own: {"model": under("_orig_mod.module.", own)},
    "parallel features": lambda own: {n.replace("body.", "body.module."): t for n, t in own.items()},
    "thop": lambda own: own | {"total_ops": torch.zeros(1), "body.0.total_params": torch.zeros(1)},
    "nested": lambda own: {"a": {"b": [{"c": own}]}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_checkpoints_load_by_the_networks_own_names(tmp_path: Path, name: str) -> None:
    own = state()
    torch.save(WRAPPED[name](own), tmp_path / "w.pth")
    assert same(tmp_path / "w.pth", own)
    network = small()
    assert load_fitting(network, tmp_path / "w.pth") == []
    assert torch.equal(network.head.weight, own["head.weight"])


def test_names_that_the_network_has_are_never_taken_off(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for make, inner in ((Inner, small), (parallel, small)):
        theirs, bare = make().state_dict(), inner().state_dict()
        place = next(iter(theirs)).partition(".")[0] + "."
        torch.save(theirs, tmp_path / "own.pth")
        assert same(tmp_path / "own.pth", dict(theirs), f"{HERE}:{make.__name__}")
        torch.save({"state_dict": theirs}, tmp_path / "own.pth")
        assert same(tmp_path / "own.pth", dict(theirs), f"{HERE}:{make.__name__}")
        torch.save({"state_dict": under("net.", dict(theirs))}, tmp_path / "own.pth")
        assert same(tmp_path / "own.pth", dict(theirs), f"{HERE}:{make.__name__}")
        torch.save(theirs, tmp_path / "own.pth")  # and taken off, or put there, where that makes them fit
        assert same(tmp_path / "own.pth", {name.removeprefix(place): each for name, each in theirs.items()})
        torch.save(bare, tmp_path / "own.pth")
        assert same(tmp_path / "own.pth", under(place, dict(bare)), f"{HERE}:{make.__name__}")


def test_the_raw_weights_are_taken_and_the_averaged_ones_are_a_choice(tmp_path: Path) -> None:
    raw, averaged = state(1), state(2)
    forms = (
        {"state_dict_ema": averaged, "state_dict": raw},
        {"params_ema": averaged, "params": raw},
        {"ema": {"module": averaged}, "model": raw},
        {"state_dict": under("ema_model.module.", averaged) | under("model.", raw)},
        under("teacher.", averaged) | under("student.", raw),
    )
    for place, form in enumerate(forms):
        path = tmp_path / f"{place}.pth"
        torch.save(form, path)
        assert same(path, raw)
        note = load_matched(f"{HERE}:small", path).note
        assert note.startswith(f"{path}: took the tensors under '")
        other = note.partition("; '")[2].partition("' takes those under")[0]
        assert same(Path(other), averaged), note
    with pytest.raises(UsageError, match=r"unknown entry of the checkpoint 'emma'; did you mean ema"):
        load_matched(f"{HERE}:small", tmp_path / "2.pth#emma")


def test_a_pool_may_start_from_an_entry_of_a_file(tmp_path: Path) -> None:
    torch.save({"ema": state(2), "model": state(1)}, tmp_path / "two.pth")
    words = ["--arch", f"{HERE}:small", "--data", "digits", "--pool-dir", str(tmp_path), "--start"]
    settings, network = Pooling.read([*words, str(tmp_path / "two.pth#ema")]), small()
    settings.validate()
    assert settings.start is not None and load_fitting(network, settings.start) == []
    assert all(torch.equal(network.state_dict()[name], each) for name, each in state(2).items())
    with pytest.raises(UsageError, match=r"cannot read the checkpoint .*tow\.pth: .*did you mean .*two\.pth\?"):
        Pooling.read([*words, str(tmp_path / "tow.pth#ema")]).validate()
    Pooling.read([*words, str(tmp_path / "tow.pth#ema"), "--list"]).validate()  # which starts nothing


def test_of_several_networks_the_one_whose_shapes_fit_is_taken(tmp_path: Path) -> None:
    torch.save({"model": state(1, width=8), "distilled_teacher": state(2)}, tmp_path / "w.pth")
    assert same(tmp_path / "w.pth", state(2))


def test_weights_in_two_parts_are_multiplied_out(tmp_path: Path) -> None:
    images = torch.rand(2, 1, 9, 9)
    splits: tuple[Callable[[nn.Module], Any], ...] = (
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
        lambda layer: nn.utils.weight_norm(layer, dim=None),
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    )
    for split in splits:
        torch.manual_seed(0)
        network = small().eval()
        for layer in (network.stem, network.body[0], network.head):
            split(layer)
        torch.save({"model": network.state_dict()}, tmp_path / "w.pth")
        loaded = load_network(f"{HERE}:small", tmp_path / "w.pth")
        assert torch.allclose(loaded(images), network(images), atol=1e-6)
        assert "multiplied out 3 weights" in load_matched(f"{HERE}:small", tmp_path / "w.pth").note
    network = small()
    nn.utils.parametrizations.spectral_norm(network.stem)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"holds 'stem\.weight' in parts; before saving.*remove_parametrizations"):
        load_network(f"{HERE}:small", tmp_path / "w.pth")


def test_tensors_without_a_place_are_still_refused(tmp_path: Path) -> None:
    for extra in ("body.2.weight", "stage2.0.weight"):
        for place in ("", "module."):
            torch.save(under(place, state() | {extra: torch.rand(4, 4, 3, 3)}), tmp_path / "w.pth")
            with pytest.raises(UsageError, match=f"its tensor '{extra}' has no place in this network"):
                load_network(f"{HERE}:small", tmp_path / "w.pth")
    short = state()
    del short["norm.running_var"]
    torch.save({"state_dict": short}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"it has no tensor 'norm\.running_var'"):
        load_network(f"{HERE}:small", tmp_path / "w.pth")
    torch.save({"model": small(), "loss": torch.rand(3)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="more than tensors"):
        load_network(f"{HERE}:small", tmp_path / "w.pth")


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (lambda tensor: tensor.to_sparse(), "is a sparse tensor"),
    "rows": (lambda tensor: tensor.flatten(1).to_sparse_csr(), "is a sparse tensor"),
    "quantized": (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "is a quantized tensor"),
    "meta": (lambda tensor: tensor.to("meta"), "is a meta tensor"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "is a complex64 tensor"),
    "unsigned": (lambda tensor: tensor.to(torch.uint16), "is a uint16 tensor"),
    "integer": (lambda tensor: tensor.to(torch.int8), "holds torch.int8, the network expects torch.float32"),
    "huge view": (lambda tensor: tensor.flatten()[:1].expand(10**7, 10**5), "which the file cannot hold"),
    "empty": (lambda tensor: torch.zeros(10**12, 0), "which the file cannot hold"),
    "overflow": (lambda tensor: tensor.double() + 1e300, "not finite"),
    "nested": (lambda tensor: torch.nested.nested_tensor([tensor[0, 0], tensor[1, 0]]), "has no tensor"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["stem.weight", "head.weight"])
def test_odd_tensors_are_one_sentence(tmp_path: Path, kind: str, name: str) -> None:
    change, message = ODD[kind]
    tensor = state()[name]
    if kind == "nested":
        tensor = tensor.view(*tensor.shape, *(1,) * (4 - tensor.dim()))
    torch.save({"model": state() | {name: change(tensor)}}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=message):
        load_network(f"{HERE}:small", tmp_path / "w.pth")
    torch.save({"model": state(), "beside": change(tensor)}, tmp_path / "w.pth")
    assert same(tmp_path / "w.pth", state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_floats_are_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    narrow = {name: each.to(dtype) if each.is_floating_point() else each for name, each in state().items()}
    torch.save(narrow, tmp_path / "w.pth")
    save_file(narrow, tmp_path / "w.safetensors")
    expected = {name: each.float() if each.is_floating_point() else each for name, each in narrow.items()}
    assert same(tmp_path / "w.pth", expected)
    assert same(tmp_path / "w.safetensors", expected)


def test_masks_of_attention_are_no_damage(tmp_path: Path) -> None:
    mask = torch.full((4, 4), -torch.inf).triu(1)
    save_file({"mask": mask}, tmp_path / "w.safetensors")
    assert torch.equal(load_tensors(tmp_path / "w.safetensors")[0]["mask"], mask)
    for wrong in (-mask, mask + 1, mask * 0):
        save_file({"mask": wrong}, tmp_path / "w.safetensors")
        with pytest.raises(UsageError, match="not finite"):
            load_tensors(tmp_path / "w.safetensors")


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(8 * 2**20)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(UsageError, match="is compressed, which"):
        load_tensors(tmp_path / "bomb.pth")


def test_a_tensor_cannot_reach_beyond_its_file(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3, 5, 7)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "beyond.pth", "w") as beyond:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"Ki") == 1  # 105 values, as the storage says, and 3 rows
                content = content.replace(b"Ki", b"J\xff\xff\xff\x7f").replace(
                    b"K\x03K\x05", b"J\x00\x00\x00\x01K\x05", 1
                )
            beyond.writestr(name, content)
    with pytest.raises(UsageError, match=r"beyond\.pth"):
        load_tensors(tmp_path / "beyond.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_what_is_no_file_is_one_sentence(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"device{ending}").symlink_to("/dev/zero")
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"dangling{ending}").symlink_to("nowhere")
    for name in ("pipe", "device", "folder", "dangling", "missing"):
        with pytest.raises(UsageError, match=f"cannot read the checkpoint .*{name}"):
            load_network("resnet20", tmp_path / f"{name}{ending}")


def _small_tensors() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    return {"conv.weight": torch.rand(2, 3, generator=random), "count": torch.tensor(5), "flag": torch.ones(2).bool()}


def _damaged(content: bytes, at: float, bit: int | None) -> bytes:
    place = min(int(at * len(content)), len(content) - 1)
    if bit is None:
        return content[:place]
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


many = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("damaged")
    torch.save({"state_dict": _small_tensors(), "args": argparse.Namespace(lr=1)}, made / "new.pth")
    torch.save({"state_dict": _small_tensors()}, made / "old.pth", _use_new_zipfile_serialization=False)
    save_file(_small_tensors(), made / "plain.safetensors")
    write_tensors(made / "ours.safetensors", _small_tensors(), {"data": "digits", "mean": [0.5]})
    return made


@pytest.mark.parametrize("name", ["new.pth", "old.pth", "plain.safetensors", "ours.safetensors"])
@given(at=st.floats(0, 1, exclude_max=True), bit=st.one_of(st.none(), st.integers(0, 7)))
@many
def test_damage_is_found_or_changes_nothing(folder: Path, name: str, at: float, bit: int | None) -> None:
    path = folder / f"damaged-{name}"
    path.write_bytes(_damaged((folder / name).read_bytes(), at, bit))
    try:
        tensors, metadata = load_tensors(path)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    if name in ("new.pth", "ours.safetensors"):  # the others have no checksums: only their structure can be checked
        expected, about = load_tensors(folder / name)
        assert metadata == about
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[each], expected[each]) for each in expected)


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=4), st.just("\ud800")
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
rebuilding = ("architecture", "num_classes", "in_channels")
beside = ("mean", "std", "seed", "split_seed", "recipe", "images", "epoch", "data", "start", "trained_on", "identity")
metadata_values = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {"architecture": st.just("resnet20"), "num_classes": st.just(10), "in_channels": st.just(3)},
        optional=dict.fromkeys((*beside, "held_out_accuracy"), json_values),
    ),
    st.fixed_dictionaries({}, optional=dict.fromkeys((*rebuilding, *beside), json_values)),
)


@pytest.mark.full
@given(value=metadata_values, honest=st.booleans())
@many
def test_any_json_as_metadata_is_understood_or_refused(folder: Path, value: Any, honest: bool) -> None:
    path = folder / "metadata.safetensors"
    tensors = _small_tensors()
    if honest and isinstance(value, dict):
        value = {**value, DIGEST_KEY: file_digest(tensors, value)}
    save_file(tensors, path, {METADATA_KEY: json.dumps(value)})
    try:
        load_metadata(path)
        load_pruned(path)
    except UsageError as error:
        assert str(error)
