"""common/statistics: reduction of many features to few, step after step, before a penalised regression.

The order is that of published radiomics pipelines with one change for the federation: marginal sums first, so that no
matrix of more than a third of as many columns as patients is ever asked. Near-zero variance, agreement of
readers, univariable regressions within the false discovery rate, correlation, mRMR.

What is selected on all patients must be evaluated on others: on a cohort that was set aside, or in a cross-validation
that repeats every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from common.federation.runner import Conclusion
from common.statistics.correlation import MAX_COLUMNS, correlation
from common.statistics.icc import FEWEST_LESIONS, MIN_LESIONS, Agreement, agreement
from common.statistics.mrmr import Criterion, relevance
from common.statistics.multiplicity import benjamini_hochberg
from common.statistics.univariable import univariable
from common.statistics.variance import variance_filter
from common.study.features import second_reading
from common.study.recipe import Outside, Recipe, Resample
from common.study.scoring import read_twice
from common.study.table import FloatArray


@dataclass(frozen=True)
class Thresholds:
    """Of each step; the defaults are those of the published CT study of MVI.

    Attributes
    ----------
    icc
        Least intraclass correlation between readers.
    fdr, share
        False discovery rate of the univariable regressions, and most columns that go on, as a share of the patients.
    correlation
        Largest |r| of two columns that both go on; the one with the smaller p stays.
    count, criterion, within_site
        Features that mRMR leaves, how it weighs them, and whether their correlations are those within sites.
    """

    icc: float = 0.75
    fdr: float = 0.05
    share: float = MAX_COLUMNS
    correlation: float = 0.9
    count: int = 30
    criterion: Criterion = Criterion.FCQ
    within_site: bool = True


@dataclass(frozen=True)
class Reduction:
    """Which features each step left.

    Attributes
    ----------
    left_
        (step, features left after it), in order; those of the last are in the order of their selection.
    agreement_
        How well readers agree on the features that were left before; None where there is one reader.
    p_
        p values of the features that were reliable, in their declared order; NaN where there is none.
    """

    left_: tuple[tuple[str, tuple[str, ...]], ...]
    p_: FloatArray
    agreement_: Agreement | None = None

    @property
    def selected_(self) -> tuple[str, ...]:
        """What the last step left."""
        return self.left_[-1][1]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a step: `step`, `left`."""
        return [{"step": step, "left": len(features)} for step, features in self.left_]


def reduce_features(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    readers: tuple[tuple[str, ...], ...] | Literal[True] = (),
    thresholds: Thresholds | None = None,
    done: Callable[[str], object] = str,
    narrowest: tuple[float, ...] = (),
) -> Conclusion[Reduction]:
    """Reduce columns for a binary endpoint; about 17 rounds. The recipe must leave complete cases.

    Parameters
    ----------
    readers
        The same features as other readers gave them, a tuple of columns for each; none: the step is left out. `True`:
        those of the second reader of a model's images, see `readers_agree`.
    done
        Called with the name of each step when it is finished.
    narrowest
        The least standard deviation of each column, see `variance_filter`.

    Raises
    ------
    FedmviError
        As the steps do. Where a step leaves nothing it is the last.
    """
    limits = thresholds or Thresholds()
    left: list[tuple[str, tuple[str, ...]]] = []

    def leave(step: str, features: tuple[str, ...]) -> tuple[str, ...]:
        left.append((step, features))
        done(step)
        return features

    kept = leave("near-zero variance", (yield from variance_filter(cohort, recipe, columns, narrowest=narrowest)).kept_)
    agree = None
    if readers and kept:
        if readers is True:
            agree = yield from readers_agree(cohort, recipe, kept)
        else:
            place = {name: i for i, name in enumerate(columns)}
            again = tuple(tuple(reader[place[name]] for name in kept) for reader in readers)
            agree = yield from agreement(cohort, recipe, (kept, *again))
        kept = leave("agreement of readers", agree.reproducible(limits.icc))
    if not kept:
        return Reduction(tuple(left), np.empty(0), agree)
    alone = yield from univariable(cohort, recipe, endpoint, kept)
    p = np.array([row["p"] for row in alone.summary])
    found = np.flatnonzero(benjamini_hochberg(np.where(np.isnan(p), 1.0, p)) <= limits.fdr)
    first = found[np.argsort(p[found], kind="stable")][: int(limits.share * float(alone.n_.min(initial=np.inf)))]
    kept = leave("univariable", tuple(kept[i] for i in first))
    if len(kept) > 1:
        kept = leave("correlation", (yield from correlation(cohort, recipe, kept)).kept(limits.correlation))
    if len(kept) > 1:
        ranked = yield from relevance(cohort, recipe, endpoint, kept, within_site=limits.within_site)
        kept = leave("mRMR", ranked.select(limits.count, limits.criterion).selected_)
    return Reduction(tuple(left), p, agree)


def readers_agree(cohort: str, recipe: Recipe, features: tuple[str, ...]) -> Conclusion[Agreement]:
    """How well both readers of images agree on features of a model; errors as of `agreement`.

    Parameters
    ----------
    recipe
        That reads the model's columns (`ModelColumns`). Features are looked at as they were read, whether they are
        harmonised afterwards or not.
    """
    part = any(isinstance(step, Outside | Resample) for step in recipe.steps)
    both = (features, tuple(second_reading(name) for name in features))
    return (yield from agreement(cohort, read_twice(recipe), both, least=FEWEST_LESIONS if part else MIN_LESIONS))
