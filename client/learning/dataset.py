"""client/learning: the patients that a network learns from or scores: their ROI stacks, as the prepared store has them.

Rows are patients, never samples: whoever splits a table of learners splits patients.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.store import PIXELS, STACKS, stored_files
from client.preparation.steps import RESULT
from common.errors import FedmviError
from common.study.features import LANDMARKS
from common.study.fingerprint import digest
from common.study.networks import Network, in_order

UNKNOWN = -1
"""The label of a patient whose grade is not known, or not to be known."""
_ARRAYS = ("images", "present", "labels", "folds", "body")


@dataclass(frozen=True, eq=False)
class Learners:
    """Patients with their stacks; n patients, k sequences, s slices.

    Attributes
    ----------
    ids
        n, each once.
    images
        (n, k, s, h, w) of float32 as acquired, before normalisation; 0 where a patient lacks the sequence.
    present
        (n, k) False where he does.
    labels
        (n,) class from 0, or `UNKNOWN`.
    folds
        (n,) outer fold.
    body
        (n, k, 11) the body's intensities at the percentiles `LANDMARKS` of each image.
    sequences
        k, in canonical order.
    """

    ids: tuple[str, ...]
    images: NDArray[np.float32]
    present: NDArray[np.bool_]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    body: NDArray[np.float32]
    sequences: tuple[str, ...]

    def __post_init__(self) -> None:
        n, k = len(self.ids), len(self.sequences)
        shapes = (self.images.shape[:2], self.present.shape, self.labels.shape, self.folds.shape, self.body.shape)
        if shapes != ((n, k), (n, k), (n,), (n,), (n, k, len(LANDMARKS))):
            raise ValueError(f"{n} patients with {k} sequences, and arrays of {shapes}")
        if len(set(self.ids)) != n:
            raise ValueError("a patient is there twice, and could stand on both sides of a split")

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.ids)

    @property
    def slices(self) -> int:
        """Slices of each sequence."""
        return int(self.images.shape[2])

    def keep(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Learners:
        """The patients at these rows (a mask, or indices)."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        ids = tuple(self.ids[i] for i in index)
        return replace(self, ids=ids, **{name: getattr(self, name)[index] for name in _ARRAYS})

    def joined(self, *others: Learners) -> Learners:
        """These patients, then others', of the same sequences; ids must differ."""
        return reduce(_join, others, self)


def _join(first: Learners, second: Learners) -> Learners:
    if first.sequences != second.sequences:
        raise ValueError(f"{first.sequences} and {second.sequences} cannot be joined")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in (first, second)]) for name in _ARRAYS}
    return replace(first, ids=first.ids + second.ids, **arrays)


def load_learners(
    store: Path,
    ids: Sequence[str],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    combination: tuple[str, ...],
    network: Network,
) -> Learners:
    """Read the stacks of patients for one combination of sequences.

    Only files that are what they were when the store was written are used. Slices are resized to the network's `size`
    by averaging over the pixels that a new one covers (bilinear interpolation with antialiasing, as Pillow's).

    Parameters
    ----------
    store
        The prepared store (`cohort.store.store_folder`).
    ids, labels, folds
        (n,) the patients who may take part.
    combination
        Sequences in canonical order.
    network
        The protocol's. Who takes part is the same for all its combinations, so that they are compared on the same
        patients, and no two sums differ by the few who lack a sequence. `missing = "exclude"` leaves a patient out who
        lacks any sequence that a combination uses, `mask` one who lacks all of them.

    Returns
    -------
    Those who have what the network needs, in the order of `ids`; how many were left out is n less their number. With
    `mask` a patient may have no sequence of this combination.

    Raises
    ------
    FedmviError
        212 the store is damaged; 390 nobody has the stacks that are needed.
    """
    files = stored_files(store)
    used = in_order(tuple(s for c in network.combinations for s in c))
    known = _there(files, ids, used)
    usable = np.asarray(known.all(axis=1) if network.missing == "exclude" else known.any(axis=1))
    there = _there(files, ids, combination) & usable[:, None]
    rows = [int(row) for row in np.flatnonzero(usable)]
    if not there.any():
        raise FedmviError(390, f"{len(ids)} patients, and none with {', '.join(used)} in {store / STACKS}")
    body = np.zeros((len(rows), len(combination), len(LANDMARKS)), dtype=np.float32)
    found, named = (int(index) for index in np.argwhere(there)[0])
    first, _ = _read_stack(store, files, ids[found], combination[named])
    images = np.zeros((*body.shape[:2], len(first), network.size, network.size), dtype=np.float32)
    for at, row in enumerate(rows):
        for branch in np.flatnonzero(there[row]):
            pixels, landmarks = _read_stack(store, files, ids[row], combination[branch])
            if len(pixels) != len(first):
                raise FedmviError(212, f"{ids[row]}, {combination[branch]}: {len(pixels)} slices, not {len(first)}")
            images[at, branch], body[at, branch] = resized(pixels, network.size), landmarks
    kept = tuple(ids[row] for row in rows)
    return Learners(kept, images, there[rows], labels[rows], folds[rows], body, combination)


def _there(files: Mapping[str, str], ids: Sequence[str], sequences: tuple[str, ...]) -> NDArray[np.bool_]:
    """(n, k) which patients have which sequences."""
    found = [[_name(patient, sequence, PIXELS) in files for sequence in sequences] for patient in ids]
    return np.array(found, dtype=bool).reshape(len(ids), len(sequences))


def _name(patient: str, sequence: str, file: str) -> str:
    return f"{STACKS}/{patient}/{sequence}/{file}"


def _read_stack(
    store: Path, files: Mapping[str, str], patient: str, sequence: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(s, h, w) and (landmarks,) of one patient's sequence."""
    name = _name(patient, sequence, PIXELS)
    about: Any = json.loads(_read_file(store, files, _name(patient, sequence, RESULT)))
    try:
        pixels = np.load(io.BytesIO(_read_file(store, files, name)), allow_pickle=False)
        landmarks = np.array(about["percentiles"], dtype=np.float32)
    except (ValueError, KeyError, TypeError) as error:
        raise FedmviError(212, f"{store / name}: {error}") from error
    if pixels.ndim != 3 or pixels.dtype != np.float32 or landmarks.shape != (len(LANDMARKS),):
        raise FedmviError(212, f"{store / name}: {pixels.dtype}{pixels.shape}, {landmarks.size} percentiles")
    if not (np.isfinite(pixels).all() and np.isfinite(landmarks).all()):
        raise FedmviError(212, f"{store / name}: a value is not finite")
    return pixels, landmarks


def _read_file(store: Path, files: Mapping[str, str], name: str) -> bytes:
    try:
        content = (store / name).read_bytes()
    except OSError as error:
        raise FedmviError(212, f"{store / name}: {error}") from error
    if files.get(name) != digest(content):
        raise FedmviError(212, f"{store / name} is not what it was when the store was written")
    return content


def resized(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(s, size, size) slices by averaging over the pixels that a new one covers."""
    if pixels.shape[1:] == (size, size):
        return pixels
    import torch
    from torch.nn import functional

    slices = torch.from_numpy(pixels)[:, None]
    smaller = functional.interpolate(slices, (size, size), mode="bilinear", align_corners=False, antialias=True)
    resized: NDArray[np.float32] = smaller[:, 0].numpy()
    return resized
