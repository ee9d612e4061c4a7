"""common/statistics: whether the scores of a site, whose outcomes nobody looks at, are a mixture of those of training.

If only the outcome is more or less frequent at a site, its scores are a mixture of the scores of the two classes in
training, in another proportion (Saerens et al., Neural Comput 2002;14:21; Lipton, Wang & Smola, ICML 2018). Three
things are told apart in a few bins of the score: the proportion of training fits; only another one does; none does.
Then something other than the frequency differs, and another frequency beside it is not excluded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.federation.codec import STRICT
from common.federation.query import MOST_PATIENTS, Summary
from common.statistics.distributions import chi2_p
from common.statistics.label_shift import LEAST_APART
from common.statistics.max_t import LEVEL
from common.statistics.refinement import Counts, public_thresholds
from common.statistics.shift_verdict import Verdict
from common.study.table import FloatArray

MOST_BINS = 5
"""Bins of a score: with 25 patients each still holds five, where nothing differs."""
LEAST_BINS = 3
"""Fewer leave nothing by which a mixture could be found not to fit."""
FEWEST_IN_BIN = 5
"""Training patients of each class in a bin."""
GRID: FloatArray = np.arange(2, 100, 2) / 100.0
"""Edges at which the scores of training are counted; bins are joined afterwards."""
_FREQUENCIES = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class ScoreClasses:
    """Training patients by class and bin of a score that was made without them; sites get it with the network.

    Attributes
    ----------
    edges
        (bins - 1,) ascending hundredths; a score equal to an edge belongs to the bin below.
    absent, present
        (bins,) patients without and with the outcome.
    """

    __pydantic_config__ = STRICT
    edges: tuple[float, ...]
    absent: tuple[int, ...]
    present: tuple[int, ...]

    @classmethod
    def of(cls, sums: Summary) -> ScoreClasses:
        """From the sums of `BinnedRisks` at `GRID`, neighbouring bins joined until each holds a sixth of the patients
        and `FEWEST_IN_BIN` of either class; what is left over, or too small, joins the last."""
        n, events = sums["n"].astype(np.int64), sums["events"].astype(np.int64)
        least, bins, edges = -(-int(n.sum()) // (MOST_BINS + 1)), [np.zeros(2, dtype=np.int64)], list[float]()
        for at, (patients, present) in enumerate(zip(n.tolist(), events.tolist(), strict=True)):
            bins[-1] = bins[-1] + np.array([patients - present, present])
            full = int(bins[-1].sum()) >= least and int(bins[-1].min()) >= FEWEST_IN_BIN
            if full and at < GRID.size and len(bins) < MOST_BINS:
                edges.append(float(GRID[at]))
                bins.append(np.zeros(2, dtype=np.int64))
        if edges and (int(bins[-1].min()) < FEWEST_IN_BIN or 2 * int(bins[-1].sum()) < least):
            bins[-2:] = [bins[-2] + bins[-1]]
            edges.pop()
        absent, present_ = np.array(bins).T.tolist()
        return cls(tuple(edges), tuple(absent), tuple(present_))

    @property
    def sound(self) -> bool:
        """Whether it can be what `of` makes of some training cohort."""
        edges, counts = np.array(self.edges), (*self.absent, *self.present)
        sizes = len(self.absent) == len(self.present) == len(self.edges) + 1 <= MOST_BINS
        public = bool(np.all(np.diff(edges) > 0)) and public_thresholds(edges) and all(0 < e < 1 for e in self.edges)
        return sizes and public and all(FEWEST_IN_BIN <= count <= 1000 * MOST_PATIENTS for count in counts)

    @property
    def counts(self) -> Counts:
        """(2, bins) patients by class."""
        return np.array([self.absent, self.present], dtype=np.int64)

    @property
    def apart(self) -> float:
        """Youden's index at the edge where it is largest."""
        below = np.cumsum(self.counts / self.counts.sum(axis=1, keepdims=True), axis=1)
        return float(np.max(below[0] - below[1]))

    @property
    def tells(self) -> bool:
        """Whether another frequency could be seen: enough bins, and classes whose scores differ."""
        return len(self.absent) >= LEAST_BINS and self.apart >= LEAST_APART

    def binned(self, scores: FloatArray) -> Counts:
        """(bins,) how many scores are in each bin."""
        found: Counts = np.bincount(np.searchsorted(self.edges, scores), minlength=len(self.absent)).astype(np.int64)
        return found


