"""simulation: benchmarks: features of images, computed three ways on the same patients in one run.

plain           pyradiomics with its defaults: every phase resampled as a whole, the extractor on every (image, region)
hand-cropped    the same, but every (image, region) cropped to the region and 20 voxels around it, without the record
                that pyradiomics keeps of its inputs: what a careful person does
ours            what `fedmvi-site prepare` does

All three resample, subtract and make regions with the same functions, on the same number of processes. The hand-cropped
values are not those of plain pyradiomics: 20 voxels are 4 sigmas of its widest filter.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import radiomics
import SimpleITK as sitk  # noqa: N813
from radiomics.featureextractor import RadiomicsFeatureExtractor

from client.images.case import Scan
from client.imaging.regions import make_regions
from client.imaging.registration import register
from client.imaging.resampling import resample_image, resample_mask, whole_grid
from client.imaging.subtraction import subtract
from client.preparation.working import Comparable, Working
from client.radiomics.cropping import bounding_box, cropped, grown
from client.radiomics.extraction import extract
from common.parallel import as_done
from common.study.preparation import Preparation, Radiomics, phases_of
from common.study.table import FloatArray
from simulation.benchmarks.measuring import Benchmark, Stopwatch, Timed
from simulation.benchmarks.phantom import ENHANCEMENT, phantom

TOLERANCE = 1e-6
"""Largest relative difference of a feature between plain pyradiomics and ours."""

LARGEST = 1e300
"""Stands for a difference that is not a number."""

HAND_MARGIN = 20
"""Voxels that a careful person leaves around a region."""


@dataclass(frozen=True)
class Patient:
    """A patient to be made and measured."""

    size_mm: tuple[float, float, float]
    diameter_mm: float
    seed: int

    @property
    def scan(self) -> Scan:
        """The images."""
        return phantom(self.size_mm, self.diameter_mm, self.seed)


@dataclass(frozen=True)
class Measured:
    """What one way gave for one patient.

    Attributes
    ----------
    values
        Features by column.
    steps
        Seconds by step, in the process that did it.
    processor_s
        Seconds of processor time, which other programs on the machine hardly change.
    peaks_mib
        Largest memory of that process by the end of each step, whichever step needed it.
    """

    values: Mapping[str, float]
    steps: Mapping[str, float]
    processor_s: float
    peaks_mib: Mapping[str, float]

    @property
    def peak_mib(self) -> float:
        """Largest memory of the process."""
        return max(self.peaks_mib.values())


def workload() -> Preparation:
    """Four phases, three subtractions, the tumour and two rings, all filters."""
    return Preparation(
        modality="ct",
        phases=tuple(ENHANCEMENT),
        reference="portal",
        subtractions=("arterial-minus-plain", "portal-minus-plain", "arterial-minus-portal"),
        radiomics=Radiomics(),
    )


def benchmark_preparation(
    patients: int,
    size_mm: tuple[float, float, float],
    diameter_mm: float,
    repeats: int,
    workers: int,
    *,
    registration: bool = False,
) -> Benchmark:
    """Time the three ways in turn, and compare ours with plain pyradiomics.

    Seconds are those of the work in all processes, over their number: making the phantoms and starting the processes
    is the same for all, and not counted.

    Parameters
    ----------
    patients
        How many.
    size_mm, diameter_mm
        Field of view along x, y and z, and the lesion.
    repeats
        How often each way is timed.
    workers
        Processes, the same for all ways.
    registration
        Also time the registration of a patient's phases, which no way can do without, for its share of the whole.
    """
    tasks = [Patient(size_mm, diameter_mm, seed) for seed in range(patients)]
    ways: dict[str, Callable[[Patient], Measured]] = {"ours": ours, "plain": plain, "hand-cropped": hand_cropped}
    done: dict[str, list[Measured]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            done[name] = [each for _, each in sorted(as_done(way, tasks, workers, lost), key=lambda one: one[0])]
            seconds[name].append(sum(sum(each.steps.values()) for each in done[name]) / min(workers, patients))
    apart, by_hand = (
        [differences(a.values, b.values) for a, b in zip(done[name], done["plain"], strict=True)]
        for name in ("ours", "hand-cropped")
    )
    largest = max(float(each.max()) for each in apart)
    timed = {name: _timed(name, seconds[name], done[name], min(workers, patients)) for name in ways}
    facts = {
        **timed["ours"].facts,
        "processor_ratios": {
            name: timed[name].facts["processor_s"] / timed["ours"].facts["processor_s"]
            for name in ways
            if name != "ours"
        },
        "largest_difference": largest,
        "hand_cropped_over_1_percent": float(np.mean([np.mean(each > 0.01) for each in by_hand])),
        "workers": workers,
    }
    if registration:
        ((_, alone),) = as_done(registered, tasks[:1], 1, lost)
        seconds_of = alone.steps["registration"]
        facts |= {
            "registration_s": seconds_of,
            "registration_processor_s": alone.processor_s,
            "registration_peak_mib": alone.peak_mib,
            "registration_share": seconds_of / (seconds_of + sum(done["ours"][0].steps.values())),
        }
    return Benchmark(
        "preparation",
        Timed("ours", timed["ours"].seconds, facts, timed["ours"].steps),
        (timed["plain"], timed["hand-cropped"]),
        largest <= TOLERANCE,
        ("SimpleITK", "numpy", "pyradiomics-cuda", "pywavelets"),
    )


def ours(patient: Patient) -> Measured:
    """As `fedmvi-site prepare` does it."""
    scan, preparation, begun, watch = patient.scan, workload(), time.process_time(), Stopwatch()
    working = Working(Comparable(scan, preparation), _outlined(scan), {}, preparation, _wanted(preparation))
    masks = working.made.masks
    watch.step("regions")
    values: dict[str, float] = {}
    for name in preparation.images:
        image = working.image(name)
        watch.step("resampling")
        values |= extract({name: image}, masks, preparation, patient=scan.patient).values
        watch.step("features")
    return Measured(values, watch.steps, time.process_time() - begun, watch.peaks_mib)


def plain(patient: Patient) -> Measured:
    """Whole volumes and defaults."""
    return _by_extractor(patient, margin=None)


def hand_cropped(patient: Patient) -> Measured:
    """Every region cropped by hand."""
    return _by_extractor(patient, margin=HAND_MARGIN)


def lost(patient: Patient) -> Measured:
    """A process that was ended has nothing to compare."""
    raise MemoryError(f"the process that measured patient {patient.seed} was ended; give it more memory")


def differences(values: Mapping[str, float], others: Mapping[str, float]) -> FloatArray:
    """Relative difference of every feature; very large where only one side has a value.

    Parameters
    ----------
    values, others
        By the same columns.
    """
    a, b = (np.array([each[name] for name in values]) for each in (values, others))
    apart = np.abs(a - b) / np.maximum(np.abs(b), np.finfo(float).tiny)
    apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, apart)
    return np.nan_to_num(apart, nan=LARGEST, posinf=LARGEST)


def _wanted(preparation: Preparation) -> Radiomics:
    return preparation.radiomics or Radiomics()


def _outlined(scan: Scan) -> dict[str, sitk.Image]:
    return {"tumour": scan.masks["tumour", 1, "portal"]}


def _by_extractor(patient: Patient, margin: int | None) -> Measured:
    """pyradiomics' extractor on every (image, region), with the names of this program."""
    radiomics.setVerbosity(60)
    scan, preparation, begun, watch = patient.scan, workload(), time.process_time(), Stopwatch()
    grid = whole_grid(scan.images[preparation.reference].image, preparation.resampling.spacing_mm)
    tumour = resample_mask(_outlined(scan)["tumour"], grid, preparation.resampling.mask)
    masks = make_regions(tumour, None, (), preparation).masks
    watch.step("regions")
    values: dict[str, float] = {}
    comparable = Comparable(scan, preparation)
    phases = {
        phase: resample_image(comparable.normalised(phase), grid, preparation.resampling.image)
        for phase in preparation.phases
    }
    watch.step("resampling")
    for name, image in _images(phases, preparation):
        extractor = _extractor(preparation, name, record=margin is None)
        watch.step("resampling")
        for region, mask in masks.items():
            pair = (image, mask) if margin is None else _crop(image, mask, margin)
            found = extractor.execute(*pair)
            values |= {f"{name}.{region}.{key}": float(value) for key, value in found.items() if _is_column(key)}
        watch.step("features")
    wanted = preparation.feature_names()
    kept = {name: values[name] for name in wanted}
    return Measured(kept, watch.steps, time.process_time() - begun, watch.peaks_mib)


