"""simulation/imaging: one patient's examination, from the findings to what the scanner writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from simulation.cohorts.consortium import Imaging, Scanner
from simulation.imaging.anatomy import FIELD, Anatomy, Build, ParametricLiver, Shape
from simulation.imaging.findings import Findings
from simulation.imaging.lesion import Drawn, Lesion, Point, Signal
from simulation.imaging.liver_shape import load_liver
from simulation.imaging.motion import LATTICE, displacement, draw_motion
from simulation.imaging.noise import Axes, Floats, SmoothNoise
from simulation.imaging.readers import largest_part, outline
from simulation.imaging.scanner import coil_of, ct, grid_of, moved, mr
from simulation.imaging.tissues import MATERIALS, Circulation, Tissue
from simulation.imaging.volume import Examination, Grid, Volume

_SIGNALS = {
    "t1": Signal("t1", 0.9, 0.008), "t1a": Signal("t1", 0.9, 0.008), "t1v": Signal("t1", 0.9, 0.008),
    "t1d": Signal("t1", 0.9, 0.008), "t2": Signal("t2", 2.2), "dwi": Signal("dwi", 2.6),
}  # fmt: skip
_BEFORE_S = -90.0
_LATE_S = {"t2": 420.0, "dwi": 560.0}
_PARENCHYMA_HU = (2.5, 6.0)  # amplitude of the liver's own texture, without and with cirrhosis
_MOTION_REACH_MM = 30.0
_EPI_SHIFT_MM = 2.5  # DWI is displaced along the phase-encoding direction


@dataclass(frozen=True)
class Subject:
    """One patient in the scanner: everything random about the body, before any picture is taken."""

    findings: Findings
    build: Build
    liver: Shape
    anatomy: Anatomy
    lesion: Lesion
    parenchyma: SmoothNoise
    circulation: Circulation

    def liver_distance(self, axes: Axes) -> Floats:
        """Signed distance in mm to the liver's surface, which gives way around the tumour."""
        liver = self.liver.distance(axes)
        box = self.lesion.box(axes)
        liver[box] = np.minimum(liver[box], self.lesion.distance(_part(axes, box)) - 2)
        return liver

    def drawn(self, axes: Axes, labels: NDArray[np.uint8]) -> Drawn:
        """The tumour's fields in its box of a grid with these tissues."""
        box = self.lesion.box(axes)
        return self.lesion.on(_part(axes, box), labels[box])

    def picture(self, axes: Axes, labels: NDArray[np.uint8], drawn: Drawn, phase: str, at_s: float) -> Floats:
        """The phase without motion, blur and noise: HU, or MR signal with the liver near 100."""
        signal = _SIGNALS.get(phase, Signal("hu"))
        table = np.zeros(len(Tissue), dtype=np.float32)
        for tissue, material in MATERIALS.items():
            table[tissue] = signal.of(material, self.circulation.enhancement(material, at_s))
        picture: Floats = table[labels]
        # T2 and DWI show a tumour's texture more than the liver's own.
        amplitude = _PARENCHYMA_HU[self.findings.cirrhosis] * min(signal.texture, 1.0)
        texture = self.parenchyma.at(axes)
        texture *= labels == Tissue.LIVER
        picture += texture * np.float32(amplitude)
        drawn.draw_on(picture[self.lesion.box(axes)], phase, self.circulation, at_s, signal)
        return picture


def subject_of(findings: Findings, imaging: Imaging, reach: Grid, stream: np.random.SeedSequence) -> Subject:
    """Draw a body and place the tumour where the grid will show it.

    Raises
    ------
    FedmviError
        810 where the consortium names a liver mask that cannot be used.
    """
    body, tumour, blood = (np.random.default_rng(s) for s in stream.spawn(3))
    build = Build.draw(body, female=findings.female, cirrhosis=findings.cirrhosis, ascites=findings.ascites)
    liver: Shape = ParametricLiver(build, body)
    if imaging.liver_mask:
        liver = load_liver(Path(imaging.liver_mask), imaging.liver_label, build.scale)
    return Subject(
        findings=findings,
        build=build,
        liver=liver,
        anatomy=Anatomy.draw(build, body, couch=imaging.modality == "ct"),
        lesion=Lesion.draw(findings, build, _place(liver, findings.size_cm, reach, tumour), tumour),
        parenchyma=SmoothNoise.draw(body, FIELD, 7.5 if findings.cirrhosis else 5.5),
        circulation=Circulation(float(blood.lognormal(0, 0.18)), float(np.clip(blood.normal(0, 2.5), -6, 8))),
    )


