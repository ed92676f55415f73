"""Data, splits, augmentation and the training loop."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_fitting
from profilesearch.networks.plan import Plan
from profilesearch.research.transfers.masks import Mask, Masks
from profilesearch.research.transfers.soft_threshold import SoftThreshold
from profilesearch.tasks.augment import Moves, drawn, moved
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.elastic import Elastic
from profilesearch.tasks.epoch import Batches
from profilesearch.tasks.files import for_network
from profilesearch.tasks.lessons import Lessons
from profilesearch.tasks.pools import Member, foreign_member, held_out_accuracy, pool_path, train_member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.splits import split
from profilesearch.tasks.taps import unseen_taps_zeroed
from profilesearch.tasks.training import train
from profilesearch.tasks.turns import in_turns
from profilesearch.tasks.unfinished import Unfinished


def test_split_parts_are_disjoint_and_repeat(digits: DataSet) -> None:
    one, two, other = split(digits, 0), split(digits, 0), split(digits, 1)
    parts = [one.train, one.search, one.choose, one.fresh]
    assert sorted(torch.cat(parts).tolist()) == list(range(len(digits.train)))
    assert one.digest == two.digest != other.digest


def test_unknown_and_missing_data_say_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean cifar10"):
        load_data("cifar", tmp_path)
    with pytest.raises(UsageError, match=r"cifar-10-batches-py; .*`download=True`"):
        load_data("cifar10", tmp_path)
    with pytest.raises(UsageError, match="cifar100 needs a folder: give `folder`"):
        load_data("cifar100")
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UsageError, match="incomplete or damaged"):
        load_data("cifar10", tmp_path)


def test_augmentation_shifts_and_mirrors() -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5) + 1
    generator = torch.Generator().manual_seed(0)
    same = moved(images, drawn(len(images), generator, shift=0, flips=False), shift=0)
    assert torch.equal(same, images)
    many = moved(images[:1].expand(200, -1, -1, -1), drawn(200, generator, shift=1, flips=True), shift=1)
    seen = {tuple(image.flatten().tolist()) for image in many}
    assert len(seen) == 2 * 3 * 3
    assert tuple(images[0].flip(2).flatten().tolist()) in seen


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_rises_then_falls_to_zero(schedule: str) -> None:
    recipe = Recipe(epochs=1, lr=0.1, schedule=schedule)  # type: ignore[arg-type]
    rates = [recipe.rate(step, 100) for step in range(101)]
    assert max(rates) == rates[9] == pytest.approx(0.1)
    assert rates[100] == pytest.approx(0)
    assert sorted(rates[10:], reverse=True) == rates[10:]


def test_training_learns_digits(members: list[Member], digits: DataSet) -> None:
    assert held_out_accuracy(members[0], digits) > 0.95


@pytest.mark.full
def test_interrupted_training_continues_to_the_same_weights(digits: DataSet, tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, lr=0.05, batch=64, shift=1, distill=0.5, label_smoothing=0.1)
    torch.manual_seed(1)
    teacher = build("resnet8", 10, 1).eval()
    state = Unfinished(tmp_path / "state")

    class Stop(Exception):  # noqa: N818
        pass

    def weights(stop_at: int | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = build("resnet8", 10, 1)

        def progress(done: int, total: int, note: str) -> None:
            if done == stop_at:
                raise Stop

        train(model, digits, digits.train[:256], recipe, teacher, progress, state)
        return model.state_dict()

    straight = weights(None)
    state.remove()
    with pytest.raises(Stop):
        weights(stop_at=10)  # in the third epoch
    resumed = weights(None)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_diverging_training_says_which_rate_to_try(digits: DataSet) -> None:
    torch.manual_seed(0)
    model = build("resnet8", 10, 1)
    with pytest.raises(UsageError, match=r"no longer finite.*try a learning rate of"):
        train(model, digits, digits.train, Recipe(epochs=5, lr=1e20, batch=64))


@pytest.mark.full
def test_distillation_pulls_towards_the_teacher(members: list[Member], digits: DataSet) -> None:
    teacher = members[0].load()
    wrong = replace(digits, train=replace(digits.train, labels=(digits.train.labels + 1) % 10))
    torch.manual_seed(0)
    model = build("resnet8", 10, 1)
    train(model, digits, wrong.train, Recipe(epochs=5, lr=0.05, batch=64, shift=1, distill=1.0), teacher)
    assert accuracy(model, digits, digits.test) > 0.8


@pytest.mark.parametrize("momentum", [3e-4, None])  # as torchvision's MNASNet has it; the mean of all steps
def test_statistics_keep_up_with_short_trainings(momentum: float | None, digits: DataSet) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8, momentum=momentum)
    norm.num_batches_tracked += 60_000
    network = nn.Sequential(nn.Conv2d(1, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    train(network, digits, digits.train, Recipe(2, batch=64, shift=0))
    with torch.no_grad():
        seen = network[0](digits.normalize(digits.train.pixels))
    assert torch.allclose(norm.running_var, seen.var((0, 2, 3)), rtol=0.15)
    assert norm.momentum == momentum
    assert accuracy(network, digits, digits.test) > 0.85


def test_auxiliary_classifiers_learn_too(digits: DataSet) -> None:
    torch.manual_seed(0)
    model = build("googlenet", 10)
    before = model.aux1.fc2.weight.detach().clone()  # type: ignore[union-attr, operator]
    data = replace(digits, size=32)
    train(model, data, data.train[:64], Recipe(epochs=1, lr=0.01, batch=32, shift=1))
    assert not torch.equal(before, model.aux1.fc2.weight)  # type: ignore[union-attr]


def test_too_few_images_to_search_on_give_one_sentence(digits: DataSet) -> None:
    with pytest.raises(UsageError, match="digits has 3 training images"):
        split(replace(digits, train=digits.train[:3]))


def test_members_are_trained_once(digits: DataSet, members: list[Member], pool_dir: Path) -> None:
    path = pool_path(pool_dir, "resnet8", "digits", 0)
    before = path.stat().st_mtime_ns
    again = train_member("resnet8", digits, 0, pool_dir)
    assert again == members[0]
    assert path.stat().st_mtime_ns == before


@pytest.mark.full
def test_a_relative_starts_from_weights_of_another_task(members: list[Member]) -> None:
    model = build("resnet8", 7, 1)
    anew = load_fitting(model, members[0].path)
    ours, theirs = model.state_dict(), members[0].load().state_dict()
    assert set(anew) == {name for name in ours if ours[name].shape != theirs[name].shape} != set()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name not in anew)
    with pytest.raises(UsageError, match="another architecture"):
        load_fitting(build("vgg11", 10), members[0].path)


def test_checkpoints_with_other_classes_are_refused(digits: DataSet, tmp_path: Path) -> None:
    torch.save(build("resnet8", 100, 1).state_dict(), tmp_path / "w.th")
    with pytest.raises(UsageError, match="100 classes, but digits has 10"):
        foreign_member("resnet8", tmp_path / "w.th", digits)


def test_a_folder_of_classes_is_split_once_and_decoded_late(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    data = open_data(f"{write_images(tmp_path / 'pets', ['cat', 'dog'])}@16")
    assert (data.name, data.num_classes, data.image_shape) == ("pets@16", 2, (3, 16, 16))
    assert (len(data.train), len(data.test)) == (16, 4)
    part = data.train[torch.tensor([3, 5])]
    assert torch.equal(part.pixels, data.train.pixels[[3, 5]])
    bright = data.train.pixels.float().mean((1, 2, 3)) > 120
    assert torch.equal(bright.long(), data.train.labels)
    assert data.train.digest == open_data(f"{tmp_path / 'pets'}@16").train.digest != data.test.digest
    assert data.normalize(part.pixels).shape == (2, 3, 16, 16)


def test_train_and_val_folders_are_taken_as_they_are(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    write_images(tmp_path / "train", ["a", "b"], 4)
    write_images(tmp_path / "val", ["a", "b"], 3)
    data = open_data(str(tmp_path))
    assert (len(data.train), len(data.test), data.image_shape) == (8, 6, (3, 224, 224))
    write_images(tmp_path / "val", ["c"], 1)
    with pytest.raises(UsageError, match=r"other class folders \(c in one alone\)"):
        open_data(str(tmp_path))


def test_a_part_under_an_unknown_name_is_named(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    write_images(tmp_path / "train", ["a", "b"], 8)
    assert open_data(f"{tmp_path}@16").remarks == ()
    write_images(tmp_path / "tests", ["a", "b"], 3)
    data = open_data(f"{tmp_path}@16")
    assert data.remarks == ("not read: tests beside train; name it test or val",)
    assert (len(data.train), len(data.test)) == (13, 3)


def test_parts_of_imagenet_may_have_other_classes(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    write_images(tmp_path / "train", ["n01443537", "n02979186", "n01440764"], 4)
    write_images(tmp_path / "val", ["n02102040", "n01443537"], 3)
    data = open_data(f"{tmp_path}@16")
    assert (data.num_classes, sorted(set(data.test.labels.tolist()))) == (4, [1, 2])
    known = for_network(data, 1000)
    assert sorted(set(known.train.labels.tolist())) == [0, 1, 482]  # tench, goldfish, cassette player
    assert sorted(set(known.test.labels.tolist())) == [1, 217]  # goldfish, English springer


def test_broken_folders_give_one_sentence(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="one folder a class"):
        open_data(str(tmp_path))
    write_images(tmp_path / "one", ["only"])
    with pytest.raises(UsageError, match="one class alone, 'only'"):
        open_data(str(tmp_path / "one"))
    with pytest.raises(UsageError, match="there is no folder"):
        open_data(str(tmp_path / "nowhere"))
    write_images(tmp_path / "two", ["a", "b"])
    for file in (tmp_path / "two" / "a").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"\d\.png cannot be decoded"):
        _ = open_data(str(tmp_path / "two")).train.pixels


def test_small_images_are_enlarged_when_they_are_normalized(digits: DataSet) -> None:
    large = open_data("digits@24")
    assert (large.name, large.image_shape) == ("digits@24", (1, 24, 24))
    assert large.normalize(large.train.pixels[:2]).shape == (2, 1, 24, 24)
    assert torch.equal(large.train.pixels, digits.train.pixels)


def test_trainings_take_turns_and_no_more_than_asked_at_a_time() -> None:
    running, most = 0, 0

    def one(number: int) -> Iterator[None]:
        nonlocal running, most
        running += 1
        for _ in range(number + 2):
            most = max(most, running)
            yield
        running -= 1
        return number  # type: ignore[return-value]

    several = [one(3), None, one(0), one(1), None, one(2)]
    assert list(in_turns(iter(several), 2)) == [0, 3, 1, 2]  # type: ignore[arg-type]
    assert (running, most) == (0, 2)


@pytest.mark.parametrize("groups", [1, 4])
def test_taps_that_see_padding_alone_have_no_gradient(groups: int) -> None:
    """On some processors these were what was in memory before, in half precision; so that is put there."""
    conv = nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=groups)
    images, larger = torch.randn(128, 64, 1, 1), torch.randn(8, 64, 4, 4)
    with unseen_taps_zeroed(conv):
        for given, seen in ((images, 1), (larger, 9)):
            for _ in range(20):
                torch.full((500_000,), float("nan"))  # into memory that is free again at once
                conv.zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    made = conv(given)
                made.float().square().sum().backward()
                assert conv.weight.grad is not None
                assert int(conv.weight.grad.ne(0).any(dim=0).any(dim=0).sum()) == seen
    conv.weight.grad = None
    conv(images).sum().backward()  # in full precision, and without a guard
    assert conv.weight.grad is not None


class SamePadded(nn.Conv2d):
    """Pads by itself, as convolutions of TensorFlow do."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.pad(input, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class ByName(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(input=images)


