"""Carrying compressed networks to other data sets."""

import csv
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import start
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from profilesearch.errors import UsageError
from profilesearch.measure.intervals import mean_interval
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_pruned, save_network
from profilesearch.networks.mapping import carry
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile
from profilesearch.research.study.records import Row
from profilesearch.research.transfers import downstream, running, tickets
from profilesearch.research.transfers.about import unequal_methods
from profilesearch.research.transfers.acdc import compressed
from profilesearch.research.transfers.answers import (
    Tables,
    accuracy_of,
    answers,
    best_table,
    fastest_table,
    gap,
    independent,
)
from profilesearch.research.transfers.downstream import (
    default_epochs,
    extract,
    finetune_full,
    finetune_linear,
    full_recipe,
)
from profilesearch.research.transfers.fisher import fisher_diagonal
from profilesearch.research.transfers.masks import Masks, prunable_layers
from profilesearch.research.transfers.methods import METHODS
from profilesearch.research.transfers.page import about_summary, grouped, summary_of
from profilesearch.research.transfers.rigl import _looks, _move, erk
from profilesearch.research.transfers.schedules import cubic, growing
from profilesearch.research.transfers.setting import Setting
from profilesearch.research.transfers.structured import stored_profile
from profilesearch.research.transfers.summaries import summarize
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.research.transfers.ways import Ways
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet, Images, load_data
from profilesearch.tasks.hardware import best_precision
from profilesearch.tasks.pools import Member, train_member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.training import Hook
from profilesearch.transfer import main

PUBLISHED = Path(os.environ.get("PROFILESEARCH_WEIGHTS", "missing")).parent / "sparse-transfer-published.csv"


def published(finetune: str, network: str = "resnet50") -> dict[str, dict[str, list[float]]]:
    """Returns the published accuracies by method with its sparsity, and data set."""
    runs: dict[str, dict[str, list[float]]] = {}
    with PUBLISHED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["finetune"], row["network"]) == (finetune, network):
                method = runs.setdefault(f"{row['method']} {float(row['sparsity']):.0%}", {})
                method.setdefault(row["dataset"], []).append(float(row["accuracy"]))
    return runs


@pytest.mark.data
@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published accuracies are not here")
@pytest.mark.parametrize(
    ("finetune", "method", "accuracy", "error"),
    [
        ("linear", "Dense 0%", "74.5", "+0.0"),
        ("linear", "AC/DC 80%", "75.5", "-3.2"),
        ("full", "WoodFisher 80%", "85.2", "+0.7"),
        ("linear", "LTH-T 95%", "15.9", "+401.6"),
    ],
)
def test_summaries_are_those_that_were_published(finetune: str, method: str, accuracy: str, error: str) -> None:
    summary = summarize(published(finetune), "Dense 0%")[method]
    assert f"{summary.accuracy.value:.1%}" == f"{accuracy}%"
    assert f"{summary.error.value:+.1%}" == f"{error}%"
    assert summary.accuracy.low <= summary.accuracy.value <= summary.accuracy.high


def test_ranks_errors_and_intervals_of_a_small_table() -> None:
    runs = {
        "dense": {"a": [0.8, 0.8], "b": [0.6, 0.6]},
        "better": {"a": [0.9, 0.9], "b": [0.6, 0.6]},
        "noisy": {"a": [0.5, 0.7], "b": [0.2, 0.6]},
    }
    summaries = summarize(runs)
    assert summaries["dense"].error.value == 0
    assert summaries["better"].error.value == pytest.approx((-0.5 + 0) / 2)
    assert summaries["noisy"].error.value == pytest.approx((1.0 + 0.5) / 2)
    assert [summaries[name].rank.value for name in runs] == [1.75, 1.25, 3]
    assert summaries["better"].accuracy.low == pytest.approx(summaries["better"].accuracy.high)


def test_intervals_of_summaries_are_students() -> None:
    runs = {"dense": {"a": [0.8, 0.81, 0.82]}, "other": {"a": [0.7]}}
    summaries = summarize(runs)
    mean, half = mean_interval(runs["dense"]["a"])
    assert summaries["dense"].accuracy.value == pytest.approx(mean)
    assert summaries["dense"].accuracy.low == pytest.approx(mean - half, abs=0.3 * half)
    assert summaries["dense"].accuracy.high == pytest.approx(mean + half, abs=0.3 * half)
    assert np.isnan(summaries["other"].accuracy.low)


def test_incomplete_tables_are_refused() -> None:
    with pytest.raises(UsageError, match="'dense' is not among"):
        summarize({"sparse": {"a": [0.5]}})
    with pytest.raises(UsageError, match="sparse was not run on b"):
        summarize({"dense": {"a": [0.5], "b": [0.5]}, "sparse": {"a": [0.5]}})


