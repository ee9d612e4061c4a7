"""client/preparation: the ROI stack of one phase: whose tumour outline it follows, and how it is kept.

pixels.npy     (slices, size, size) of float32, before intensities are changed
result.json    slices, positions, rectangle, margin, and the body's percentiles, as `imaging/stacks.py` names them
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.cohort.store import PIXELS
from client.images.case import Scan
from client.imaging.intensity import body_mask, body_percentiles
from client.imaging.lesion import index_lesion
from client.imaging.previews import Preview
from client.imaging.rectangles import rectangle_overlap
from client.imaging.registration import Registered
from client.imaging.resampling import Grid, resample_mask
from client.imaging.stacks import Point, Stack, make_stack
from client.preparation.steps import read_result
from common.errors import FedmviError, Severity
from common.study.preparation import Preparation, Stacks

LITTLE = 0.5
"""Share of their union below which the overlap of both readers' rectangles is told."""
WHOLE, SLICES = "whole.png", "stack.png"


def stack_of(
    scan: Scan,
    phase: str,
    tumour: sitk.Image,
    registered: Registered | None,
    at_mm: Sequence[Point] | None,
    preparation: Preparation,
    settings: Stacks,
    secret: bytes,
    second: sitk.Image | None = None,
) -> tuple[Stack, float | None]:
    """Cut one phase's stack.

    Parameters
    ----------
    scan
        Images and masks.
    phase
        Whose image is cut.
    tumour
        The outline, on the grid of this phase; with `registered`, on that of the reference phase.
    registered
        The way from the reference phase to this one, where the outline has to be moved. Its rigid part moves it: a
        rectangle needs no more, and a rigid motion is exactly undone.
    at_mm
        `Stack.at_mm` of the reference phase; None for the reference phase itself.
    preparation, settings
        The protocol's.
    secret
        The site's, from which the patient's margin is drawn: the same for every phase, study and run.
    second
        The second reader's outline on this phase, where there is one.

    Returns
    -------
    The stack, and how much of their union both readers' rectangles share.
    """
    image = scan.images[phase].image
    if registered is not None:
        tumour = resample_mask(tumour, Grid.of(image), "nearest", registered.rigid.GetInverse())
    # A stack shows one lesion, whichever of them the features are of.
    lesion, _ = index_lesion(tumour, "largest")
    percentiles = body_percentiles(image, body_mask(image, preparation.modality))
    seed = hmac.digest(secret, f"margin|{scan.patient}".encode(), hashlib.sha256)
    stack = make_stack(image, lesion, settings, seed, percentiles, tuple(at_mm) if at_mm is not None else None)
    if second is None:
        return stack, None
    again = make_stack(image, index_lesion(second, "largest")[0], settings, seed, percentiles, stack.at_mm)
    return stack, rectangle_overlap(stack.rectangle, again.rectangle)


def write_stack(folder: Path, stack: Stack, shown: Preview, readers_overlap: float | None) -> dict[str, Any]:
    """Write pixels and pictures; returns what else there is to say."""
    voxels = io.BytesIO()
    np.save(voxels, stack.pixels, allow_pickle=False)
    (folder / PIXELS).write_bytes(voxels.getvalue())
    (folder / WHOLE).write_bytes(shown.whole)
    (folder / SLICES).write_bytes(shown.stack)
    about = {name: value for name, value in asdict(stack).items() if name != "pixels"}
    note, flags = shown.note, shown.flags
    if readers_overlap is not None:
        note += f"; both readers' rectangles share {readers_overlap:.0%}"
        flags += ("The readers' rectangles overlap little.",) if readers_overlap < LITTLE else ()
    return about | {"note": note, "flags": flags, "readers_overlap": readers_overlap}


def read_preview(folder: Path, patient: str, phase: str) -> Preview:
    """The pictures that `write_stack` wrote."""
    about = read_result(folder)
    whole, slices = ((folder / name).read_bytes() for name in (WHOLE, SLICES))
    return Preview(patient, phase, whole, slices, about["note"], tuple(about["flags"]))


def repeats(stack: Stack, phase: str) -> list[FedmviError]:
    """A note where the tumour has fewer slices than the stack."""
    if not stack.repeated:
        return []
    local = f"{phase}: slices {', '.join(str(at) for at in stack.slices)}"
    return [FedmviError(376, local, severity=Severity.NOTE)]


def apart(readers_overlap: float | None, phase: str) -> list[FedmviError]:
    """A warning where the rectangles of both readers share little: the CNN would see another part of the patient."""
    if readers_overlap is None or readers_overlap >= LITTLE:
        return []
    local = f"{phase}: the rectangles of both readers' outlines share {readers_overlap:.0%}"
    return [FedmviError(369, local, severity=Severity.WARNING)]


def stack_row(folder: Path) -> dict[str, Any]:
    """What a table of stacks says of one: slices, rectangle in mm, flags, and the overlap of both readers."""
    about = read_result(folder)
    box = about["rectangle"]
    return {
        "slices": about["slices"],
        "repeated": about["repeated"],
        "clamped": about["clamped"],
        "shows_tumour": about["shows_tumour"],
        "margin_mm": about["margin_mm"],
        **{f"{side}_mm": box[side] for side in ("top", "bottom", "left", "right")},
        "body_percentiles": about["percentiles"],
        "readers_overlap": about["readers_overlap"],
    }