def tied() -> nn.Module:
    one, two = (nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(2))
    two.weight = one.weight
    return nn.Sequential(one, two)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SamePadded(3, 3, 3, stride=2),
        lambda: nn.Conv2d(3, 3, 3, stride=2, padding=1, padding_mode="replicate"),
        ByName,
        tied,
    ],
)
def test_gradients_that_are_right_are_left_alone(make: Callable[[], nn.Module], size: int) -> None:
    model, images = make(), torch.randn(4, 3, size, size)
    model(images).square().sum().backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    with unseen_taps_zeroed(model):
        model(images).square().sum().backward()
    assert all(torch.equal(one.grad, two) for one, two in zip(model.parameters(), wanted, strict=True))  # type: ignore[arg-type]


class Spoilt(torch.autograd.Function):
    """A weight whose gradient is wrong but in the middle, as that of unseen taps may be."""

    @staticmethod
    def forward(_: Any, weight: Tensor) -> Tensor:
        return weight.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        wrong = torch.full_like(gradient, float("nan"))
        wrong[..., 1, 1] = gradient[..., 1, 1]
        return wrong


def masked(model: nn.Sequential) -> nn.Module:
    masks = Masks(model)
    masks.keep_best(masks.magnitudes(), 0.5)
    for name in masks.layers:
        masks[name].watched = True
    return model


