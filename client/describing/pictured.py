"""client/describing: which images a site has for a study, and what was prepared of them. No image is opened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.cohort.membership import eligible
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_folder
from client.cohort.units import Flags
from client.describing.numbers import Numbers, numbers
from client.images.finding.finding import find_cases
from common.errors import FedmviError
from common.study.preparation import Preparation
from common.study.protocol import IMAGES, Study
from common.study.table import SiteTable

PAGES = {"registrations.html": "Registered phases, before and after", "stacks.html": "ROI stacks"}
"""Pages of pictures that `fedmvi-site prepare` puts beside the prepared tables."""


@dataclass(frozen=True)
class Phase:
    """An image that the study asks for: how many patients have it, and who does not."""

    name: str
    optional: bool
    patients: int
    without: tuple[str, ...]


@dataclass(frozen=True)
class Outlines:
    """How many patients have outlines of a region by a reader."""

    region: str
    reader: int
    patients: int


@dataclass(frozen=True)
class Pictured:
    """The images of the eligible patients.

    Attributes
    ----------
    patients
        Whose images were looked for.
    phases, outlines
        What was found.
    problems
        Of names and of files that are not there, worst first.
    prepared
        Patients of the prepared store whose images could be prepared; None where it cannot be used, see `unprepared`.
    features
        The numbers of every feature that the study uses, by name.
    pages
        Pages of pictures: what they show, and where they are.
    """

    patients: int
    phases: tuple[Phase, ...]
    outlines: tuple[Outlines, ...]
    problems: tuple[FedmviError, ...]
    prepared: int | None
    unprepared: str
    features: dict[str, Numbers]
    pages: tuple[tuple[str, Path], ...]


def pictured(site: Site, study: Study, preparation: Preparation, patients: tuple[str, ...]) -> Pictured:
    """Look for the images of some patients, and into the prepared store if there is one."""
    cases, problems = find_cases(site, preparation, patients, incomplete=True)
    phases = []
    for name in preparation.phases:
        without = tuple(patient for patient in patients if patient not in cases or name not in cases[patient].images)
        phases.append(Phase(name, name in preparation.optional, len(patients) - len(without), without))
    drawn = Counter(pair for case in cases.values() for pair in {(mask.region, mask.reader) for mask in case.masks})
    outlines = tuple(Outlines(region, reader, count) for (region, reader), count in sorted(drawn.items()))
    prepared, unprepared, features = None, "", {}
    try:
        table = load_prepared(site, study)
        prepared = int(np.count_nonzero(_others(table) & ~table.failed[IMAGES]))
        stays = eligible(table)
        features = {name: numbers(table.columns[name], stays) for name in study.features()}
    except FedmviError as error:
        unprepared = str(error)
    folder = store_folder(site, study)
    pages = tuple((words, folder / name) for name, words in PAGES.items() if (folder / name).is_file())
    return Pictured(len(patients), tuple(phases), outlines, tuple(problems), prepared, unprepared, features, pages)


def _others(table: SiteTable) -> Flags:
    """(n,) True for the patients whom no other rule excludes."""
    rules = [fails for rule, fails in table.failed.items() if rule != IMAGES]
    excluded: Flags = np.logical_or.reduce([np.zeros(table.n, bool), *rules])
    return ~excluded
