"""client/preparation: all patients of a site in several processes; one bad patient never stops the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from client.preparation.chain import prepare_patient
from client.preparation.patient import Job, Outcome
from common.errors import FedmviError
from common.parallel import one_thread_each

Progress = Callable[[int, int, Outcome], None]
"""Told how many patients are done, of how many, and what came of the last one."""


def prepare_patients(
    jobs: Sequence[Job], workers: int | None = None, progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Prepare patients, in their order.

    Parameters
    ----------
    jobs
        The patients.
    workers
        Processes, each with one thread; as many as there are processors where None.
    progress
        Called after every patient.
    """
    done: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        done[outcome.patient] = outcome
        if progress is not None:
            progress(len(done), len(jobs), outcome)

    left = list(jobs)
    broken = _in_pool(left, workers, note)
    # A process that was ended, as the system does when memory runs out, takes those beside it along: they are tried
    # again one at a time, and only the patient whose process ends again has failed.
    for job in broken:
        if _in_pool([job], 1, note):
            note(_ended(job))
    return tuple(done[job.case.patient] for job in jobs)


def _in_pool(jobs: Sequence[Job], workers: int | None, note: Callable[[Outcome], None]) -> list[Job]:
    """Do what can be done in one pool; those that its end left undone."""
    if not jobs:
        return []
    left = {job.case.patient: job for job in jobs}
    with one_thread_each(), ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for outcome in _completed({pool.submit(prepare_patient, job): job for job in jobs}):
            del left[outcome.patient]
            note(outcome)
    return list(left.values())


def _completed(futures: dict[Future[Outcome], Job]) -> Iterator[Outcome]:
    for future in as_completed(futures):
        try:
            yield future.result()
        except BrokenProcessPool:
            return


def _ended(job: Job) -> Outcome:
    error = FedmviError(378, f"{job.case.patient}: the process was ended by the system")
    return Outcome(job.case.patient, problems=(error,), failed=True)
