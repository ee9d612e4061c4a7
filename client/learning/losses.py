"""client/learning: what is made small: each patient's cross-entropy, as the mean over his combinations of slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from common.federation.learning import LARGEST_LOSS


def patient_losses(logits: Tensor, labels: Tensor, class_weights: Sequence[float]) -> Tensor:
    """(n,) weighted cross-entropy.

    The gradient of a patient's loss is the mean of the gradients that the m samples of him would give at the same
    weights. A batch's loss is the sum over its patients divided by their number, not by the sum of their weights: so
    batches, and sites, add up to the whole.

    Parameters
    ----------
    logits
        (n, m, classes)
    labels
        (n,) class of each patient.
    class_weights
        One a class.
    """
    n, m, classes = logits.shape
    each = functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(m), reduction="none")
    weights = torch.tensor(class_weights, dtype=each.dtype, device=each.device)
    if weights.shape != (classes,):
        raise ValueError(f"{weights.numel()} weights for {classes} classes")
    return each.view(n, m).mean(dim=1) * weights[labels]


def told(losses: Tensor) -> Tensor:
    """(n,) losses in double precision, as sums of them leave: at most `LARGEST_LOSS`, also that of no number."""
    return losses.detach().double().nan_to_num(LARGEST_LOSS).clamp(max=LARGEST_LOSS)
