"""client/learning: combinations of slices, one of each sequence: s^k of a patient with s slices of k sequences.

Number 0 is that of the first slices; the last sequence's slice changes fastest (`MviNetwork.combine`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.noise import KeyedStream
from common.networks.network import MviNetwork


def drawn_combinations(
    seed: bytes, epoch: int, ids: Sequence[str], slices: int, sequences: int, most: int
) -> NDArray[np.int64] | None:
    """(n, most) numbers of the combinations that each patient is trained on in an epoch; None where all are.

    They are drawn without replacement, from the seed, the epoch and the patient's id alone.
    """
    count: int = slices**sequences
    if count <= most:
        return None
    draws = [KeyedStream(seed, (b"combinations", b"%d" % epoch, patient.encode())).uniform(count) for patient in ids]
    return np.array([np.sort(np.argpartition(draw, most)[:most]) for draw in draws], dtype=np.int64)


def combination_logits(
    net: MviNetwork, vectors: Tensor, present: Tensor, drawn: NDArray[np.int64] | None = None
) -> Tensor:
    """Logits of combinations of slices.

    Parameters
    ----------
    net
        Whose fully connected layer it is.
    vectors
        (n, k, s, d), one of each slice.
    present
        (n, k) bool.
    drawn
        (n, m) numbers of combinations; None: all s^k.

    Returns
    -------
    (n, m, classes)
    """
    if drawn is None:
        return net.combine(vectors, present)
    n, k, s, _ = vectors.shape
    slices = drawn[:, :, None] // s ** np.arange(k)[::-1] % s
    index = torch.from_numpy(slices).to(vectors.device)
    rows = torch.arange(n, device=vectors.device)[:, None, None]
    branches = torch.arange(k, device=vectors.device)[None, None, :]
    return net.classify(vectors[rows, branches, index], present[:, None, :].expand(index.shape))