def test_data_sets_on_which_dense_makes_no_errors_are_left_out_of_relative_ones() -> None:
    summaries = summarize({"dense": {"a": [1.0], "b": [0.8]}, "sparse": {"a": [0.5], "b": [0.6]}})
    assert summaries["sparse"].error.value == pytest.approx(1.0)
    assert summaries["sparse"].accuracy.value == pytest.approx(0.55)

    def row(accuracy: float) -> list[Row]:
        return [{"accuracy": str(accuracy), "compression": "0", "finetune": "linear"}]

    def tables(*dense: float) -> Tables:
        return {
            (name, "linear"): {("dense", 0.0): row(best), ("str", 0.9): row(0.5)}
            for name, best in zip(("digits", "flowers"), dense, strict=True)
        }

    one, both = tables(1.0, 0.8), tables(1.0, 1.0)
    assert summary_of(one, "linear")[1][3] == "150.0 %"
    assert about_summary(one, "linear").endswith("leave out digits, where dense makes none.")
    assert [line[3] for line in summary_of(both, "linear")] == ["", ""]
    assert "leave out" not in about_summary(tables(0.9, 0.8), "linear")


LEVEL = 0.6
COMMAND = ["--arch", "resnet8", "--upstream", "digits", "--downstream", "digits"]
COMMAND += ["--upstream-epochs", "1", "--scratch-epochs", "1", "--epochs", "1", "--workers", "1"]
AT_LEVEL = [*COMMAND, "--level", str(LEVEL)]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the epochs of a classifier on features that are extracted once."""
    for module in (downstream, running):
        monkeypatch.setattr(module, "LINEAR_EPOCHS", 15)


@pytest.fixture
def place(place: Path) -> Path:
    """With a stored profile for either metric."""
    for metric in ("params", "macs"):
        space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget(metric, 0.5))
        profile = space.profile(space.sample(1, np.random.default_rng(0))[0], {})
        Store(place / "profiles").add(profile, f"{metric}0.5-mine")
    return place


@pytest.fixture
def upstream(members: list[Member], digits: DataSet, tmp_path: Path) -> Upstream:
    return Upstream(members[0], digits, Store(tmp_path / "none"), epochs=1, scratch=1)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_method_reaches_its_level_and_stands_beside_dense(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*AT_LEVEL, "--seeds", "0", "1", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["skipped"] == []
    rows = rows_of(place / "transferred")
    words = {"id", "method", "downstream", "finetune", "precision", "device"}
    by_name = {row["id"]: row for row in rows}
    assert len(by_name) == len(result["rows"])
    for told in result["rows"]:
        row = by_name[told["id"]]
        assert told == {name: row[name] if name in words else float(row[name]) for name in told}
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(0.1 < float(row["accuracy"]) <= 1 for row in rows)
    better = {row["method"]: float(row["accuracy"]) for row in rows}
    assert better["dense"] > 0.95
    assert better["profile"] > better["profile-random"]
    for name, method in METHODS.items():
        level = "0" if name == "dense" else str(LEVEL)
        (path,) = (place / "transferred" / "networks").glob(f"*/{name}-{level}*.safetensors")
        network = load_pruned(path)
        weights = [layer.weight for layer in prunable_layers(network).values()]
        zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
        if name == "dense" or method.structured:
            assert zeros == 0
        else:
            assert zeros == round(LEVEL * total)
        if name != "dense" and method.structured:
            full = sum(layer.weight.numel() for layer in prunable_layers(build("resnet8", 10, 1)).values())
            assert total / full == pytest.approx(1 - LEVEL, rel=0.01)
    page = (place / "transferred" / "transfer.md").read_text()
    assert "| ticket-late | 0.6 | 1 | 40.00% |" in page
    assert (
        "`python -m profilesearch.pool --arch resnet8 --data digits --seeds 0 --epochs 12 --lr 0.05` trains it" in page
    )
    with (place / "transferred" / "speeds.csv").open(encoding="utf-8") as file:
        timed = [row["method"] for row in csv.DictReader(file)]
    assert timed == [
        "ticket-one-shot",
        "width",
        "uniform",
        "widest",
        "sensitivity",
        "profile-random",
    ]  # one of each shape
    assert (place / "transferred" / "transfer.png").stat().st_size > 5000
    assert "width, rigl, str, acdc) had fewer epochs than the source" in page
    carried = Profile.load(place / "transferred" / "profile-0.6.json")
    assert [entry["seeds"] for entry in carried.evidence] == [[0], [1]]
    assert carried.reached > 1 - LEVEL  # of all parameters; the classifier is as large as before
    assert carried.budget.keep == pytest.approx(carried.reached, abs=1e-6)
    assert carried.found["projected_from"] == {"architecture": "resnet8", "profile": "params0.5-mine"}


def test_levels_can_be_of_the_multiply_adds(place: Path) -> None:
    main([*COMMAND, "--metric", "macs", "--method", "uniform", "profile", "--level", "0.5", "--seeds", "0"])
    for name in ("uniform", "profile"):
        (path,) = (place / "transferred" / "networks").glob(f"*/{name}-0.5*.safetensors")
        counts = []
        for network in (load_pruned(path), build("resnet8", 10, 1)):
            with FlopCounterMode(display=False) as counter:
                network.eval()(torch.zeros(1, 1, 8, 8))
            counts.append(counter.get_total_flops())
        assert counts[0] / counts[1] == pytest.approx(0.5, rel=0.005)
    carried = Profile.load(place / "transferred" / "profile-0.5.json")
    stored = Store(Path("profiles")).best("resnet8", 0.5, "macs", "digits").profile
    assert carried.budget == Budget("macs", 0.5)
    assert carried.keep == pytest.approx(stored.keep, abs=0.05)
    assert "projected onto 50% of the multiply-adds" in (place / "transferred" / "transfer.md").read_text()
    with pytest.raises(UsageError, match="--metric macs is for smaller tensors, and magnitude sets weights to zero"):
        main([*AT_LEVEL, "--metric", "macs", "--method", "magnitude"])


def test_a_relatives_profile_is_mapped(place: Path) -> None:
    macs = [*COMMAND, "--upstream-epochs", "0", "--metric", "macs", "--level", "0.5", "--seeds", "0"]
    save_network(Path("mine.safetensors"), build("resnet20", 10, 1), {})
    asked = [*macs, "--arch", "resnet20", "--checkpoint", "mine.safetensors", "--method", "profile"]
    with pytest.raises(UsageError, match="no profile of resnet18_small is stored"):
        main([*asked, "--map-from", "resnet18_small"])
    main([*asked, "--map-from", "resnet8"])
    carried = Profile.load(place / "transferred" / "profile-0.5.json")
    assert carried.architecture == "resnet20" and carried.budget == Budget("macs", 0.5)
    assert carried.reached == pytest.approx(0.5, abs=0.01)
    relative = Store(Path("profiles")).best("resnet8", 0.5, "macs", "digits")
    assert carried.found["mapped_from"] == {"architecture": "resnet8", "profile": relative.name}
    mapped = carry(relative.profile, Plan("resnet20", build("resnet20", 10, 1), (1, 8, 8)))
    assert dict(carried.keep) == pytest.approx(dict(mapped.keep), abs=0.05)
    page = (place / "transferred" / "transfer.md").read_text()
    assert "macs0.5-mine of resnet8, mapped by relative place and projected onto 50% of the multiply-adds" in page


@pytest.mark.parametrize("zeros", [1, 3, 7, 18])
def test_a_few_zeros_by_chance_are_not_taken_for_weights_that_came_back(zeros: int, digits: DataSet) -> None:
    model = build("resnet8", 10, 1)
    first = next(iter(prunable_layers(model).values()))
    with torch.no_grad():
        first.weight.view(-1)[:zeros] = 0
    small = replace(digits, train=digits.train[torch.arange(128)], test=digits.test[torch.arange(64)])
    result = finetune_full(model, small, epochs=1, seed=0)
    assert round(result.zeros * sum(each.weight.numel() for each in prunable_layers(model).values())) == zeros


def test_removed_weights_stay_removed_while_everything_is_trained(place: Path) -> None:
    main([*AT_LEVEL, "--method", "dense", "magnitude", "rigl", "--finetune", "full", "--seeds", "0"])
    rows = {row["method"]: row for row in rows_of(place / "transferred")}
    assert float(rows["magnitude"]["zeros"]) == pytest.approx(LEVEL, abs=1e-5)
    assert float(rows["magnitude"]["macs"]) < 1
    assert float(rows["dense"]["accuracy"]) > 0.9
    model = load_pruned(next((place / "transferred" / "networks").glob("*/magnitude-*.safetensors")))
    before = {name: layer.weight == 0 for name, layer in prunable_layers(model).items()}
    result = finetune_full(model, load_data("digits"), epochs=2, seed=3)
    assert all(bool((layer.weight[before[name]] == 0).all()) for name, layer in prunable_layers(model).items())
    assert result.zeros == pytest.approx(LEVEL, abs=1e-5)


def test_methods_go_on_from_the_source_and_learn_from_its_answers_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*AT_LEVEL, "--seeds", "0", "1", "--json", "--finetune", "none", "--method", "dense", "acdc"]
    ways = ["--distill", "1", "--start", "source", "--criterion", "reconstruction", "--refit", "sequential"]
    main(command)
    main([*command, "uniform", "profile-late", "profile-refit", *ways])
    rows = [json.loads(line)["rows"] for line in capsys.readouterr().out.splitlines()]
    assert [[row["seed"] for row in several] for several in rows] == [[0] * 2, [0] * 5]  # one is as good as two
    plain, other = ({row["method"]: row["accuracy"] for row in several} for several in rows)
    assert plain["dense"] == other["dense"] > 0.9
    assert other["acdc"] > plain["acdc"] + 0.2  # an epoch from random weights is not much
    assert other["profile-refit"] > other["profile-late"]
    pages = [path.read_text() for path in (place / "transferred").glob("transfer*.md")]
    (page,) = (text for text in pages if "from the source as well" in text)
    assert "learn from its answers by 1, from no label" in page
    assert "- `acdc`, from the source, trained on: " in page
    assert "## digits, as compressed" in page
    with pytest.raises(UsageError, match="--finetune none reads the source's own test images"):
        main([*AT_LEVEL, "--downstream", "digits@12", "--finetune", "none"])


@pytest.mark.xdist_group("engines")
def test_a_killed_comparison_goes_on_and_repeats_nothing(place: Path) -> None:
    arguments = [*AT_LEVEL, "--method", "dense", "magnitude", "ticket-late", "--finetune", "full"]
    rows = place / "transferred" / "rows.csv"
    process = start("transfer", arguments, place)
    deadline = time.monotonic() + 240
    while not (rows.exists() and rows.read_text().count("\n") > 3):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    before = rows.read_text()
    made = {path: path.stat().st_mtime_ns for path in (place / "transferred" / "networks").glob("*/*.safetensors")}
    main(arguments)
    after = rows.read_text()
    assert after.startswith(before[: before.rfind("\n") + 1])
    assert len(rows_of(place / "transferred")) == 9
    assert {path: path.stat().st_mtime_ns for path in made if "resume" not in path.name} == {
        path: when for path, when in made.items() if "resume" not in path.name
    }
    assert not list((place / "transferred").rglob("*resume*"))
    main(arguments)
    assert rows.read_text() == after


def test_the_original_weights_are_those_that_the_source_started_from(digits: DataSet, tmp_path: Path) -> None:
    hardly = Recipe(epochs=1, lr=1e-9, weight_decay=0.0, precision="fp32")
    source = train_member("resnet8", digits, 3, tmp_path, hardly)
    first = Upstream(source, digits, Store(tmp_path / "none"), epochs=1, scratch=1).original()
    trained = dict(source.load().named_parameters())
    for name, parameter in first.named_parameters():
        assert torch.allclose(parameter, trained[name], rtol=1e-3, atol=1e-3), name  # stored in half precision


def test_tickets_share_their_mask_and_differ_in_what_is_behind_it(upstream: Upstream) -> None:
    source, first = prunable_layers(upstream.trained()), prunable_layers(upstream.original())
    makers = (tickets.late, tickets.original, tickets.random)
    late, original, random = (prunable_layers(make(upstream, 0.3)) for make in makers)
    for name, layer in late.items():
        kept = layer.weight != 0
        assert torch.equal(layer.weight[kept], source[name].weight[kept])
        assert torch.equal(original[name].weight != 0, kept)
        assert torch.equal(original[name].weight[kept], first[name].weight[kept])
        assert torch.equal(random[name].weight != 0, kept)
        assert not torch.equal(random[name].weight[kept], first[name].weight[kept])


def test_the_fisher_diagonal_is_the_mean_squared_gradient_of_single_images(upstream: Upstream) -> None:
    model, images = upstream.trained(), upstream.data.train[:3]
    found = fisher_diagonal(model, upstream.data, images)
    layer = model.get_submodule("layer2.0.conv1")
    assert isinstance(layer, torch.nn.Conv2d)
    expected = torch.zeros_like(layer.weight)
    for index in range(3):
        model.zero_grad()
        pixels = upstream.data.normalize(images[index : index + 1].pixels, 1)
        torch.nn.functional.cross_entropy(model.eval()(pixels), images.labels[index : index + 1]).backward()
        assert layer.weight.grad is not None
        expected += layer.weight.grad.square() / 3
    assert torch.allclose(found["layer2.0.conv1"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_kernel_densities_add_up_to_the_level(level: float) -> None:
    layers = prunable_layers(build("resnet20", 10, 3))
    counts = erk(layers, level)
    total = sum(layer.weight.numel() for layer in layers.values())
    assert sum(counts.values()) == total - round(level * total)
    assert all(0 < counts[name] <= layer.weight.numel() for name, layer in layers.items())
    assert counts["conv1"] / layers["conv1"].weight.numel() > counts["layer3.2.conv2"] / 36864


def test_moving_weights_leaves_dense_layers_alone_and_starts_new_ones_from_zero() -> None:
    masks = Masks(build("resnet20", 10, 3))
    dense, sparse = "conv1", "layer1.0.conv1"
    there = torch.rand(masks.weights[sparse].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    masks[sparse].kept.copy_(there)
    masks.clear_removed()
    before = {name: masks.weights[name].detach().clone() for name in (dense, sparse)}
    for name in (dense, sparse):
        masks[name].gradient = torch.where(masks[name].kept, 0.0, 1.0)
        _move(masks, name, 0.3)
    assert torch.equal(masks.weights[dense], before[dense])
    after, kept = masks.weights[sparse], masks[sparse].kept
    assert int(kept.sum()) == int(there.sum())
    assert int((kept & ~there).sum()) == int(0.3 * int(there.sum()))
    assert bool((after[kept & ~there] == 0).all())
    assert torch.equal(after[kept & there], before[sparse][kept & there])
    assert before[sparse][there & ~kept].abs().max() <= before[sparse][there & kept].abs().min()


def test_schedules() -> None:
    assert [round(cubic(0.8, step, 100), 3) for step in (0, 35, 70, 100)] == [0, 0.7, 0.8, 0.8]
    drawn = [step for step in range(0, 1000, 50) if growing(step - 50, 1000)]
    assert cubic(0.8, drawn[-1], 1000) == 0.8 > cubic(0.8, drawn[-2], 1000)
    phases = [compressed(step, 1000) for step in range(1000)]
    assert not any(phases[:100])
    assert all(phases[700:])
    assert phases[100] is True
    assert sum(a != b for a, b in pairwise(phases)) == 7
    recipe = Recipe(150, lr=0.001, schedule="steps")
    assert [recipe.rate(step, 150) for step in (0, 49, 50, 100, 149)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize(("steps", "cuts"), [(351, range(0, 251, 50)), (13, range(11)), (1, range(1))])
def test_gradual_cuts_while_it_trains(
    steps: int, cuts: range, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published trainings had 351 steps."""
    now, seen = -1, []

    def tune(_: Upstream, model: nn.Module, name: str, hook: Hook) -> None:
        nonlocal now
        for now in range(steps):
            hook(now, steps)
        now = -1

    keep_best = Masks.keep_best
    monkeypatch.setattr(Upstream, "steps", steps)
    monkeypatch.setattr(Upstream, "tune", tune)
    monkeypatch.setattr(Masks, "keep_best", lambda *given: seen.append(now) or keep_best(*given))
    METHODS["gradual"].compress(upstream, LEVEL)
    assert seen == [*cuts, -1]


