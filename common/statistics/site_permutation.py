"""common/statistics: what chance does: the patients of the training cohort, dealt out to hospitals at random.

If hospitals do not differ, who is at which of them is chance; so patients who are dealt out anew, as many to each as it
has, tell how large differences become (Fisher's permutation test; Pitman, J R Stat Soc Suppl 1937;4:119). They are
dealt inside each site and half, in fixed numbers: of m patients a drawn hospital with the share s gets s m of them, up
or down to a whole one. So the sums over drawn hospitals are sums over all sites as any other, and never over a few
patients, as where each drew by himself. How they are dealt depends on everything that is asked, so that no question is
another with one patient less. For a hospital outside the cohort a sample of its size is dealt, and compared with the
rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField, pack
from common.federation.query import Block, Kind, Query, Risk, Summary
from common.statistics.site_profile import BINS, HALVES, Standard, binned, half_of, standardised
from common.study.recipe import Frame
from common.study.table import FloatArray

MAX_DEALS = 999
MAX_HOSPITALS = 100
STEP = 1.0 / 32.0
"""Values are rounded to it, in standard deviations of the site. Sums of unknown subsets of exact numbers can be solved
for the numbers."""

SMALLER_HALF = 0.4
"""Share of the patients that the smaller half has at least, but for chance that may be forgotten."""

_EXACT = 1e-9


@dataclass(frozen=True)
class SitePermutations(Query):
    """Sums of standardised columns over hospitals that patients draw, for several deals.

    Attributes
    ----------
    columns, numbers, centre, scale
        As of `site_profile.Standard`.
    shares
        (hospitals,) of the cohort that is dealt out among them; they add up to 1.
    samples
        (others,) of the cohort that is drawn for each hospital outside it; at most one half.
    first, deals
        Deals `first` to `first + deals - 1`, from 1.
    """

    name: ClassVar[str] = "query.site_permutations"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    centre: FloatField
    scale: FloatField
    shares: FloatField
    samples: FloatField
    first: int
    deals: int

    @property
    def standard(self) -> Standard:
        """How columns are brought to one scale."""
        nothing = np.zeros(len(self.columns) + 1)
        return Standard(self.columns, self.numbers, self.centre, self.scale, nothing)

    @property
    def hospitals(self) -> int:
        """Drawn hospitals of one deal."""
        return int(self.shares.size + self.samples.size)

    def blocks(self) -> Mapping[str, Block]:
        """(deals, hospitals, ...): `n` (2,) and `sum` (2, p) by half, and `counts` (numbers, 10)."""
        lead = (self.deals, self.hospitals)
        return {
            "n": Block((*lead, HALVES), Kind.COUNT),
            "sum": Block((*lead, HALVES, len(self.columns)), Kind.REAL),
            "counts": Block((*lead, len(self.numbers), BINS), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"sums and histograms of {len(self.columns)} columns over {self.hospitals} hospitals drawn at random, "
            f"deals {self.first} to {self.first + self.deals - 1}, cohort {self.cohort}"
        )

    def consistent(self) -> bool:
        """See `Query`."""
        if self.shares.ndim != 1 or self.samples.ndim != 1 or not 1 <= self.hospitals <= MAX_HOSPITALS:
            return False
        parts = bool(np.all(self.shares > 0)) and abs(float(self.shares.sum()) - 1.0) <= _EXACT
        samples = bool(np.all((self.samples > 0) & (self.samples <= 0.5)))
        deals = self.first >= 1 and self.deals >= 1 and self.first + self.deals - 1 <= MAX_DEALS
        return self.standard.sound and parts and samples and deals

    @property
    def fixed(self) -> str:
        """A digest of all that is the same in every deal: it decides who is dealt where."""
        parts = {
            "recipe": self.recipe.digest,
            "columns": [*self.columns, "|", *self.numbers],
            **{name: getattr(self, name) for name in ("centre", "scale", "shares", "samples")},
        }
        return pack(parts).digest

    def fewest(self, patients: float, sites: int) -> float:
        """Patients whom the smallest half of a drawn hospital has at least, of so many at so many sites."""
        return float(np.min(np.concatenate([self.shares, self.samples]))) * SMALLER_HALF * patients - sites

    @property
    def parameters(self) -> int:
        """The columns."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def draws(self) -> bool:
        """See `Query`."""
        return True

    def answer(self, frame: Frame) -> Summary:
        """The site's part of the sums; the frame has complete cases."""
        values, half = standardised(frame, self.columns, self.centre, self.scale), half_of(frame.keys)
        rounded, bins = coarse(frame.matrix(self.columns)), binned(values[:, self.standard.number_places])
        n, p, k = frame.n, len(self.columns), len(self.numbers)
        wide = np.column_stack([np.ones(n), rounded])
        by_half = np.column_stack([wide * (half == one)[:, np.newaxis] for one in range(HALVES)])
        whole = np.column_stack([by_half, bins.reshape(n, -1)])
        cut = by_half.shape[1]
        # Multiples of powers of two, and ones: the products are exact in any order.
        sums = np.array([inside @ whole for inside in self._drawn(frame.keys)]).reshape(
            self.deals, self.hospitals, whole.shape[1]
        )
        halves = sums[..., :cut].reshape(self.deals, self.hospitals, HALVES, p + 1)
        return {
            "n": np.round(halves[..., 0]).astype(np.int64),
            "sum": (halves[..., 1:] - halves[..., :1] * self.centre) / self.scale,
            "counts": np.round(sums[..., cut:]).astype(np.int64).reshape(self.deals, self.hospitals, k, BINS),
        }

    def _drawn(self, keys: NDArray[np.uint64]) -> list[FloatArray]:
        """Of each deal (hospitals, n): 1 where a patient was dealt to the hospital."""
        dealt = places(keys, half_of(keys), self.fixed, self.first, self.deals, 1 + self.samples.size)
        upper = np.cumsum(self.shares)[:-1]
        found = []
        for one in dealt:
            hospital = np.searchsorted(upper, one[0], side="right") == np.arange(self.shares.size)[:, np.newaxis]
            found.append(np.vstack([hospital, one[1:] < self.samples[:, np.newaxis]]).astype(np.float64))
        return found