def thresholded(model: nn.Sequential) -> nn.Module:
    parametrize.register_parametrization(model[2], "weight", SoftThreshold(), unsafe=True)
    return model


def elastic(model: nn.Sequential) -> nn.Module:
    return Elastic(model, Plan("mine", model, (3, 1, 1)).table, sandwich=True)


@pytest.mark.parametrize("wrap", [lambda model: model, masked, thresholded, elastic])
def test_unseen_taps_are_mended_behind_masks_thresholds_and_widths(
    wrap: Callable[[nn.Sequential], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten())
    model, images = wrap(inner.append(nn.Linear(8, 4))).train(), torch.randn(16, 3, 1, 1)
    plain = nn.functional.conv2d

    def spoilt(given: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        return plain(given, Spoilt.apply(weight) if weight.shape[-1] == 3 else weight, *rest)

    def gradients() -> list[Tensor | None]:
        model.zero_grad()
        model(images).square().sum().backward()
        noted = [each.gradient for each in model.modules() if isinstance(each, Mask)]
        return [*noted, *(each.grad for each in model.parameters())]

    wanted = gradients()
    monkeypatch.setattr(nn.functional, "conv2d", spoilt)
    assert any(each is not None and each.isnan().any() for each in gradients())
    with unseen_taps_zeroed(model):
        for _ in range(2):
            assert all(torch.equal(one, two) for one, two in zip(gradients(), wanted, strict=True))


def test_taps_are_mended_where_they_are_unseen_alone() -> None:
    conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)
    with unseen_taps_zeroed(conv):
        conv(torch.randn(2, 4, 1, 4))  # a row of four pixels: the middle row of each kernel sees them
        hook = next(iter(conv.weight._backward_hooks.values()))  # type: ignore[union-attr]
        mended = hook(torch.full_like(conv.weight, float("nan")))
        assert mended.isnan().any(dim=0).any(dim=0).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert not conv._forward_pre_hooks
    assert not conv.weight._backward_hooks


def test_a_teacher_is_asked_once_for_trainings_that_see_the_same(digits: DataSet) -> None:
    teacher, asked = build("resnet8", 10, 1).eval(), []
    teacher.register_forward_hook(lambda *_: asked.append(1))
    recipe, lessons = Recipe(epochs=1, batch=64, shift=1), Lessons(teacher)
    batches = Batches(digits, digits.train, recipe, 1, torch.channels_last)
    drawn = list(batches.drawn(3))
    scores = lessons.of(batches, 3, drawn)
    assert lessons.of(replace(batches, recipe=replace(recipe, epochs=9)), 3, drawn) is scores
    assert len(asked) == 1
    for other in (replace(recipe, seed=1), replace(recipe, precision="bf16")):
        assert lessons.of(replace(batches, recipe=other), 3, drawn) is not scores
    chosen, *moves = (each[2] for each in drawn)
    pixels, labels = batches.batch(chosen, Moves(*moves))
    assert torch.equal(labels, digits.train.labels[chosen])
    torch.testing.assert_close(scores[2], teacher(pixels))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_repeats_a_recorded_step(digits: DataSet) -> None:
    recipe = Recipe(epochs=2, lr=0.05, batch=64, shift=1, precision="fp32", distill=0.5)
    first, teacher = build("resnet8", 10, 1), build("resnet8", 10, 1).to("cuda").eval()
    learned = []
    for hook in (None, lambda *_: None):  # a training with a hook is not recorded
        network = copy.deepcopy(first).to("cuda")
        train(network, digits, digits.train, recipe, teacher, hook=hook)
        learned.append(torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()]))
    far = float((learned[0] - torch.cat([parameter.detach().flatten() for parameter in first.parameters()])).norm())
    assert float((learned[0] - learned[1]).norm()) < 0.05 * far


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_resumes_a_recorded_training(digits: DataSet, tmp_path: Path) -> None:
    network, recipe = build("resnet8", 10, 1).to("cuda"), Recipe(epochs=2, lr=0.05, batch=64, shift=1)
    straight, resumed = (copy.deepcopy(network) for _ in range(2))
    train(straight, digits, digits.train, recipe)

    def stop(step: int, *_: object) -> None:
        if step > len(digits.train) // 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network, digits, digits.train, recipe, progress=stop, resume=Unfinished(tmp_path / "state"))
    train(resumed, digits, digits.train, recipe, resume=Unfinished(tmp_path / "state"))
    assert accuracy(resumed, digits, digits.test) == pytest.approx(accuracy(straight, digits, digits.test), abs=0.05)