def test_gradual_is_of_use_after_an_epoch_of_few_steps(upstream: Upstream) -> None:
    model = METHODS["gradual"].compress(upstream, 0.9)
    assert accuracy(model, upstream.data, upstream.data.test) > 0.8
    assert upstream.steps == 13


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("name", ["gradual", "acdc"])
def test_statistics_are_those_of_what_is_left(name: str, epochs: int, upstream: Upstream) -> None:
    few = replace(upstream, data=replace(upstream.data, train=upstream.data.train[:64]), epochs=epochs)
    few = replace(few, source=replace(upstream.source, trained_on="all"), ways=Ways(start="source"))  # a step at most
    model = METHODS[name].compress(few, 0.8)
    statistics = [each.clone() for each in model.buffers()]
    few.settle(model)
    assert all(map(torch.allclose, statistics, model.buffers()))


def test_weights_come_and_go_in_epochs_of_one_step_whether_interrupted_or_not(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(upstream, data=replace(upstream.data, train=upstream.data.train[:64]), scratch=25)
    few = replace(few, source=replace(upstream.source, trained_on="all"))
    stops, there = [25], set()

    def go_on(self: Upstream, model: nn.Module, name: str, hook: Hook) -> None:
        layer = next(each for name, each in prunable_layers(model).items() if name == "layer3.0.conv2")

        def stopping(step: int, steps: int) -> None:
            if step == stops[-1]:
                raise InterruptedError
            hook(step, steps)
            there.add(tuple((layer.weight != 0).flatten().tolist()))

        self.learn(model, name, stopping)

    monkeypatch.setattr(Upstream, "go_on", go_on)
    whole = METHODS["rigl"].compress(few, LEVEL)
    assert len(there) > 10
    few = replace(few, work=tmp_path)
    for stop in (3, 11, 25):
        stops.append(stop)
        with suppress(InterruptedError):
            parts = METHODS["rigl"].compress(few, LEVEL)
    assert all(map(torch.equal, whole.state_dict().values(), parts.state_dict().values()))


@pytest.mark.parametrize("steps", [351 * 16, 2000])
def test_weights_move_every_hundred_steps_in_long_trainings(steps: int) -> None:
    """The published trainings had 351 steps an epoch, and 16 epochs."""
    assert [step for step in range(-1, steps) if _looks(step, steps)] == list(range(0, steps * 3 // 4, 100))


def test_large_images_get_the_published_recipe() -> None:
    grey = Images(torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.arange(20) % 2)
    large = DataSet("stanfordcars@224", grey, grey, 2, (0.5,) * 3, (0.2,) * 3, flips=True, size=224)
    recipe = full_recipe(large, default_epochs(large))
    assert (recipe.epochs, recipe.lr, recipe.batch, recipe.weight_decay) == (150, 0.01, 64, 5e-4)
    assert full_recipe(replace(large, name="food101@224"), 150).lr == 0.001


def test_a_classifier_on_features_is_as_good_as_a_librarys(upstream: Upstream) -> None:
    model, data = upstream.trained(), upstream.data
    learn, test = (extract(model, data, images) for images in (data.train, data.test))
    theirs = LogisticRegression(max_iter=2000).fit(learn.numpy(), data.train.labels.numpy())
    score = theirs.score(test.numpy(), data.test.labels.numpy())
    assert finetune_linear(model, data, 0, (learn, test)).accuracy == pytest.approx(score, abs=0.015)


def test_features_that_learned_nothing_say_nothing(upstream: Upstream) -> None:
    data = upstream.data
    learn, test = (extract(upstream.trained(), data, images) for images in (data.train, data.test))
    constant = slice(5)
    learn[:, constant] = 0.3
    accuracies = []
    for value in (0.3, 0.4):
        test[:, constant] = value
        accuracies.append(finetune_linear(upstream.trained(), data, 0, (learn, test)).accuracy)
    assert accuracies[0] == accuracies[1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magnitud"], "unknown method 'magnitud'.*magnitude"),
        (["--level", "80"], r"--level must be in \(0, 1\), got 80"),
        (["--finetune", "ful"], "full"),
        (["--epochs", "0"], "--epochs must be at least 1 epoch, got 0"),
        (["--downstream", "digit"], "digits"),
    ],
)
def test_mistakes_end_in_one_sentence(place: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        main([*AT_LEVEL, *arguments])


def test_another_stored_profile_is_measured_anew(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*AT_LEVEL, "--method", "dense", "profile", "--seeds", "0", "--json"]
    main(arguments)
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.4))
    better = space.profile(space.sample(1, np.random.default_rng(0))[0], {})
    better = better.with_evidence({"data": "digits", "gain": 0.5, "gain_interval": [0.4, 0.6]})
    Store(Path("profiles")).add(better, "mine")
    main(arguments)
    first, second = (json.loads(line)["rows"] for line in capsys.readouterr().out.splitlines())
    assert first[0] == second[0]  # dense
    assert first[1]["id"] != second[1]["id"]
    assert first[1]["macs"] != second[1]["macs"]


def test_a_profile_searched_for_what_levels_are_of_comes_first(upstream: Upstream) -> None:
    table = Plan("resnet8", upstream.trained(), (1, 8, 8))
    for metric, keep in (("macs", 0.4), ("macs", 0.25), ("params", 0.4)):
        space = table.space(Budget(metric, keep))
        upstream.store.add(space.profile(space.uniform(), {}), f"mine-{metric}-{keep}")
    found = [stored_profile(replace(upstream, metric=metric), 0.6).name for metric in ("params", "macs")]
    assert found == ["mine-params-0.4", "mine-macs-0.4"]
    assert stored_profile(upstream, 0.76).name == "mine-macs-0.25"


def test_evidence_says_which_images_of_a_folder_it_is_of(place: Path, write_images: Callable[..., Path]) -> None:
    write_images(place / "photos", ["cat", "dog"], 10)
    main([*AT_LEVEL, "--method", "profile", "--seeds", "0", "--downstream", "photos@8"])
    entries = {each["data"]: each for each in Profile.load(place / "transferred" / "profile-0.6.json").evidence}
    assert "data_digest" not in entries["digits"]  # the name says it all
    assert entries["photos@8"]["data_digest"] == open_data("photos@8").folder_digest


def test_a_comparison_grows_by_several_commands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = [*AT_LEVEL, "--method", "dense", "magnitude"]
    second = [*COMMAND, "--method", "dense", "profile", "--level", "0.4"]
    third = [*AT_LEVEL, "--method", "dense", "--downstream", "digits@12"]
    for command in (first, second, first, third):
        main([*command, "--seeds", "0", "1", "--json"])
    asked = [{row["method"] for row in json.loads(line)["rows"]} for line in capsys.readouterr().out.splitlines()]
    assert asked == [{"dense", "magnitude"}, {"dense", "profile"}, {"dense", "magnitude"}, {"dense"}]
    page = (place / "transferred" / "transfer.md").read_text()
    assert page.count("    python -m profilesearch.transfer ") == 3
    assert "## digits@12, linear" in page
    assert len(Profile.load(place / "transferred" / "profile-0.4.json").evidence) == 2
    assert "| magnitude | 0.6 | 1 | 40.00% |" in page
    assert "| profile | 0.4 | " in page
    with (place / "transferred" / "speeds.csv").open() as file:
        speeds = list(csv.DictReader(file))
    assert [(row["method"], row["level"]) for row in speeds] == [
        ("magnitude", "0.6"),
        ("profile", "0.4"),
    ]
    assert 0.5 < float(speeds[0]["batch64"]) < 2
    assert "And at equal measured speed?" in page
    main([*first, "--seeds", "0", "1", "--upstream-epochs", "2"])  # another setting
    assert (place / "transferred" / "transfer.md").read_text() == page  # each setting has a page of its own
    (other,) = (place / "transferred").glob("transfer-*.md")
    page = other.read_text()
    assert "| profile | 0.4 | " not in page
    assert "At 0.4 the profile is" not in page


def test_uniform_prunes_every_block_alike(upstream: Upstream) -> None:
    full, pruned = upstream.trained(), METHODS["uniform"].compress(upstream, LEVEL)
    shares = [
        len(weight) / len(full.get_parameter(name))
        for name, weight in pruned.named_parameters()
        if name.endswith("conv1.weight") and "layer" in name
    ]
    assert len(shares) == 3
    assert max(shares) - min(shares) <= 1 / 16
    assert max(shares) < 1
    assert all(
        len(weight) == len(full.get_parameter(name))
        for name, weight in pruned.named_parameters()
        if name.endswith("conv2.weight")
    )


def test_seeds_take_several_compressions_in_turn(place: Path) -> None:
    arguments = [*AT_LEVEL, "--method", "dense", "gradual", "profile-random", "--seeds", "0", "1", "2"]
    main([*arguments, "--finetune", "linear"])
    main([*arguments, "--finetune", "linear", "--compressions", "2"])
    networks = place / "transferred" / "networks"
    assert not list(networks.glob("*/compression-1/dense*"))
    for name in ("gradual", "profile-random"):
        (one,), (other,) = (networks.glob(f"*/{inner}{name}-*.safetensors") for inner in ("", "compression-1/"))
        assert one.read_bytes() != other.read_bytes()
    rows = [row for row in rows_of(place / "transferred") if row["method"] == "gradual"]
    assert [(row["seed"], row["compression"]) for row in rows] == [("0", "0"), ("1", "0"), ("2", "0"), ("1", "1")]
    ((_, methods),) = grouped(rows_of(place / "transferred")).items()
    assert [(row["seed"], row["compression"]) for row in methods["gradual", LEVEL]] == [
        ("0", "0"),
        ("1", "1"),
        ("2", "0"),
    ]
    page = (place / "transferred" / "transfer.md").read_text()
    assert "| gradual | 0.6 | 2 | 40.00% |" in page
    assert "| dense | 0 | 1 | 100.00% |" in page
    assert all(row["precision"] == best_precision() for row in rows)


def test_networks_that_are_not_fine_tuned_count_once(place: Path) -> None:
    asked = [*AT_LEVEL, "--finetune", "none", "--method", "dense", "gradual", "--compressions", "2"]
    main([*asked, "--seeds", "0", "2"])
    rows = rows_of(place / "transferred")
    assert [(row["method"], row["seed"], row["compression"]) for row in rows] == [
        ("dense", "0", "0"),
        ("gradual", "0", "0"),
    ]
    main([*asked, "--seeds", "0", "2", "1"])
    rows = rows_of(place / "transferred")
    made = [(row["seed"], row["compression"]) for row in rows if row["method"] == "gradual"]
    assert made == [("0", "0"), ("1", "1")]


def test_seeds_of_networks_that_are_not_fine_tuned_give_no_interval() -> None:
    seeds = [{"seed": str(seed), "compression": "0", "accuracy": "0.9"} for seed in (0, 2)]
    for kind, known in (("none", False), ("linear", True)):
        rows = [{**row, "finetune": kind} for row in seeds]
        assert np.isnan(accuracy_of(rows).low) != known
        assert np.isnan(gap(rows, rows).low) != known


def test_summaries_are_over_compressions_and_of_what_is_held_against_each_other() -> None:
    same = {"level": "0.8", "finetune": "linear", "epochs": "9"}
    rows = [
        {**same, "method": method, "downstream": data, "seed": str(seed), "compression": str(seed % made),
         "accuracy": str(accuracy + apart * (seed % made) + 0.001 * seed)}
        for data, accuracy in (("a", 0.8), ("b", 0.7))
        for method, made, apart in (("magnitude", 2, 0.04), ("profile", 1, 0.0), ("width", 1, 0.1))
        for seed in range(6)
    ]  # fmt: skip
    rows += [{**row, "method": "dense", "level": "0"} for row in rows if row["method"] == "profile"]
    tables = grouped(rows)
    summary = {line[0]: line[2:] for line in summary_of(tables, "linear", ["width"])}
    assert list(summary) == ["dense", "profile", "magnitude"]
    assert all(len(independent(methods["magnitude", 0.8])) == 2 for methods in tables.values())
    low, high = (float(end) for end in summary["magnitude"][0].split("(")[1][:-1].split(" to "))
    assert high - low > 10  # two networks, four points apart, on each data set
    assert summary["profile"][2].startswith("2.5 ")


def test_what_is_out_of_reach_is_skipped_and_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*COMMAND, "--method", "dense", "profile", "profile-late", "--level", "0.95", "--seeds", "0", "--json"])
    skipped = json.loads(capsys.readouterr().out)["skipped"]
    assert len(skipped) == 1
    assert skipped[0].startswith("profile, profile-late at 0.95: ")
    page = place / "transferred" / "transfer.md"
    assert f"## Out of reach\n\n- {skipped[0]}" in page.read_text()

    main([*COMMAND, "--method", "magnitude", "--level", "0.95", "--seeds", "0", "--json"])
    assert json.loads(capsys.readouterr().out)["skipped"] == []
    main([*AT_LEVEL, "--method", "profile", "--seeds", "0", "--json"])
    assert json.loads(capsys.readouterr().out)["skipped"] == []
    assert "- profile at 0.95: " in page.read_text(), "of all rows on the page, not of the last command"


