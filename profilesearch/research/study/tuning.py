"""How fine-tunings are measured: in worker processes on the processor, or in turns on a CUDA device."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Thread

import torch
from torch import nn

from profilesearch.networks.names import DRAWN
from profilesearch.research.study.cutting import cut, data_of
from profilesearch.research.study.jobs import FineTune, Sources, Tuned, Widths, identity
from profilesearch.research.study.workers import results
from profilesearch.system.processes import Workers
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import layout
from profilesearch.tasks.lessons import Lessons
from profilesearch.tasks.pools import example_shape, learning_images, tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.training import training
from profilesearch.tasks.turns import Training, in_turns
from profilesearch.tasks.unfinished import Unfinished

_LANES = 12
"""Fine-tunings on a device at a time."""
_MEMBERS = 4
"""That are kept in memory."""
_PAUSE = 60.0
"""Seconds between two states of a fine-tuning on a device, which waits for the step that is written."""
Cut = tuple[nn.Module, Widths, float]
"""A pruned network, its widths, and its relative MACs."""
Measured = tuple[FineTune, Tuned]
Made = tuple[FineTune, bytes] | BaseException


def run_finetune(sources: Sources, job: FineTune) -> Tuned:
    """Prunes, refits or re-estimates statistics, fine-tunes; the last epoch's accuracy on all test images."""
    work = finetuning(sources, job, cut(sources, job, *_subject(sources, job.model)), unfinished(sources, job))
    return next(in_turns(iter([work]), 1))


def unfinished(sources: Sources, job: FineTune) -> Unfinished:
    """Returns what is kept of a fine-tuning until its row is written, which is the matter of who asked for it."""
    pause = _PAUSE if torch.device(sources.device).type == "cuda" else 0.0
    return Unfinished(sources.work / identity(job, sources.precision), pause)


def finetuned(
    sources: Sources, jobs: Sequence[FineTune], workers: int, say: Callable[[str], None] | None = None
) -> Iterator[Measured]:
    """Yields (job, result) as fine-tunings end, in any order.

    Args:
        sources: Where they run.
        jobs: What is measured.
        workers: Processes that fine-tune, see `results`; or that cut networks, where a CUDA device fine-tunes.
        say: Called with a line for people where the device has too little memory, or cannot record a step.
    """
    if torch.device(sources.device).type == "cuda":
        return in_turns(ready(sources, jobs, workers, say), _LANES)
    return results(run_finetune, sources, jobs, workers)


def finetuning(
    sources: Sources,
    job: FineTune,
    start: Cut,
    resume: Unfinished | None = None,
    say: Callable[[str], None] | None = None,
) -> Training[Tuned]:
    """Fine-tunes a pruned network, one step at a time.

    Args:
        sources: Where it runs.
        job: What is measured.
        start: The pruned network, which is changed.
        resume: Where its state is kept.
        say: See `finetuned`.
    """
    full, data = _subject(sources, job.model)
    network, widths, cost = start
    network.to(sources.device)
    before = after = accuracy(network, data, data.test, sources.precision)
    if job.epochs:
        recipe = tuning_recipe(data, job.epochs, lr=job.lr, distill=job.distill, seed=job.seed,
                               precision=sources.precision)  # fmt: skip
        teacher, lessons = (full, _lessons(sources, job.model)) if job.distill else (None, None)
        learn = _learned(sources, job.model)
        yield from training(network, data, learn, recipe, teacher, resume=resume, say=say, lessons=lessons)
        after = accuracy(network, data, data.test, sources.precision)
    return Tuned(before, after, cost, widths)


@lru_cache(maxsize=_MEMBERS)
def _subject(sources: Sources, model: str) -> tuple[nn.Module, DataSet]:
    """Returns a member where it runs, and its data set, whose test images a CUDA device holds."""
    member, device = sources.member(model), torch.device(sources.device)
    data, full = data_of(sources, member), member.load()
    if device.type == "cuda":
        full.to(device).to(memory_format=layout(full, example_shape(full, data)))
        data = replace(data, test=data.test.to(device))
    return full, data


@lru_cache(maxsize=_MEMBERS)
def _learned(sources: Sources, model: str) -> Images:
    """Returns what a member may learn from, where it runs."""
    return learning_images(sources.member(model), _subject(sources, model)[1]).to(torch.device(sources.device))


@lru_cache(maxsize=_MEMBERS)
def _lessons(sources: Sources, model: str) -> Lessons:
    return Lessons(_subject(sources, model)[0])


def ready(
    sources: Sources, jobs: Sequence[FineTune], workers: int, say: Callable[[str], None] | None = None
) -> Iterator[Training[Measured] | None]:
    """Yields fine-tunings as workers have cut their networks; None where there is none yet."""
    alike: dict[FineTune, list[FineTune]] = {}
    for job in jobs:
        alike.setdefault(_cutting(job), []).append(job)
    pool, made = Workers(workers), SimpleQueue[Made]()
    Thread(target=_cut_all, args=(pool, replace(sources, device="cpu"), list(alike), made), daemon=True).start()
    try:
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
                yield _told(sources, job, start, say)
    finally:
        pool.close()


def _cutting(job: FineTune) -> FineTune:
    """Returns what a fine-tuning starts from, as one of no epochs."""
    return replace(job, epochs=0, lr=0.0, distill=0.0, seed=job.seed if job.criterion in DRAWN else 0)


def _cut_all(pool: Workers, sources: Sources, jobs: Sequence[FineTune], made: "SimpleQueue[Made]") -> None:
    try:
        for index, start in pool.results(_cut, [(sources, job) for job in jobs]):
            made.put((jobs[index], start))
    except BaseException as error:  # for the thread that waits
        made.put(error)


def _cut(sources: Sources, job: FineTune) -> bytes:
    """Cuts a network in a worker; as bytes, since each tensor by itself would hold a file open."""
    return pickle.dumps(cut(sources, job, *_subject(sources, job.model)))


def _told(sources: Sources, job: FineTune, start: bytes, say: Callable[[str], None] | None) -> Training[Measured]:
    made: Cut = pickle.loads(start)  # noqa: S301  from a worker of this process
    tuned = yield from finetuning(sources, job, made, unfinished(sources, job), say)
    return job, tuned
