"""client/images/checking: the images of all patients of a site: read, looked at, and compared, whatever is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from client.cohort.problems import worst_first
from client.cohort.site import Site
from client.images.case import Case, MaskKey
from client.images.checking.checks import problems_of
from client.images.checking.duplicates import Print, duplicates, prints_of
from client.images.checking.overlays import Panel, panels_of
from client.images.checking.privacy import privacy_problems
from client.images.finding.finding import find_cases
from client.images.loading import read_case
from common.errors import FedmviError, Severity
from common.errors.unforeseen import failed_on
from common.parallel import as_done
from common.study.preparation import Preparation

Progress = Callable[[int, int], None]
"""Told how many patients are done, of how many."""


@dataclass(frozen=True)
class Row:
    """One patient on the contact sheet.

    Attributes
    ----------
    patient
        Id.
    problems
        Worst first.
    panels
        Pictures; none where no image could be read, or none were asked for.
    masks
        Which masks there are.
    """

    patient: str
    problems: tuple[FedmviError, ...]
    panels: tuple[Panel, ...]
    masks: tuple[MaskKey, ...]


@dataclass(frozen=True)
class _Task:
    case: Case
    preparation: Preparation
    pictures: bool


@dataclass(frozen=True)
class _Seen:
    """What remains of a patient whose images were looked at and let go."""

    problems: tuple[FedmviError, ...]
    prints: tuple[Print, ...] = ()
    panels: tuple[Panel, ...] = ()
    masks: tuple[MaskKey, ...] = ()


def inspect_images(
    site: Site,
    preparation: Preparation,
    patients: Sequence[str],
    *,
    excluded: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress | None = None,
    pictures: bool = False,
) -> tuple[list[FedmviError], list[Row]]:
    """Look at all images of a site, a patient in each process; nothing is raised.

    Of a patient who lacks a phase or a mask, what there is is looked at.

    Parameters
    ----------
    site
        Whose images.
    preparation
        What the study needs of them.
    patients
        Ids of those whom the study takes.
    excluded
        Ids of others in the table, whose images are not looked at.
    workers
        Processes, each with one thread; as many as there are processors where None.
    progress
        Called after every patient.
    pictures
        Whether rows have pictures.

    Returns
    -------
    problems
        330 to 369, 378 and 383, worst first.
    rows
        One a patient, worst first, then in the table's order.
    """
    cases, problems = find_cases(site, preparation, patients, incomplete=True)
    problems = [p for p in problems if not (p.number == 354 and patient_of(p) in excluded)]
    tasks = [_Task(case, preparation, pictures) for case in cases.values()]
    seen: dict[str, _Seen] = {}
    for number, result in as_done(_look, tasks, workers, _lost):
        seen[tasks[number].case.patient] = result
        if progress is not None:
            progress(len(seen), len(tasks))
    # In the table's order, whichever process was first.
    in_order = [seen[patient] for patient in cases]
    problems += [problem for one in in_order for problem in one.problems]
    problems += duplicates(one for each in in_order for one in each.prints)
    problems = worst_first(problems)
    return problems, _rows(patients, problems, seen)


def patient_of(problem: FedmviError) -> str:
    """Whom a problem of images is about: its local text begins with the patient and a colon."""
    return problem.local.partition(":")[0]


def _rows(patients: Sequence[str], problems: Sequence[FedmviError], seen: dict[str, _Seen]) -> list[Row]:
    of_patient: dict[str, list[FedmviError]] = {patient: [] for patient in patients}
    for problem in problems:
        of_patient.setdefault(patient_of(problem), []).append(problem)
    nothing = _Seen(())
    rows = [
        Row(patient, tuple(of_patient[patient]), one.panels, one.masks)
        for patient in patients
        for one in [seen.get(patient, nothing)]
    ]
    return sorted(rows, key=_badness)


def _badness(row: Row) -> tuple[int, ...]:
    """Most errors first, then most warnings, then most notes."""
    return tuple(-sum(p.severity is severity for p in row.problems) for severity in sorted(Severity, reverse=True))


def _look(task: _Task) -> _Seen:
    """Read and look at one patient (in a process of its own)."""
    problems: list[FedmviError] = []
    try:
        scan, unreadable = read_case(task.case)
        problems += unreadable
        problems += problems_of(scan, task.preparation, task.case)
        problems += privacy_problems(task.case)
        panels = panels_of(scan, task.preparation) if task.pictures else ()
        return _Seen(tuple(problems), tuple(prints_of(scan, task.case)), panels, tuple(scan.masks))
    except MemoryError:
        return _lost(task)
    except Exception as error:  # noqa: BLE001 - a fault of the program that one patient meets must not stop the others
        return _Seen((*problems, failed_on(task.case.patient, error)))


def _lost(task: _Task) -> _Seen:
    return _Seen((FedmviError(378, f"{task.case.patient}: the process was ended by the system"),))
