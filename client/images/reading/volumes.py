"""client/images/reading: the slices of one DICOM series as volumes: time points, b-values, echoes."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.images.reading.slices import TIMES, Fact, Slice, fact_names, image_problem

SAME_PLACE_MM = 0.05
"""Slices nearer to each other than this lie at one place: positions are often rounded to a tenth of a millimetre, and
no scanner's slices are that close."""

SAME_DIRECTION = 2e-3
"""Largest difference of direction cosines, and relative one of pixel widths, of slices of one volume."""


@dataclass(frozen=True)
class FoundVolume:
    """One volume of a series.

    Attributes
    ----------
    slices
        In the order of z: along the normal, which is the row direction times the column direction.
    header
        Of the first slice, without pixels; of an enhanced file, the frame's (see `multiframe`).
    told_apart
        What tells this volume from the others of its series, by DICOM keyword; empty for the only one. A moment is
        the volume's first.
    """

    slices: tuple[Slice, ...]
    header: Dataset
    told_apart: Mapping[str, Fact]

    @property
    def files(self) -> tuple[Path, ...]:
        """Files in the order of z; one for a multi-frame file."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames in the order of z, from 0; empty for files of one slice."""
        return tuple(one.frame for one in self.slices if one.frame is not None)

    @property
    def b_value(self) -> float | None:
        """Diffusion weighting in s/mm², where the headers have one."""
        found = self.slices[0].facts.get("DiffusionBValue")
        return None if found is None else float(found)

    @property
    def acquired(self) -> str:
        """When its first slice was acquired, as `YYYYMMDDHHMMSS.ffffff`; "" where the headers do not say."""
        if told := next((str(self.told_apart[name]) for name in TIMES if name in self.told_apart), ""):
            return told
        return min((one.acquired for one in self.slices if one.acquired), default="")

    @property
    def trigger_ms(self) -> float | None:
        """Trigger Time in ms, in which some scanners write the time since the start of a dynamic series."""
        found = self.slices[0].facts.get("TriggerTime")
        return None if found is None else float(found)

    @property
    def label(self) -> str:
        """How a message names it."""
        told = ", ".join(f"{name} {value}" for name, value in self.told_apart.items())
        return f"{len(self.slices)} slices" + (f", {told}" if told else "")


def split(slices: Sequence[Slice], patient: str, folder: Path) -> list[tuple[dict[str, Fact], list[Slice]]]:
    """Divide a series into volumes, in which every place along the normal occurs once.

    An attribute, or a pair of them, divides the series where each of its values holds every place at most once and
    there are as many values as slices at the fullest place: a slice that a time point lacks is then seen as missing,
    and a time that is another in every slice divides nothing. Where times run on from slice to slice, the k-th
    slice of each place in time belongs to volume k if all of a volume's times come before those of the next.

    Parameters
    ----------
    slices
        Of one series; see `check_alike`.
    patient, folder
        For messages.

    Returns
    -------
    list
        For every volume what tells it apart, and its slices in the order of z; volumes in the order of that.

    Raises
    ------
    FedmviError
        332 where slices lie at one place and nothing tells them apart.
    """
    places = _places(slices)
    fullest = max(Counter(places).values())
    if fullest == 1:
        return [({}, _in_order(slices))]
    varying = [name for name in fact_names() if len({one.facts.get(name) for one in slices}) > 1]
    for names in (*itertools.combinations(varying, 1), *itertools.combinations(varying, 2)):
        keys = [tuple(one.facts.get(name) for name in names) for one in slices]
        if len(set(keys)) == fullest and len(set(zip(keys, places, strict=True))) == len(slices):
            groups: dict[tuple[Fact | None, ...], list[Slice]] = defaultdict(list)
            for key, one in zip(keys, slices, strict=True):
                groups[key].append(one)
            ordered = sorted(groups, key=lambda key: [(v is not None, isinstance(v, str), v) for v in key])
            return [(_told(names, key), _in_order(groups[key])) for key in ordered]
    for name in ("TriggerTime", *TIMES):
        if name in varying and (ranked := _by_rank(slices, places, name)):
            return ranked
    twice = [one for one, place in zip(slices, places, strict=True) if place == _fullest(places)]
    files = ", ".join(one.label for one in twice[:4])
    what = f"{files} lie at one place, and no b-value, echo, number or time divides the series into volumes"
    raise image_problem(332, patient, folder, what)