class Odd(nn.Module):
    """A network whose steps differ, or that waits for the device."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.network = build("resnet8", 10, 1)
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)
        if self.training and self.kind == "draws":
            scores = scores * (0.5 + random.random())
        elif self.training and float(images.sum()) == 0:
            scores = scores * 0
        return scores


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["draws", "waits"])
def test_a_gpu_trains_what_cannot_be_recorded(digits: DataSet, kind: str) -> None:
    said: list[str] = []
    network = Odd(kind).to("cuda")
    train(network, digits, digits.train, Recipe(epochs=3, lr=0.05, batch=64, shift=1), say=said.append)
    assert [line for line in said if "training steps cannot be recorded" in line and f"the network {kind}" in line]
    assert accuracy(network, digits, digits.test) > 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_and_resumes(digits: DataSet, tmp_path: Path) -> None:
    cuda, learned = torch.device("cuda"), []
    for _ in range(2):
        torch.manual_seed(0)
        network = build("resnet8", 10, 1).to(cuda)
        train(network, digits, digits.train, Recipe(epochs=2, lr=0.05, batch=64, shift=1))
        learned.append(accuracy(network, digits, digits.train))
    assert learned[0] == pytest.approx(learned[1], abs=0.02)
    assert accuracy(network, digits, digits.test) == pytest.approx(
        accuracy(network.cpu(), digits, digits.test), abs=0.02
    )
    member = train_member("resnet8", digits, 0, tmp_path, Recipe(epochs=2, lr=0.05, batch=64, shift=1), device=cuda)
    assert accuracy(member.load(), digits, digits.test) > 0.5
