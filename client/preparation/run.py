"""client/preparation: all patients of a site in several processes; one bad patient never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from client.preparation.chain import prepare_patient
from client.preparation.patient import Job, Outcome
from common.errors import FedmviError
from common.parallel import as_done

Progress = Callable[[int, int, Outcome | None], None]
"""Told how many patients are done, of how many, and what came of the last one; of none at the start."""


def prepare_patients(
    jobs: Sequence[Job], workers: int | None = None, progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Prepare patients; what came of them is in their order.

    Parameters
    ----------
    jobs
        The patients.
    workers
        Processes, each with one thread; as many as there are processors where None.
    progress
        Called after every patient.
    """
    done: dict[int, Outcome] = {}
    if progress is not None:
        progress(0, len(jobs), None)
    for number, outcome in as_done(prepare_patient, jobs, workers, _ended):
        done[number] = outcome
        if progress is not None:
            progress(len(done), len(jobs), outcome)
    return tuple(done[number] for number in range(len(jobs)))


def _ended(job: Job) -> Outcome:
    error = FedmviError(378, f"{job.case.patient}: the process was ended by the system, or by a library")
    return Outcome(job.case.patient, problems=(error,), failed=True)
