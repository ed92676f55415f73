"""The study: experiments that test the claims behind the project, resumable measurement by measurement."""

from collections.abc import Callable

from profilesearch.research.study.budgets import budgets
from profilesearch.research.study.criteria import criteria
from profilesearch.research.study.depths import depths
from profilesearch.research.study.families import families
from profilesearch.research.study.fidelity import fidelity
from profilesearch.research.study.headline import headline
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.landing import landing
from profilesearch.research.study.page import Section
from profilesearch.research.study.ranks import ranks
from profilesearch.research.study.recipes import recipes
from profilesearch.research.study.searchers import searchers
from profilesearch.research.study.shipping import shipping
from profilesearch.research.study.spread import spread
from profilesearch.research.study.transfer import transfer
from profilesearch.research.study.truth import truth

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
