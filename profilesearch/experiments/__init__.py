"""The study: experiments that test the claims behind the project, resumable measurement by measurement."""

from collections.abc import Callable

from profilesearch.experiments.budgets import budgets
from profilesearch.experiments.criteria import criteria
from profilesearch.experiments.depths import depths
from profilesearch.experiments.families import families
from profilesearch.experiments.fidelity import fidelity
from profilesearch.experiments.headline import headline
from profilesearch.experiments.lab import Lab
from profilesearch.experiments.landing import landing
from profilesearch.experiments.page import Section
from profilesearch.experiments.ranks import ranks
from profilesearch.experiments.recipes import recipes
from profilesearch.experiments.searchers import searchers
from profilesearch.experiments.shipping import shipping
from profilesearch.experiments.spread import spread
from profilesearch.experiments.transfer import transfer
from profilesearch.experiments.truth import truth

EXPERIMENTS: dict[str, Callable[[Lab], Section]] = {
    "fidelity": fidelity,
    "criteria": criteria,
    "ranks": ranks,
    "spread": spread,
    "searchers": searchers,
    "landing": landing,
    "transfer": transfer,
    "families": families,
    "depths": depths,
    "recipes": recipes,
    "headline": headline,
    "shipping": shipping,
    "budgets": budgets,
    "truth": truth,
}
LONG = ("truth",)
"""Experiments that take a night, and run when they are asked for by name."""
