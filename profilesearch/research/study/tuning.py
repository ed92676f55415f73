"""How fine-tunings are measured: in worker processes on the processor, or in turns on a CUDA device."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from queue import Empty, SimpleQueue
from threading import Thread

import torch
from torch import nn

from profilesearch.research.study.cutting import cut, data_of
from profilesearch.research.study.jobs import FineTune, Sources, Tuned, Widths, identity
from profilesearch.research.study.workers import results
from profilesearch.system.processes import Workers
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.lessons import Lessons
from profilesearch.tasks.pools import learning_images, tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.training import training
from profilesearch.tasks.turns import Training, in_turns
from profilesearch.tasks.unfinished import Unfinished

_LANES = 12
"""Fine-tunings on a device at a time."""
_PAUSE = 60.0
"""Seconds between two states of a fine-tuning on a device, which waits for the step that is written."""
Cut = tuple[nn.Module, Widths, float]
"""A pruned network, its widths, and its relative MACs."""
Measured = tuple[FineTune, Tuned]
Made = tuple[FineTune, Cut] | BaseException


def run_finetune(sources: Sources, job: FineTune) -> Tuned:
    """Prunes, refits or re-estimates statistics, fine-tunes; the last epoch's accuracy on all test images."""
    full, data, _ = _subject(sources, job.model)
    work = finetuning(sources, job, cut(sources, job, full, data), unfinished(sources, job))
    while True:
        try:
            next(work)
        except StopIteration as end:
            tuned: Tuned = end.value
            return tuned


def unfinished(sources: Sources, job: FineTune) -> Unfinished:
    """Returns what is kept of a fine-tuning until its row is written, which is the matter of who asked for it."""
    pause = _PAUSE if torch.device(sources.device).type == "cuda" else 0.0
    return Unfinished(sources.work / identity(job, sources.precision), pause)


def finetuned(sources: Sources, jobs: Sequence[FineTune], workers: int) -> Iterator[Measured]:
    """Yields (job, result) as fine-tunings end, in any order; for `workers` see `results`."""
    if torch.device(sources.device).type == "cuda":
        return in_turns(_ready(sources, jobs, workers), _LANES)
    return results(run_finetune, sources, jobs, workers)


def finetuning(sources: Sources, job: FineTune, start: Cut, resume: Unfinished | None = None) -> Training[Tuned]:
    """Fine-tunes a pruned network, one step at a time.

    Args:
        sources: Where it runs.
        job: What is measured.
        start: The pruned network, which is changed.
        resume: Where its state is kept after every epoch.
    """
    full, data, learn = _subject(sources, job.model)
    network, widths, cost = start
    network.to(sources.device)
    before = after = accuracy(network, data, data.test, sources.precision)
    if job.epochs:
        recipe = tuning_recipe(data, job.epochs, lr=job.lr, distill=job.distill, seed=job.seed,
                               precision=sources.precision)  # fmt: skip
        teacher, lessons = (full, _lessons(sources, job.model)) if job.distill else (None, None)
        yield from training(network, data, learn, recipe, teacher, resume=resume, lessons=lessons)
        after = accuracy(network, data, data.test, sources.precision)
    return Tuned(before, after, cost, widths)


@cache
def _subject(sources: Sources, model: str) -> tuple[nn.Module, DataSet, Images]:
    """Returns a member where it runs, its data set, and what it may learn from; a CUDA device holds the images."""
    member, device = sources.member(model), torch.device(sources.device)
    data = data_of(sources, member)
    full, learn = member.load().to(device), learning_images(member, data)
    if device.type == "cuda":
        full.to(memory_format=torch.channels_last)
        data, learn = replace(data, test=data.test.to(device)), learn.to(device)
    return full, data, learn


@cache
def _lessons(sources: Sources, model: str) -> Lessons:
    return Lessons(_subject(sources, model)[0])


def _ready(sources: Sources, jobs: Sequence[FineTune], workers: int) -> Iterator[Training[Measured] | None]:
    """Yields fine-tunings as their networks are cut, which workers do meanwhile; None where there is none yet."""
    alike: dict[FineTune, list[FineTune]] = {}
    for job in jobs:
        alike.setdefault(_cutting(job), []).append(job)
    made: SimpleQueue[Made] = SimpleQueue()
    Thread(target=_cut_all, args=(replace(sources, device="cpu"), list(alike), workers, made), daemon=True).start()
    while alike:
        try:
            one = made.get_nowait()
        except Empty:
            yield None
            continue
        if isinstance(one, BaseException):
            raise one
        cutting, start = one
        for job in alike.pop(cutting):
            yield _told(sources, job, start)


def _cutting(job: FineTune) -> FineTune:
    """Returns what a fine-tuning starts from, as one of no epochs."""
    return replace(job, epochs=0, lr=0.0, distill=0.0, seed=job.seed if job.criterion == "random" else 0)


def _cut_all(sources: Sources, jobs: Sequence[FineTune], workers: int, made: "SimpleQueue[Made]") -> None:
    pool = Workers(workers)
    try:
        for index, start in pool.results(_cut, [(sources, job) for job in jobs]):
            made.put((jobs[index], start))
    except BaseException as error:  # for the thread that waits
        made.put(error)
    finally:
        pool.close()


def _cut(sources: Sources, job: FineTune) -> Cut:
    full, data, _ = _subject(sources, job.model)
    return cut(sources, job, full, data)


def _told(sources: Sources, job: FineTune, start: Cut) -> Training[Measured]:
    network, widths, cost = start
    start = copy.deepcopy(network), widths, cost
    tuned = yield from finetuning(sources, job, start, unfinished(sources, job))
    return job, tuned
