"""How much the study measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much the study measures.

    Attributes:
        keeps: Budgets, as fractions of the MACs.
        keep: The budget of experiments that look at one.
        family_keeps: Budgets for which one policy's profiles are shipped.
        profiles: Random profiles that are fine-tuned for each budget.
        few: Of these, how many where several criteria are compared.
        random: Random profiles of the exhaustive search on every model.
        evaluations: Of every searcher.
        images: Images behind a score where one profile is compared between models.
        search_images: Images of each pool member behind a score in a search.
        image_counts: Numbers of images to compare as scores.
        seeds: Repeats of whatever has a seed.
        epochs: Of the short fine-tuning.
        lr: Its peak learning rate.
        recipe_epochs: Of the fine-tuning that recipes are compared in.
        long_epochs: Of the fine-tuning behind the headline table.
        long_lr: Its peak learning rate.
        truths: Profiles of a budget that are fine-tuned for long, to learn what scores are worth.
        truth_pool: Random profiles that they are taken from.
        truth_epochs: Of their fine-tuning: of all of them, then of the better half.
        truth_seeds: Repeats of the latter.
        elastic: Steps of elastic training to compare.
        distilled: Steps of distillation before a score to compare.
    """

    keeps: tuple[float, ...] = (0.3, 0.5, 0.7)
    keep: float = 0.5
    family_keeps: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9)
    profiles: int = 20
    few: int = 1
    random: int = 500
    evaluations: int = 1000
    images: int = 1000
    search_images: int = 125
    image_counts: tuple[int, ...] = (250, 1000, 2500)
    seeds: int = 3
    epochs: int = 1
    lr: float = 0.05
    recipe_epochs: int = 2
    long_epochs: int = 40
    long_lr: float = 0.02
    truths: int = 40
    truth_pool: int = 120
    truth_epochs: tuple[int, int] = (5, 15)
    truth_seeds: int = 2
    elastic: tuple[int, ...] = (500, 2000)
    distilled: tuple[int, ...] = (20, 50)


QUICK = Sizes(
    keeps=(0.5,), family_keeps=(0.6,), profiles=4, few=1, random=16, evaluations=16, images=100,
    image_counts=(50, 100), seeds=2, epochs=1, recipe_epochs=1, long_epochs=2,
    truths=6, truth_pool=8, truth_epochs=(1, 1), elastic=(4,), distilled=(2,),
)  # fmt: skip
"""A few minutes on small images: shows that everything runs, and no more."""
