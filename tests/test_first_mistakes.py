"""What a new user mistypes: one sentence with the fix, exit code 2, before any work."""

import sys
from pathlib import Path

import pytest
import torch

from profilesearch import UsageError, apply, compare, groups, pool, prune, study, train
from profilesearch import list as listing
from profilesearch.asked import given_profile
from profilesearch.cli.console import run
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_into
from profilesearch.showing.settings import Pooling
from profilesearch.store import Store
from profilesearch.system.files import nearest_path, regular_file

VERBS = {each.__name__.rpartition(".")[2]: each.main for each in (apply, groups, listing, pool, study, train)}
OWN = "apply --arch mynets:net --checkpoint net.pt --data digits"
MISTAKES = {
    "groups --arch mynets.net": "unknown architecture 'mynets.net'; * your own is written module:callable",
    "groups --arch mynets.py:net": "No module named 'mynets.py'*; write mynets:net",
    "apply --arch resnet20 --data phots": "unknown data set 'phots', and no folder of that name; did you mean photos?",
    "apply --arch resnet20 --data mynets.py": "unknown data set 'mynets.py', and no folder of that name; choose from",
    f"{OWN} --profile unifrom": "there is no profile 'unifrom', file or stored; did you mean uniform?",
    f"{OWN} --profile resnet56/macs0.5": "there is no profile 'resnet56/macs0.5', file or stored; did you mean resnet",
    f"{OWN} --against best": "there is no profile 'best', file or stored; did you mean widest?",
    f"{OWN} --profile uniform --against uniform": "the very profile that is applied; * such as --against widest",
    f"{OWN} --profile widest --against widest": "--against widest is the very profile *; * such as --against uniform",
    f"{OWN} --keep 50": "--keep must be in (0, 1], got 50; 0.5 is half",
    f"{OWN} --keep 50%": "--keep must be a number in (0, 1], got 50%",
    f"{OWN} --mean 0.5,0.5,0.4 --std 0.2": "--mean must be a number *; * several numbers with spaces between them",
    f"{OWN} --distill 1": "--distill is for fine-tuning; give --finetune EPOCHS as well",
    f"{OWN} --label-smoothing 0.1 --lr 0.02": "--label-smoothing is for fine-tuning; give --finetune EPOCHS as well",
    f"{OWN} --finetune 1,5": "--finetune must be a whole number, got 1,5; write fractions with a point",
    f"{OWN} --mean 123 --std 58": "of pixels scaled to [0, 1] (divide those of 0 to 255 by 255)",
    f"{OWN} --imagesize 8": "error: unknown option --imagesize; did you mean --image-size?; see --help",
    f"{OWN} --imagesize=8": "error: unknown option --imagesize; did you mean --image-size?; see --help",
    f"{OWN} --image_size 8": "error: unknown option --image_size; did you mean --image-size?; see --help",
    f"{OWN} --kep 0.3 --expor onnx --zzz": "--kep; did you mean --keep?; * --expor; did you mean --export?; * --zzz;",
    f"{OWN} -keep 0.3": "unknown option -keep; did you mean --keep?; see --help",
    "apply --architecture mynets:net": "unknown option --architecture; did you mean --arch?; see --help",
    "train --arch mynets:net --eval 20": "unknown option --eval; did you mean --evaluations?; see --help",
    "pool --arch mynets:net --seed 3": "unknown option --seed; did you mean --seeds?; see --help",
    "study --arch mynets:net --seed 3": "unknown option --seed; did you mean --seeds?; see --help",
    "groups --arch mynets:nett": "mynets has no 'nett'; did you mean net?; one of your own is written",
    "groups --arch mynets:Sequential": "mynets has no 'Sequential'; choose from net, other; one of your own is written",
    "groups --arch mynet:net": "No module named 'mynet'; did you mean mynets:net? else check PYTHONPATH",
    "apply --arch resnet20 --data digits --checkpoint birdnet.pt": "birdnet.pt: * did you mean birdnet.pth?",
    "apply --arch resnet20 --data digits --checkpoint birdnet.pt#ema": "birdnet.pt: * did you mean birdnet.pth?",
    "apply --arch resnet20 --data digits --checkpoint model/BirdNets.pt": "did you mean models/birdnets.pt?",
    "train --arch resnet20 --data digits --checkpoint digits=birdnet.pt": "did you mean birdnet.pth?",
    "apply --arch resnet18 --data digits --checkpoint IMAGENET1K_V3": "weights 'IMAGENET1K_V3'; did you mean IMAGENET",
    f"{OWN} --profile besst.json": "the profile besst.json: No such file or directory; did you mean best.json?",
    "list --arch mynets:net": "no profile of 'mynets:net' is stored; *`profilesearch train --arch mynets:net`",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence_with_the_fix(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mynets", raising=False)
    Path("photos").mkdir()
    Path("mynets.py").write_text(
        "from torch import nn\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))\n\n\n"
        "def other():\n    return net()\n\n\ndef _hidden():\n    return net()\n"
    )
    Path("models").mkdir()
    for name in ("birdnet.pth", "models/birdnets.pt", "best.json", ".birdnet.pt", "net.pt"):
        Path(name).touch()
    verb, *words = line.split()
    with pytest.raises(SystemExit) as stop:
        run(VERBS[verb], words)
    said = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2
    assert said.startswith("error: ")
    rest = said
    for part in MISTAKES[line].split("*"):
        assert part in rest, said
        rest = rest.partition(part)[2]
    assert not Path("applied").exists()


def test_only_what_is_near_is_offered_in_place_of_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "nets").mkdir()
    for name, offered in (("b.safetensors", None), ("A.th", "a.safetensors"), ("net/a.pt", None), ("net", "nets")):
        assert nearest_path(tmp_path / name) == (tmp_path / offered if offered else None)
    for name in ("nowhere/x/y.pt", "x" * 5000):
        with pytest.raises(UsageError, match=r"^cannot read the file [^;]*$"):
            regular_file(tmp_path / name)


def test_a_profile_is_found_by_the_name_that_the_list_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stored = next(Store(Path("profiles")).profiles("resnet20"))
    name = f"resnet20/{stored.name}"
    assert given_profile(name, Path("profiles")) == stored.profile
    network = build("resnet20", 10, 3)
    assert prune(network, image_shape=(3, 32, 32), profile=name).profile.keep == stored.profile.keep
    with pytest.raises(UsageError, match="there is no profile 'resnet20/macs', file or stored; did you mean resnet20/"):
        prune(network, image_shape=(3, 32, 32), profile="resnet20/macs")


def test_a_network_cut_without_images_says_what_it_lacks() -> None:
    network = build("resnet20", 10, 3)
    small = prune(network, image_shape=(3, 32, 32))
    assert str(small).endswith("no weights refitted: give images, or fine-tune before use")


def test_weights_of_another_network_say_what_to_change() -> None:
    with pytest.raises(UsageError, match="pt is of another architecture than was asked for: it has no tensor"):
        load_into(build("resnet20", 10, 3), {"weight": torch.zeros(1)}, "a.pt")


@pytest.mark.full
def test_a_stored_profile_off_the_budget_is_refused_before_a_pool_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr("profilesearch.cli.workspace.train_member")
    options = ["--arch", "resnet20", "--data", "digits", "--profile", "resnet20/macs0.5-ppo", "--keep", "0.7"]
    with pytest.raises(UsageError, match=r"the stored profile costs .*% of the macs .* the comparison is at 0\.7 of"):
        compare.main(options)


def test_what_trained_members_began_from_need_not_be_there_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pools/resnet8").mkdir(parents=True)
    for name in ("digits-seed0", "digits@12-seed1", "digitsandmore-seed2"):
        Path(f"pools/resnet8/{name}.safetensors").touch()
    words = ["--arch", "resnet8", "--data", "digits", "--start", "gone.th", "--seeds", "0", "1"]
    Pooling.read(words).validate()
    with pytest.raises(UsageError, match=r"cannot read the checkpoint gone\.th"):
        Pooling.read([*words, "2"]).validate()


def test_no_training_is_announced_whose_start_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pools/resnet8").mkdir(parents=True)
    Path("pools/resnet8/digits-seed0.safetensors").touch()
    with pytest.raises(UsageError, match=r"cannot read the checkpoint gone\.th"):
        pool.main(["--arch", "resnet8", "--data", "digits@16", "--start", "gone.th", "--seeds", "0"])
    assert "training it once" not in capsys.readouterr().out