def check_alike(slices: Sequence[Slice], patient: str, folder: Path) -> None:
    """See that slices have one size, orientation and pixel width.

    Raises
    ------
    FedmviError
        332 naming a slice that differs; 334 naming one that has no position.
    """
    first = slices[0]
    for one in slices:
        if one.position is None:
            raise image_problem(334, patient, one.path, "the header has no Image Position and Orientation")
        if one.size != first.size:
            what = f"{_size(one)}, but {first.label} has {_size(first)}"
        elif np.abs(np.subtract([*one.row, *one.column], [*first.row, *first.column])).max() > SAME_DIRECTION:
            what = f"lies along {_axes(one)}, but {first.label} along {_axes(first)}"
        elif not np.allclose(one.spacing, first.spacing, rtol=SAME_DIRECTION, atol=0):
            what = f"has pixels of {one.spacing} mm, but {first.label} of {first.spacing} mm"
        else:
            continue
        raise image_problem(332, patient, folder, f"{one.label} {what}")


def normal_of(one: Slice) -> NDArray[np.float64]:
    """The direction across the slice, of unit length."""
    normal = np.cross(one.row, one.column)
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def heights(slices: Iterable[Slice], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions projected on the normal, in mm."""
    return np.array([one.position for one in slices], dtype=np.float64) @ normal


def _in_order(slices: Sequence[Slice]) -> list[Slice]:
    order = np.argsort(heights(slices, normal_of(slices[0])), kind="stable")
    return [slices[i] for i in order]


def _places(slices: Sequence[Slice]) -> list[int]:
    """The place of every slice along the normal, counted from 0."""
    at = heights(slices, normal_of(slices[0]))
    order = np.argsort(at, kind="stable")
    rank = np.concatenate([[0], np.cumsum(np.diff(at[order]) > SAME_PLACE_MM)])
    places = np.empty(len(slices), dtype=int)
    places[order] = rank
    return [int(place) for place in places]


def _fullest(places: Sequence[int]) -> int:
    return Counter(places).most_common(1)[0][0]


def _by_rank(slices: Sequence[Slice], places: Sequence[int], name: str) -> list[tuple[dict[str, Fact], list[Slice]]]:
    """Volumes by the order of a time at each place; empty where that order is not clear."""
    at_place: dict[int, list[Slice]] = defaultdict(list)
    for one, place in zip(slices, places, strict=True):
        if name not in one.facts:
            return []
        at_place[place].append(one)
    if len({len(found) for found in at_place.values()}) > 1:
        return []
    rows = [sorted(found, key=lambda one: one.facts[name]) for found in at_place.values()]
    volumes = [list(column) for column in zip(*rows, strict=True)]
    spans = [[one.facts[name] for one in volume] for volume in volumes]
    if any(max(earlier) >= min(later) for earlier, later in itertools.pairwise(spans)):
        return []
    return [({name: min(span)}, _in_order(volume)) for span, volume in zip(spans, volumes, strict=True)]


def _told(names: tuple[str, ...], key: tuple[Fact | None, ...]) -> dict[str, Fact]:
    return {name: "absent" if value is None else value for name, value in zip(names, key, strict=True)}


def _size(one: Slice) -> str:
    return f"has {one.size[0]} rows and {one.size[1]} columns"


def _axes(one: Slice) -> str:
    return "\\".join(f"{x:.3f}" for x in (*one.row, *one.column))
