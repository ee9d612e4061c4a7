"""common/statistics: digits: many small counts of known bounds as the digits of few numbers; sums carry nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

WORD_BITS = 53
"""Digits fill a number up to here: bits to spare for sums over sites, and exact as a float."""

_PLACES = 64
"""More than a number has digits: place and number together are one index."""


@dataclass(frozen=True)
class Digits:
    """Counts of the children of ranges as digits of integers below 2^53.

    All children of one range and class have digits of as many bits as their largest possible count needs. A class
    that cannot occur in a range needs none.

    Attributes
    ----------
    width, per_word, first
        (ranges, classes): bits of a digit, digits in a number, and the index of the first number.
    needed
        (ranges, classes) numbers.
    """

    width: Counts
    per_word: Counts
    first: Counts
    needed: Counts

    @classmethod
    def of(cls, bits: NDArray[np.uint64], most: NDArray[np.uint64]) -> Digits:
        """`bits` (ranges,) and `most` (ranges, classes) as in `ValueCounts`."""
        children = np.left_shift(1, bits.astype(np.int64))[:, np.newaxis]
        width = np.ceil(np.log2(most.astype(np.float64) + 1.0)).astype(np.int64)
        per_word = WORD_BITS // np.maximum(width, 1)
        needed = np.where(width > 0, -(-children // per_word), 0)
        return cls(width, per_word, (np.cumsum(needed) - needed.reshape(-1)).reshape(needed.shape), needed)

    @property
    def words(self) -> int:
        """Numbers for all counts."""
        return int(self.needed.sum())

    def pack(self, owner: Counts, child: Counts, label: Counts) -> Counts:
        """(words,) of the range, child and class of each patient.

        A count above its bound, which only a wrong bound can bring, loses what is above: to refuse would tell
        this site's own count.
        """
        width, per_word = self.width[owner, label], self.per_word[owner, label]
        digit = (self.first[owner, label] + child // per_word) * _PLACES + child % per_word * width
        digit, first, counts = np.unique(digit[width > 0], return_index=True, return_counts=True)
        largest = np.left_shift(1, width[width > 0][first]) - 1
        words = np.zeros(self.words, dtype=np.int64)
        np.add.at(words, digit // _PLACES, np.left_shift(counts & largest, digit % _PLACES))
        return words

    def unpack(self, words: Counts) -> tuple[Counts, Counts, Counts, Counts]:
        """Range, child, class and count of every count above zero, from numbers of `pack`, also summed over sites."""
        used = np.flatnonzero(words)
        cell = np.repeat(np.arange(self.needed.size), self.needed.reshape(-1))[used]
        width, per_word = self.width.reshape(-1)[cell], self.per_word.reshape(-1)[cell]
        begin = (used - self.first.reshape(-1)[cell]) * per_word
        found = []
        for digit in range(int(per_word.max(initial=0))):
            counts = np.right_shift(words[used], digit * width) & (np.left_shift(1, width) - 1)
            hit = (digit < per_word) & (counts > 0)
            found.append(np.stack([cell[hit], begin[hit] + digit, counts[hit]]))
        cell, child, counts = np.concatenate(found, axis=1) if found else np.zeros((3, 0), dtype=np.int64)
        owner, label = np.divmod(cell, self.needed.shape[1])
        return owner, child, label, counts

    def sound(self, words: Counts, most: NDArray[np.uint64]) -> bool:
        """Whether numbers of `pack`, or a sum of them, hold in no (range, class) more than `most`."""
        if bool(np.any((words < 0) | (words >> WORD_BITS > 0))):
            return False
        owner, _child, label, counts = self.unpack(words)
        held = np.zeros(most.shape, dtype=np.uint64)
        np.add.at(held, (owner, label), counts.astype(np.uint64))
        return bool(np.all(held <= most))