def test_first_weights_of_a_foreign_source_are_not_known(place: Path, members: list[Member]) -> None:
    foreign = place / "foreign.safetensors"
    save_network(foreign, members[0].load(), {})
    with pytest.raises(UsageError, match="original initialization of foreign is not known"):
        main([*AT_LEVEL, "--method", "ticket-original", "--checkpoint", str(foreign)])


@pytest.mark.parametrize(
    ("metadata", "scratch", "said"),
    [
        ({"recipe": asdict(Recipe(3))}, 5, ""),
        ({"recipe": asdict(Recipe(5))}, 5, "had fewer epochs than the source"),
        ({"recipe": asdict(Recipe(3)), "start": "other"}, 5, "How long the source was trained is not known"),
        ({}, 1000, "How long the source was trained is not known"),
    ],
)
def test_methods_from_random_weights_are_held_against_others_that_had_no_more_training(
    metadata: dict[str, Any], scratch: int, said: str, tmp_path: Path
) -> None:
    save_network(tmp_path / "mine.safetensors", build("resnet8", 10, 1), metadata)
    source = Member("mine", "resnet8", "digits", tmp_path / "mine.safetensors", "all", 0)
    setting = Setting(source, "", (), None, tmp_path, 1, scratch, 0, tmp_path, "params", "fp32")
    names, why = unequal_methods(setting)
    assert names == (("width", "rigl", "str", "acdc") if said else ())
    assert said in why and bool(why) == bool(said)