def _images(phases: Mapping[str, sitk.Image], preparation: Preparation) -> Iterator[tuple[str, sitk.Image]]:
    yield from phases.items()
    for name in preparation.subtractions:
        first, second = phases_of(name)
        yield name, subtract(phases[first], phases[second], preparation.kind(name).clip)


def _extractor(preparation: Preparation, image: str, *, record: bool) -> RadiomicsFeatureExtractor:
    wanted = _wanted(preparation)
    extractor = RadiomicsFeatureExtractor(binWidth=preparation.kind(image).bin_width, additionalInfo=record)
    extractor.disableAllImageTypes()
    extractor.enableImageTypeByName("Original")
    extractor.enableImageTypeByName("LoG", customArgs={"sigma": list(wanted.log_sigma_mm)})
    extractor.enableImageTypeByName("Wavelet", customArgs={"wavelet": wanted.wavelet})
    extractor.enableAllFeatures()
    return extractor


def _is_column(key: str) -> bool:
    return not key.startswith("diagnostics")


def _crop(image: sitk.Image, mask: sitk.Image, margin: int) -> tuple[sitk.Image, sitk.Image]:
    box = bounding_box(mask)
    if box is None:
        raise ValueError("a region of the phantom is empty")
    part = grown(image.GetSize(), box, [margin] * 3)
    return cropped(image, part), cropped(mask, part)


def registered(patient: Patient) -> Measured:
    """All phases of a patient registered to the reference, in a process of its own, no liver being outlined.

    A process of `prepare` loads torch once, for all its patients: that is not of this patient's time.
    """
    importlib.import_module("client.imaging.convex_adam")
    scan, preparation, begun, watch = patient.scan, workload(), time.process_time(), Stopwatch()
    fixed = scan.images[preparation.reference]
    for phase in preparation.phases:
        if phase != preparation.reference:
            register(fixed, scan.images[phase], phase, preparation, {})
    watch.step("registration")
    return Measured({}, watch.steps, time.process_time() - begun, watch.peaks_mib)


def _timed(name: str, seconds: Sequence[float], done: Sequence[Measured], processes: int) -> Timed:
    """Seconds of the whole, and of the steps in the last repeat, each over the number of processes."""
    steps = {step: sum(measured.steps[step] for measured in done) / processes for step in done[0].steps}
    median = float(np.median(seconds))
    facts = {
        "patients_per_hour": 3600 * len(done) / median,
        "peak_mib": max(measured.peak_mib for measured in done),
        "peaks_mib": {step: max(measured.peaks_mib[step] for measured in done) for step in done[0].steps},
        "processor_s": sum(measured.processor_s for measured in done),
        "features": len(done[0].values),
    }
    return Timed(name, tuple(seconds), facts, steps)
