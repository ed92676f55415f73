"""What measurements share: a member's images, and the member cut by a profile."""

import copy
from dataclasses import replace
from functools import cache

import torch
from torch import nn

from profilesearch.networks.cost import CostModel, evaluated
from profilesearch.networks.criteria import MOST_SEEN, Batch, keep_channels, rank_channels
from profilesearch.networks.groups import IntArray
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.pruning import Pruned, reestimate_statistics
from profilesearch.refitting import refit_weights
from profilesearch.research.study.jobs import FineTune, Sources, Widths
from profilesearch.research.study.thresholds import global_threshold
from profilesearch.tasks.data import DataSet, Images
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


@cache
def _thresholded(
    sources: Sources, model: str, shape: tuple[int, int, int], keep: float, importance: str
) -> tuple[nn.Module, IntArray]:
    """Returns a member that Torch-Pruning cut, and its widths; made once a process, since no seed matters."""
    plan, member = _plan(sources, model, shape), sources.member(model)
    table, data = plan.table.within("block"), data_of(sources, member)
    cost = CostModel(plan.network, table, plan.example)
    seen = _seen(data, learning_images(member, data), shape)
    return global_threshold(plan.network, table, cost, keep, importance, plan.example, seen)


def _seen(data: DataSet, learn: Images, shape: tuple[int, int, int]) -> Batch:
    """Returns the images, and their labels, that choose channels."""
    sample = learn[:MOST_SEEN]
    return data.normalize(sample.pixels, shape[0]), sample.labels


def cut(sources: Sources, job: FineTune, full: nn.Module, data: DataSet) -> tuple[nn.Module, Widths, float]:
    """Returns the pruned network, refitted or with its statistics re-estimated; its widths and its relative MACs."""
    member, shape = sources.member(job.model), example_shape(full, data)
    plan = _plan(sources, job.model, shape)
    host, table = plan.network, plan.table.within("block")
    cost = CostModel(host, table, plan.example)
    learn = learning_images(member, data)
    if not job.widths:
        network, chosen = _thresholded(sources, job.model, shape, job.keep, job.criterion)
        pruned = Pruned(copy.deepcopy(network), table, chosen, cost, {})
    else:
        chosen = torch.tensor(job.widths).numpy()
        seen = _seen(data, learn, shape)
        keep = keep_channels(rank_channels(host, table, job.criterion, job.seed, seen), table, chosen)
        pruned = Pruned(evaluated(Pruner(host, table).prune(keep)), table, chosen, cost, keep)
    pruned.network.to(sources.device)
    if job.refit == "none":
        reestimate_statistics(pruned.network, data, learn[:2000])
    else:
        refit_weights(pruned, full, data, learn, job.refit)
    return pruned.network, tuple(chosen.tolist()), float(cost.relative(chosen, "macs"))