def _place(liver: Shape, size_cm: float, reach: Grid, rng: np.random.Generator) -> Point:
    """A random point so deep in the liver that most of the tumour lies inside, and inside what is imaged."""
    radius = 5 * size_cm
    axes: list[Floats] = []
    for low, size, step in zip(reach.origin, reach.shape, reach.spacing, strict=True):
        length = (size - 1) * step
        margin = min(radius + 12, 0.45 * length)
        axes.append(np.arange(low + margin, low + length - margin + 0.1, 5.0, dtype=np.float32))
    distance = liver.distance((axes[0], axes[1], axes[2]))
    deepest = float(distance.min())
    if deepest > -4:
        raise FedmviError(811)
    places = np.argwhere(distance <= max(-0.75 * radius - 2, 0.8 * deepest))
    chosen = places[rng.integers(len(places))]
    z, y, x = (float(axis[i]) for axis, i in zip(axes, chosen, strict=True))
    return z, y, x


def examine(
    findings: Findings,
    imaging: Imaging,
    scanner: Scanner,
    stream: np.random.SeedSequence,
    around_mm: float | None = None,
) -> Examination:
    """Take all pictures of one patient, with the readers' masks and the true motion.

    Parameters
    ----------
    findings
        What the pictures must show.
    imaging, scanner
        What is acquired, and how.
    stream
        The patient's own randomness: the same stream gives the same voxels, whoever else is examined.
    around_mm
        Where given, only what lies so near to the tumour's surface is pictured, which is much faster: the same
        patient on the same voxels, with other noise.

    Raises
    ------
    FedmviError
        810 for an unusable liver mask, 811 where the slices do not reach the liver.
    """
    about, body, hand, *rest = stream.spawn(3 + len(imaging.acquired))
    rng = np.random.default_rng(about)
    whole = grid_of(imaging, scanner, imaging.reference, rng)
    subject = subject_of(findings, imaging, whole, body)
    started = _start_times(imaging, scanner, rng)
    coil = coil_of(rng)
    grid, source = _views(whole, subject, around_mm)
    axes = source.axes()
    liver = subject.liver_distance(axes)
    labels = subject.anatomy.labels(axes, liver)
    drawn = subject.drawn(axes, labels)
    phases: dict[str, Volume] = {}
    motion: dict[str, Floats] = {}
    for phase, seed in zip(imaging.acquired, rest, strict=True):
        own = np.random.default_rng(seed)
        picture = subject.picture(axes, labels, drawn, phase, started[phase])
        target = grid
        if phase == "dwi":
            target, _ = _views(grid_of(imaging, scanner, phase, own), subject, around_mm)
        if phase != imaging.reference:
            motion[phase] = draw_motion(own, subject.build, imaging.motion_mm)
            if phase == "dwi":
                motion[phase][1] += np.float32(_EPI_SHIFT_MM)
        if phase in motion or target != source:
            by = displacement(motion[phase], target.axes()) if phase in motion else None
            picture = moved(picture, source, target, by)
        if imaging.modality == "ct":
            phases[phase] = Volume(ct(picture, target, scanner, own), target)
        else:
            phases[phase] = Volume(mr(picture, target, scanner, coil, own), target)
    masks = {}
    for number, seed in enumerate(hand.spawn(imaging.readers)):
        key = "tumour" if number == 0 else "tumour.reader2"
        reader = np.random.default_rng(seed)
        masks[key] = outline(subject.lesion, grid, imaging.reader_disagreement_mm, reader)
    masks["liver"] = _liver_mask(liver if source == grid else subject.liver_distance(grid.axes()), masks["tumour"])
    return Examination(findings.patient, imaging.modality, phases, imaging.reference, masks, motion, LATTICE, started)


def _views(whole: Grid, subject: Subject, around_mm: float | None) -> tuple[Grid, Grid]:
    """The grid to be pictured, and the larger one from which motion may bring tissue into it."""
    if around_mm is None:
        return whole, whole
    surface = subject.lesion.surface
    reach = 1.3 * surface.radius + around_mm
    return whole.around(surface.centre, reach), whole.around(surface.centre, reach + _MOTION_REACH_MM)


def _liver_mask(liver: Floats, tumour: Volume) -> Volume:
    """The liver with its vessels and the tumour, as it is outlined: one connected part."""
    inside = largest_part((liver < 0) | (tumour.voxels > 0))
    return Volume(inside.astype(np.uint8), tumour.grid)


def _start_times(imaging: Imaging, scanner: Scanner, rng: np.random.Generator) -> dict[str, float]:
    """Seconds from the injection to every phase, in the order of acquisition."""
    means = {"arterial": scanner.arterial_s, "portal": scanner.portal_s, "delayed": scanner.delayed_s}
    means |= {"t1a": scanner.arterial_s, "t1v": scanner.portal_s, "t1d": scanner.delayed_s}
    times = {}
    for phase in imaging.acquired:
        # No protocol starts the enhanced phases before the contrast medium has arrived.
        late = max(means[phase] + scanner.timing_s * float(rng.standard_normal()), 15.0) if phase in means else 0.0
        times[phase] = late or _LATE_S.get(phase, _BEFORE_S)
    return times


def _part(axes: Axes, box: tuple[slice, slice, slice]) -> Axes:
    return axes[0][box[0]], axes[1][box[1]], axes[2][box[2]]
