"""The problem that the environment runs on when it is given none: real images that come with the installation."""

from functools import cache

from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.system.temporary import scratch_folder
from profilesearch.tasks.data import load_data
from profilesearch.tasks.pools import train_member


@cache
def embedded_problem() -> Problem:
    """Trains a ResNet-20 on digits, in a few seconds, once a process; half of its MACs are the budget."""
    data = load_data("digits")
    with scratch_folder() as folder:
        member = train_member("resnet20", data, 0, folder)
        return Problem([member], {data.name: data}, Budget("macs", 0.5), default_settings(), Ledger())
