"""A search over a pool of trained models, its profile stored: what `train` does."""

from dataclasses import dataclass, field
from pathlib import Path

from agents import Result, Searcher, make_searcher, searcher_names
from agents.provenance import describe
from profilesearch.cli.console import Output
from profilesearch.cli.hyperparameters import PPO, ppo_settings
from profilesearch.cli.options import STORE, Searching, setting_name
from profilesearch.cli.settings import option
from profilesearch.cli.watching import Curves
from profilesearch.deciding import started
from profilesearch.errors import UsageError
from profilesearch.evidence import Provenance
from profilesearch.networks.architectures import folder_name
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import rivals_of
from profilesearch.research.searched import save_run, store_safely
from profilesearch.scoring.measures import SHOWN
from profilesearch.scoring.problem import Problem
from profilesearch.system.naming import safe_name


@dataclass(frozen=True, kw_only=True)
class Training(Searching):
    """What `train` is told."""

    verb = "train"
    description = """\
Search a layer-wise channel pruning profile and store it.

The profile says which fraction of its channels every group of layers keeps, so that the whole network
keeps a given part of its cost. It is searched by PPO (or another searcher) over a pool of trained models
of the architecture: a candidate is pruned for real, BatchNorm takes new statistics, and its accuracy on
held-out training images is its score. Test images are never looked at.

Every score goes to a ledger at once. A search that was stopped, even killed, goes on where it was when
the same command is given again."""
    epilog = """\
examples:
  profilesearch train --arch resnet56
  profilesearch train --arch resnet56 --data cifar10 --checkpoint a.th b.safetensors --keep 0.3
  profilesearch train --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2 --evaluations 1000

files:
  profiles/ARCH/NAME.json   the profile, with how it was found
  runs/ARCH/NAME/           profile.png, search.png, history.csv, result.json
  runs/ledger.jsonl         every score ever measured; may be deleted, at the price of measuring again"""

    searcher: str = field(default="ppo", metadata=option(f"one of {', '.join(searcher_names())}", "NAME"))
    ppo: tuple[str, ...] = field(default=(), metadata=PPO)
    start: str | None = field(
        default=None,
        metadata=option(
            "what ppo starts from: `policy`, the stored one for any network, or its FILE (default: from nothing)",
            "NAME",
        ),
    )
    storage: str | None = field(
        default=None,
        metadata=option(
            "of Optuna, for tpe and cmaes: sqlite:///FILE, a database's URL, or a journal's FILE; the same command on "
            "any number of machines then shares one search",
            "URL",
        ),
    )
    tensorboard: Path | None = field(
        default=None, metadata=option("write curves there while it runs (an extra)", "DIR")
    )
    store: Path = field(default=Path("profiles"), metadata=STORE)
    name: str | None = field(
        default=None, metadata=option("of the stored profile (default: from budget, data and searcher)", "NAME")
    )

    def make_searcher(self) -> Searcher:
        """Returns the searcher that is asked for.

        Raises:
            UsageError: There is none of this name, or it has no use for what it is told.
        """
        ppo = ppo_settings(self.ppo) if self.ppo else None
        return make_searcher(self.searcher, self.storage, ppo, started(self.start, self.store) if self.start else None)

    def profile_name(self, data: list[str]) -> str:
        """Returns what the profile is stored as: the name that was given, or one of budget, data, searcher and seed."""
        told = f"{self.searcher}{'-from-policy' if self.start else ''}{self.evaluations}-seed{self.seed}"
        return self.name or safe_name(f"{setting_name(self, data)}-{told}")


def search(problem: Problem, settings: Training, name: str, output: Output) -> None:
    """Searches, stores the profile, and shows what was found."""
    searcher, what = settings.make_searcher(), f"searching with {settings.searcher}"
    with output.search_progress(what, settings.evaluations) as move, Curves(settings.tensorboard, output.say) as curves:
        result = searcher.search(problem, settings.evaluations, settings.seed, curves.watch(move))
        curves.finish(result)
    found = describe(problem, result)
    widths = result.winner.evaluation.widths
    profile = problem.space.profile(widths, found)
    path = store_safely(profile, name, settings.store, settings.runs)
    try:
        folder = save_run(settings.runs / folder_name(settings.arch) / path.stem, problem, result, profile)
    except UsageError as error:
        raise UsageError(f"{error}; the profile is stored in {path}") from error
    show(output, problem, result, found)
    output.say(f"stored {path}\npictures and history in {folder}")
    output.result({"profile": str(path), "run": str(folder), "reached": profile.reached, **found})


def show(output: Output, problem: Problem, result: Result, found: Provenance) -> None:
    """Prints the result table."""
    space, score = problem.space, found["score"]

    def row(name: str, search: float, fresh: float, widths: IntArray, own_cost: float | None = None) -> list[str]:
        own = "" if own_cost is None else f"{own_cost:.2%}"
        costs = f"{space.relative(widths):.2%}", space.params_text(widths)
        return [name, f"{search:.3f}", f"{fresh:.3f}", *costs, own]

    rows = [row("unpruned", 1, 1, space.table.channels)]
    for name, widths in rivals_of(space).items():
        rows.append(row(name, score[f"{name}_search"], score[f"{name}_fresh"], widths))
    named = [("the policy's own", result.policy)] if result.policy is not None else []
    for name, finalist in [*named, (f"stored, from the {found['chosen']}", result.winner)]:
        evaluation = finalist.evaluation
        rows.append(row(name, evaluation.fitness, finalist.fresh, evaluation.widths, evaluation.own_cost))
    head = ["profile", "search images", "fresh images", f"of the {space.budget.metric}", "parameters", "unprojected"]
    what = SHOWN[problem.settings.measure]
    output.table(f"{what} relative to the unpruned models, mean of the pool; fresh images chose nothing", head, rows)
    if result.kept_rival:
        output.say(
            f"what is stored is the {found['chosen']} profile, which needs no search: none of {found['evaluations']} "
            f"that {result.searcher} tried held up better on other images"
        )
