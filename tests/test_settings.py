"""Settings: one frozen dataclass a verb is default, help, record, and the command that is suggested."""

import importlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from pathlib import Path

import pytest
from test_commands import call, train

from agents import PpoSettings, make_searcher
from profilesearch.__main__ import VERBS
from profilesearch.applying.settings import Applying
from profilesearch.cli import ranges
from profilesearch.cli.hyperparameters import ppo_settings
from profilesearch.cli.settings import Settings, option
from profilesearch.errors import UsageError
from profilesearch.research.settings import Comparing, Training
from profilesearch.research.study.settings import Studying
from profilesearch.research.transfers.settings import Transferring

REQUIRED = {"transfer": ["--downstream", "digits"], "report": ["runs"], "list": [], "groups": []}


def every_kind() -> Iterator[type[Settings]]:
    """The settings of all verbs, by the modules that make their parsers."""
    for verb in VERBS:
        made = importlib.import_module(f"profilesearch.{verb}").parser
        yield made.__self__


@pytest.mark.parametrize("kind", list(every_kind()), ids=lambda kind: kind.verb)
def test_settings_are_what_their_parser_says_without_options(kind: type[Settings]) -> None:
    words = REQUIRED.get(kind.verb, [])
    needed = [] if kind.verb in ("list", "groups", "report") else ["--arch", "resnet8"]
    settings = kind.read([*needed, *words])
    assert kind.words(vars(settings), without=("arch", "downstream")) == ""  # all else is as by default
    hash(settings)  # frozen through and through: no list in it
    with pytest.raises(FrozenInstanceError):
        settings.json = True  # type: ignore[misc]
    options = {name for action in kind.parser()._actions for name in [action.dest] if name != "help"}
    assert options == {each.name for each in fields(kind)}


COMMANDS: list[tuple[type[Settings], str]] = [
    (Training, "--arch 'my net:small' --data a 'b c@8' --keep 0.3 --multiple-of auto --mean 0.5 0.25 --seeds 3 4"),
    (Training, "--arch resnet8 --refit-scores --runs 'other runs' --ppo learning_rate=3e-4 epochs=2"),
    (Comparing, "--arch resnet8 --searchers random --profile a.json b.json --random-sample 3"),
    (Applying, "--arch resnet8 --data 'my photos' --export onnx pt2 --card --label-smoothing 0.1"),
    (Studying, "--arch resnet8 --only ranks --keeps 0.3 0.5 --quick"),
    (Transferring, "--arch resnet8 --downstream digits --level 0.5 0.8"),
]


@pytest.mark.parametrize(("kind", "words"), COMMANDS)
def test_a_suggested_command_says_the_same_settings(kind: type[Settings], words: str) -> None:
    settings = kind.read(shlex.split(words))
    said = kind.words(vars(settings))
    assert sorted(shlex.split(said)) == sorted(shlex.split(words))
    assert kind.read(shlex.split(said)) == settings


def test_one_commands_settings_become_anothers_words() -> None:
    settings = Applying.read(shlex.split("--arch resnet8 --data photos --checkpoint 'a b.th' --export onnx --keep 0.4"))
    values = vars(replace(settings, keep=0.7)) | {"checkpoint": ("a b.th",)}
    same = " --data photos --checkpoint 'a b.th' --keep 0.7"
    assert Training.words(values, without=("arch",)) == f"{same} --criterion reconstruction"  # not the default of train
    assert Training.words(values | {"criterion": "l1"}, without=("arch",)) == same


def test_the_data_folder_of_the_environment_is_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROFILESEARCH_DATA", "/somewhere")
    settings = Training.read(["--arch", "resnet8"])
    assert settings.data_dir == Path("/somewhere")
    assert settings.words(vars(settings)) == " --arch resnet8"


