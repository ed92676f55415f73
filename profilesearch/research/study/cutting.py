"""What measurements share: a member's images, and the member cut by a profile."""

from dataclasses import replace
from functools import cache

import torch
from torch import nn

from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import MOST_SEEN, keep_channels, rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.pruning import Pruned, reestimate_statistics
from profilesearch.refitting import refit_weights
from profilesearch.research.study.jobs import FineTune, Sources, Widths
from profilesearch.research.study.thresholds import global_threshold
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, example_shape, learning_images
from profilesearch.tasks.sources import open_labelled


def data_of(sources: Sources, member: Member) -> DataSet:
    """Loads a member's data set, once a process, under the member's name for it and with the labels that it knows."""
    asked = dict(sources.folders).get(member.data, member.data)
    return replace(open_labelled(member.architecture, asked, sources.data_dir, member.path), name=member.data)


@cache
def _plan(sources: Sources, model: str, shape: tuple[int, int, int]) -> Plan:
    """Returns the plan of a member, made once a process."""
    return Plan(sources.architecture, sources.member(model).load(), shape)


def cut(sources: Sources, job: FineTune, full: nn.Module, data: DataSet) -> tuple[nn.Module, Widths, float]:
    """Returns the pruned network, refitted or with its statistics re-estimated; its widths and its relative MACs."""
    member, shape = sources.member(job.model), example_shape(full, data)
    plan = _plan(sources, job.model, shape)
    host, table = plan.network, plan.table.within("block")
    cost = CostModel(host, table, plan.example)
    learn = learning_images(member, data)
    sample = learn[:MOST_SEEN]
    batch = (data.normalize(sample.pixels, shape[0]), sample.labels)
    if not job.widths:
        network, chosen = global_threshold(host, table, cost, job.keep, job.criterion, plan.example, batch)
        pruned = Pruned(network, table, chosen, cost, {})
    else:
        chosen = torch.tensor(job.widths).numpy()
        keep = keep_channels(rank_channels(host, table, job.criterion, job.seed, batch), table, chosen)
        pruned = Pruned(Pruner(host, table).prune(keep).eval(), table, chosen, cost, keep)
    pruned.network.to(sources.device)
    if job.refit == "none":
        reestimate_statistics(pruned.network, data, learn[:2000])
    else:
        refit_weights(pruned, full, data, learn, job.refit)
    return pruned.network, tuple(chosen.tolist()), float(cost.relative(chosen, "macs"))