@dataclass(frozen=True)
class Mixture:
    """A site's scores beside those of training.

    Attributes
    ----------
    same_p_
        Of the same scores as in training, by Pearson's chi-square test of two samples.
    mixture_p_
        Of a mixture of the two classes of training in any proportion, by the smallest chi-square over proportions.
    frequency_
        The proportion with the outcome at which it is smallest.
    """

    same_p_: float
    mixture_p_: float
    frequency_: float


def mixture(site: Counts, classes: ScoreClasses) -> Mixture:
    """Hold a site's scores against training.

    The smallest chi-square takes the training classes for the samples that they are: its covariance is that of the
    site's shares plus those of both classes' shares, each with its weight in the mixture.

    Parameters
    ----------
    site
        (bins,) patients, as `ScoreClasses.binned`.
    """
    known = classes.counts
    rows = np.stack([known.sum(axis=0), site]).astype(np.float64)
    expected = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
    same = float(np.sum(np.square(rows - expected) / expected))
    n, sizes = float(site.sum()), known.sum(axis=1).astype(np.float64)
    shares = known / sizes[:, np.newaxis]
    values = [_distance(site / n, n, shares, sizes, frequency) for frequency in _FREQUENCIES.tolist()]
    best = int(np.argmin(values))
    degrees = site.size - 1
    return Mixture(chi2_p(same, degrees), chi2_p(values[best], degrees - 1), float(_FREQUENCIES[best]))


def _distance(site: FloatArray, n: float, shares: FloatArray, sizes: FloatArray, frequency: float) -> float:
    weights = np.array([1.0 - frequency, frequency])
    expected = weights @ shares
    spread = _multinomial(expected) / n
    for weight, share, size in zip(weights, shares, sizes, strict=True):
        spread = spread + weight**2 * _multinomial(share) / size
    gap = (site - expected)[:-1]
    return float(gap @ np.linalg.solve(spread, gap))


def _multinomial(shares: FloatArray) -> FloatArray:
    """Covariance of all shares but the last, which the others determine."""
    kept = shares[:-1]
    return np.asarray(np.diag(kept) - np.outer(kept, kept))


def adapted_verdict(before: FloatArray, after: FloatArray, classes: ScoreClasses) -> Verdict:
    """What a site's scores say of adapting a network to it, without any outcome.

    Adaptation is for `COVARIATE`, scores that no frequency of the outcome explains before and that of training does
    afterwards, and for `NONE_DETECTED`, scores that are as in training before and afterwards. It is not for `LABEL`,
    scores that another frequency alone explains; `SEVERAL`, scores that are not those of training afterwards either;
    and `CANNOT_TELL`, where another frequency could not be seen, or where nothing was found before and adaptation
    itself changes the scores.

    Parameters
    ----------
    before, after
        (n,) scores of the site's patients by the network as trained, and as adapted to them; n above 0.
    """
    if not classes.tells:
        return Verdict.CANNOT_TELL
    plain, adapted = (mixture(classes.binned(scores), classes) for scores in (before, after))
    repaired = adapted.same_p_ > LEVEL
    if plain.same_p_ > LEVEL:
        return Verdict.NONE_DETECTED if repaired else Verdict.CANNOT_TELL
    if plain.mixture_p_ > LEVEL:
        return Verdict.LABEL
    return Verdict.COVARIATE if repaired else Verdict.SEVERAL


ADAPTED = frozenset({Verdict.COVARIATE, Verdict.NONE_DETECTED})
"""Verdicts under which a network is adapted."""