def test_fields_of_a_new_kind_become_options(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Greeting(Settings):
        verb, description, epilog = "greet", "Says hello.", "files: none"
        whom: tuple[str, ...] = field(metadata=option("names", "NAME", flags=()))
        times: int = field(default=2, metadata=option("how often", "N", ranges.whole(1, 9), group="manner"))
        note: Path | None = field(default=None, metadata=option("file", "FILE", flags=("-n", "--note")))

    assert Greeting.read(["a", "b", "-n", "x"]) == Greeting(whom=("a", "b"), note=Path("x"))
    assert Greeting.words({"times": 3, "note": Path("a b"), "whom": ("a",)}) == " --times 3 --note 'a b'"
    with pytest.raises(UsageError, match="--times must be at least 1, at most 9, got 10; see --help"):
        Greeting.read(["a", "--times", "10"])
    with pytest.raises(UsageError, match="required: NAME"):
        Greeting.read([])
    with pytest.raises(SystemExit):
        Greeting.read(["--help"])
    assert "how often (default: 2)" in capsys.readouterr().out


def test_an_argument_without_a_name_may_have_a_default() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Acting(Settings):
        verb, description, epilog = "act", "Acts.", "files: none"
        action: str = field(default="show", metadata=option("what", "ACTION", flags=(), nargs="?"))

    assert [Acting.read(words).action for words in ([], ["train"])] == ["show", "train"]


def test_an_option_of_several_values_may_be_given_several_times() -> None:
    words = ["--checkpoint", "a", "--seeds", "3", "--checkpoint", "b", "c", "--keep", "0.3", "--keep", "0.4"]
    told = Training.read(["--arch", "resnet8", *words])
    assert (told.checkpoint, told.seeds, told.keep) == (("a", "b", "c"), (3,), 0.4)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("learning_rate", "--ppo must be NAME=VALUE, such as learning_rate=3e-4, got learning_rate"),
        ("learning_rte=1", "--ppo must name a hyperparameter of PPO, got learning_rte; did you mean learning_rate"),
        ("epochs=1.5", "--ppo must give epochs a whole number, got 1.5"),
        ("clip=wide", "--ppo must give clip a number, got wide"),
        ("learning_rate=nan", r"--ppo must be in range: learning_rate must be in \[1e-09, 1\], got nan"),
        ("hidden=0", r"hidden must be a whole number in \[1, 4096\], got 0"),
    ],
)
def test_a_wrong_hyperparameter_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Training.read(["--arch", "resnet8", "--ppo", word])


def test_hyperparameters_of_ppo_are_for_ppo(capsys: pytest.CaptureFixture[str]) -> None:
    assert ppo_settings(["epochs=4", "log_std=-1"]) == PpoSettings(epochs=4, log_std=-1.0)
    with pytest.raises(UsageError, match="for the searcher ppo, not for random; leave out `ppo`"):
        make_searcher("random", ppo=PpoSettings(epochs=4))
    with pytest.raises(SystemExit):
        call("compare", "--arch", "resnet8", "--searchers", "random", "--ppo", "epochs=4")
    said = "--ppo is for ppo and ppo-sensitivity, neither of which is among --searchers"
    assert said in capsys.readouterr().err


def test_a_comparison_gives_hyperparameters_to_every_searcher_by_ppo(place: Path) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--seeds", "0", "--searchers", "ppo-sensitivity", "--json"]
    tried = []
    for runs, more in (("one", []), ("other", ["--ppo", "episodes=1", "log_std=-5"])):
        call("compare", *options, "--evaluations", "6", "--images", "40", "--random-sample", "1", "--runs", runs, *more)
        lines = Path(runs, "ledger.jsonl").read_text().splitlines()
        tried.append([json.loads(line.partition(" ")[2]).get("widths") for line in lines])
    assert tried[0] != tried[1]


def test_another_ppo_is_another_search_that_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ("--evaluations", "6", "--images", "40", "--seeds", "0")
    usual = train(capsys, *short)
    same = train(capsys, *short, "--ppo", "epochs=30")  # the default
    other = train(capsys, *short, "--ppo", "epochs=3", "learning_rate=1e-2")
    assert "hyperparameters" not in usual
    assert same["profile"] == usual["profile"]
    assert other["hyperparameters"] == {"epochs": 3, "learning_rate": 0.01}
    assert other["profile"] != usual["profile"]
    assert json.loads(Path(other["profile"]).read_text())["found"]["hyperparameters"]["epochs"] == 3
    assert other["run"] != usual["run"]


def test_a_tilde_is_the_home_folder_where_no_shell_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PROFILESEARCH_DATA", "~/sets")
    told = Training.read(["--arch", "resnet8", "--runs=~/runs", "--checkpoint", "digits=~/a.th", "a~b", "./~/c", "~d"])
    assert (told.data_dir, told.runs) == (tmp_path / "sets", tmp_path / "runs")
    assert told.checkpoint == (f"digits={tmp_path}/a.th", "a~b", "./~/c", "~d")
