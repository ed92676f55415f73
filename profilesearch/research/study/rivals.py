"""Scores that cost more: on weights that were trained at many widths, or of a profile that was trained for a while."""

from dataclasses import replace
from pathlib import Path
from typing import cast

from profilesearch.networks.checkpoints import load_matched, save_network
from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.pruning import reestimate_statistics
from profilesearch.research.study.cutting import cut, data_of
from profilesearch.research.study.jobs import FineTune, Score, Sources, identity
from profilesearch.scoring.measures import measured
from profilesearch.system.folders import digest_of
from profilesearch.tasks.elastic import Elastic, in_steps
from profilesearch.tasks.pools import Member, example_shape, learning_images, tuning_recipe
from profilesearch.tasks.predicting import class_scores
from profilesearch.tasks.splits import Part, split
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished

DISTILL = 0.5


def elastic_of(job: Score) -> Score:
    """Returns what the elastic weights behind a score depend on, as a score that says no more."""
    return Score(job.model, "", (), elastic=job.elastic, sandwich=job.sandwich)


def elastic_member(sources: Sources, job: Score) -> Member:
    """Returns the member of a score after elastic training; trains it where it is not there."""
    member = sources.member(job.model)
    weights = tensor_digest(load_matched(member.architecture, member.path).tensors)
    about = [identity(elastic_of(job), sources.precision), weights, data_of(sources, member).identity]
    path = sources.work / f"elastic-{digest_of({'about': about})}.safetensors"  # names of members are not unique
    if not path.exists():
        _train_elastic(sources, member, job, path)
    return replace(member, path=path)


def run_elastic(sources: Sources, job: Score) -> None:
    """Trains elastic weights, so that scores find them."""
    elastic_member(sources, job)


def _train_elastic(sources: Sources, member: Member, job: Score, path: Path) -> None:
    data, teacher, network = data_of(sources, member), member.load().to(sources.device), member.load()
    shape = example_shape(network, data)
    table = Plan(member.architecture, network, shape).table.within("block")
    learn = learning_images(member, data)
    recipe = tuning_recipe(data, 1, distill=1.0, precision=sources.precision)
    recipe, images = in_steps(recipe, learn, job.elastic)
    elastic = Elastic(network, table, job.sandwich).to(sources.device)
    resume = Unfinished(path.with_suffix(""))
    train(elastic, data, images, recipe, teacher, None, resume, hook=elastic.count)
    reestimate_statistics(network, data, learn[:2000])
    about = {"architecture": member.architecture, "num_classes": data.num_classes, "in_channels": shape[0]}
    save_network(path, network.cpu(), {**about, "elastic": {"steps": job.elastic, "sandwich": job.sandwich}})
    resume.remove_all()


def score_tuned(sources: Sources, job: Score) -> float:
    """Scores a profile after some steps of the recipe that pruned networks are fine-tuned with."""
    member = sources.member(job.model)
    data, full = data_of(sources, member), member.load().to(sources.device)
    refit = "sequential" if job.refit != "none" else "none"
    network, _, _ = cut(sources, FineTune(job.model, job.widths, criterion=job.criterion, refit=refit), full, data)
    recipe = tuning_recipe(data, 1, distill=DISTILL, precision=sources.precision)
    recipe, learn = in_steps(recipe, learning_images(member, data), job.steps)
    train(network, data, learn, recipe, full)
    held_out = data.test if job.part == "test" else split(data, member.split_seed).images(data, cast(Part, job.part))
    images = held_out[: job.images]
    made, wanted = (class_scores(each, data, images, sources.precision) for each in (network, full))
    return measured(job.measure, made, images.labels, wanted)