def test_rows_are_of_what_was_learned_upstream(place: Path, members: list[Member]) -> None:
    save_network(Path("mine.safetensors"), members[0].load(), {})
    mine = [*AT_LEVEL, "--checkpoint", "mine.safetensors", "--upstream-epochs", "0", "--method", "dense"]
    main([*mine, "--seeds", "0"])
    before = rows_of(place / "transferred")
    with pytest.raises(UsageError, match=r"data set upstream of [0-9a-f]{8} is not what .* another --out folder"):
        main([*mine, "--upstream", "digits@12", "--seeds", "0", "1"])
    assert rows_of(place / "transferred") == before


def test_answers_say_what_the_rows_say() -> None:
    made = {
        ("dense", "0"): (0.90, 0.91, 0.92), ("magnitude", "0.8"): (0.80, 0.81, 0.82),
        ("acdc", "0.8"): (0.82, 0.81, 0.80), ("profile", "0.8"): (0.70, 0.71, 0.72),
        ("ticket-late", "0.8"): (0.60, 0.61, 0.62), ("ticket-random", "0.8"): (0.505, 0.51, 0.515),
    }  # fmt: skip
    rows = [
        {
            "method": method,
            "level": level,
            "seed": str(seed),
            "accuracy": str(accuracy),
            "downstream": "a",
            "epochs": "9",
            "compression": "0",
        }
        for (method, level), values in made.items()
        for seed, accuracy in enumerate(values)
    ]
    tables = grouped([{**row, "finetune": kind} for row in rows for kind in ("linear", "full")])
    assert list(tables) == [("a", "linear"), ("a", "full, 9 epochs")]
    longer = grouped([{**row, "finetune": "full", "epochs": epochs} for row in rows for epochs in ("1", "9")])
    assert list(longer) == [("a", "full, 1 epoch"), ("a", "full, 9 epochs")]
    assert all(len(found) == 3 for methods in longer.values() for found in methods.values())
    (line, _) = best_table(tables)
    assert line[:5] == ("a", "linear", "0.8", "magnitude", "81.00 (78.52 to 83.48)")
    assert line[5:7] == ("acdc", "profile")
    assert float(line[7].split()[0]) == pytest.approx(-10)
    taken = {("dense", 0.0): 1.0, ("magnitude", 0.8): 1.0, ("profile", 0.8): 0.4, ("profile-late", 0.8): 0.4}
    fast = [line[2:6] for line in fastest_table(tables, taken) if line[1] == "linear"]
    assert fast == [("100%", "magnitude", "0.8", "100%"), ("40%", "profile", "0.8", "40%")]
    assert {line[3] for line in fastest_table(tables, taken, ["profile"])} == {"magnitude"}
    alone = grouped([{**row, "finetune": "linear", "seed": str(seed)} for seed, row in enumerate(rows)])
    assert best_table(alone)[0][5:] == ("", "profile", "")  # no seed in common, so nothing is compared
    assert fastest_table(alone, taken)[0][-1] == ""
    (fair, _) = best_table(tables, ["magnitude"])
    assert fair[3] == "acdc"
    assert len(answers(tables, ["magnitude"])) == 1
    assert answers({key: {k: rows[:1] for k, rows in methods.items()} for key, methods in tables.items()}) == []
    ticket, profile = answers(tables)
    assert "`ticket-late` against `ticket-random`. Linear: yes, better in 1 and worse in 0 of 1, by +10.00" in ticket
    assert "`profile` against `magnitude`. Linear: no, it is worse, better in 0 and worse in 1 of 1" in profile
    assert "Full, 9 epochs: no, it is worse, better in 0 and worse in 1 of 1" in profile
