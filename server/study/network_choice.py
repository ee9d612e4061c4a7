"""server/study: which combination of sequences is chosen, and what the seeds say; all from out-of-fold areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.statistics.roc import RocResult

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Seeds:
    """The areas of one combination, one a seed.

    Attributes
    ----------
    mean_, std_
        Over seeds; the standard deviation is NaN for a single one.
    std_err_
        Mean of DeLong's standard errors: what the patients leave uncertain, without the seeds' part.
    """

    combination: Combination
    mean_: float
    std_: float
    std_err_: float


def over_seeds(combination: Combination, areas: Sequence[RocResult]) -> Seeds:
    """Mean, standard deviation and standard error of the areas of a combination's seeds; at least one is needed."""
    values = np.array([roc.auc_ for roc in areas])
    std = float(values.std(ddof=1)) if values.size > 1 else float("nan")
    return Seeds(combination, float(values.mean()), std, float(np.mean([roc.std_err_ for roc in areas])))


def one_standard_error(found: Sequence[Seeds]) -> Combination | None:
    """The combination of fewest sequences whose mean area is within one standard error of the largest.

    (The rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3, with sequences for leaves.)
    Of equally many sequences the one with the larger area, and of equal areas the first. None where there is none.
    """
    if not found:
        return None
    best = max(found, key=lambda seeds: seeds.mean_)
    least = best.mean_ - (best.std_err_ if np.isfinite(best.std_err_) else 0.0)
    near = [seeds for seeds in found if seeds.mean_ >= least]
    return min(near, key=lambda seeds: (len(seeds.combination), -seeds.mean_)).combination


def lowest_loss(losses: Mapping[Combination, float]) -> Combination | None:
    """The combination with the lowest finite validation loss; None where there is none."""
    finite = {combination: loss for combination, loss in losses.items() if np.isfinite(loss)}
    return min(finite, key=lambda combination: finite[combination]) if finite else None