def coarse(values: FloatArray) -> FloatArray:
    """(n, p) values rounded to a power of two next below `STEP` of each column's own spread; a constant as it is.

    The step follows from nothing that is asked: by centre and scale of a question it could be made to round nothing, or
    to tell of a site's values whether they lie within so many scales.
    """
    spread = values.std(axis=0)
    step = np.exp2(np.floor(np.log2(np.where(spread > 0, spread, 1.0) * STEP)))
    found: FloatArray = np.where(spread > 0, np.round(values / step) * step, values)
    return found


def places(
    keys: NDArray[np.uint64], half: NDArray[np.int64], fixed: str, first: int, deals: int, each: int
) -> FloatArray:
    """(deals, each, n) places in [0, 1) of each patient: those of a half lie at equal distances, in a random order.

    Order and offset are raw numbers of PCG64, seeded with the keys of all patients here and what is asked, so that they
    depend neither on the order of patients nor on which deals are asked together.

    Raises
    ------
    FedmviError
        501 a key that two patients have.
    """
    order = np.argsort(keys)
    if keys.size != np.unique(keys).size:
        raise FedmviError(501, "two patients with one key")
    seed = hashlib.sha256(b"hospitals|" + fixed.encode() + b"|" + keys[order].astype("<u8").tobytes()).digest()
    stream = np.random.PCG64(int.from_bytes(seed, "little"))
    width = keys.size + HALVES
    stream.advance((first - 1) * each * width)
    raw = np.asarray(stream.random_raw(deals * each * width), dtype=np.uint64).reshape(deals, each, width)
    number = (raw >> np.uint64(11)) * 2.0**-53
    found = np.empty((deals, each, keys.size))
    for one in range(HALVES):
        inside = np.flatnonzero(half[order] == one)
        rank = np.argsort(np.argsort(number[..., inside], axis=-1), axis=-1)
        found[..., order[inside]] = (rank + number[..., keys.size + one, np.newaxis]) / max(inside.size, 1)
    return found
