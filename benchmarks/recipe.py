"""Which learning rate suits a pruned network, by how much of it is left?

The pool's network of seed 0 is pruned by the stored profile for each budget, uniformly where there is none, and
fine-tuned with a teacher at several peak learning rates. It is scored on the fresh held-out images of the split that it
was trained with: test images are not read, since what wins here becomes a default.

    python benchmarks/recipe.py --arch resnet20 --data cifar10 --data-dir DIR
"""

import argparse
from pathlib import Path

from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import prune_with_profile, reestimate_statistics
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.pools import Member, example_shape, learning_images, trained_member, tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.splits import split
from profilesearch.tasks.training import train


def main() -> None:
    """Prints held-out accuracies by keep fraction and learning rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--pool-dir", type=Path, default=Path("pools"))
    parser.add_argument("--store", type=Path, default=Path("profiles"))
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.3, 0.7])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.05])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=15_000, help="to learn from, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    data = open_data(options.data, options.data_dir)
    member = trained_member(options.arch, data, 0, options.pool_dir)
    if member is None:
        parser.error(f"train the member first: profilesearch pool --arch {options.arch} --data {options.data}")
    learn, fresh = (
        learning_images(member, data)[: options.images],
        data.train[split(data, member.split_seed).unsearched],
    )
    print(f"{member.name}, {len(learn)} images, {options.epochs} epochs; full {share(member, data, fresh)}")
    print("keep " + " ".join(f"{rate:>8g}" for rate in options.rates))
    for keep in options.keeps:
        profile = profile_for(member, data, keep, Store(options.store))
        row = []
        for rate in options.rates:
            found = [tuned(member, data, profile, learn, fresh, rate, options.epochs, seed) for seed in options.seeds]
            row.append(sum(found) / len(found))
            print(f"{keep:.2f} {rate:g}: {row[-1]:.2%}", flush=True)
        print(f"{keep:.2f} " + " ".join(f"{value:8.2%}" for value in row), flush=True)


def profile_for(member: Member, data: DataSet, keep: float, store: Store) -> Profile:
    """Returns the stored profile for a budget of multiply-adds, or the uniform one."""
    stored = [
        each.profile for each in store.profiles(member.architecture) if each.profile.budget == Budget("macs", keep)
    ]
    network = member.load()
    space = Plan(member.architecture, network, example_shape(network, data)).space(Budget("macs", keep))
    return stored[0] if stored else space.profile(space.uniform(), {"searcher": "uniform"})


def tuned(
    member: Member, data: DataSet, profile: Profile, learn: Images, fresh: Images, rate: float, epochs: int, seed: int
) -> float:
    """Returns the held-out accuracy after pruning and fine-tuning."""
    full = member.load()
    network = prune_with_profile(full, profile, example_shape(full, data)).network
    reestimate_statistics(network, data, learn[:2000])
    train(network, data, learn, tuning_recipe(data, epochs, lr=rate, distill=0.5, seed=seed), full)
    return accuracy(network, data, fresh)


def share(member: Member, data: DataSet, fresh: Images) -> str:
    """Returns the full network's held-out accuracy, and on how many images."""
    return f"{accuracy(member.load(), data, fresh):.2%} of {len(fresh)} held-out images"


if __name__ == "__main__":
    main()
