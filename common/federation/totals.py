"""common/federation: totals: a site's summary as exact integers, and the sum of what all sites sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation import fixedpoint
from common.federation.query import Block, Kind, Query, Summary

DTYPES = {Kind.COUNT: np.int64, Kind.REAL: np.float64, Kind.UPDATE: np.float32}
"""The numbers of a summary, by the kind of their block."""


def zeros(query: Query) -> Summary:
    """A summary of nothing: zeros of the declared shapes and kinds."""
    return {name: np.zeros(block.shape, DTYPES[block.kind]) for name, block in query.blocks().items()}


def check_summary(query: Query, summary: Mapping[str, NDArray[Any]]) -> None:
    """Error 505 unless the summary has exactly the declared blocks, shapes and kinds, all finite."""
    declared = query.blocks()
    if set(summary) != set(declared):
        raise FedmviError(505, f"{query.name}: blocks {sorted(summary)} for {sorted(declared)}")
    for name, block in declared.items():
        array = summary[name]
        wanted = DTYPES[block.kind]
        if array.shape != block.shape or array.dtype != wanted:
            raise FedmviError(505, f"{query.name}.{name}: {array.dtype}{array.shape}")
        if not bool(np.all(np.isfinite(array))):
            raise FedmviError(505, f"{query.name}.{name}: a value is not finite")


def encode_total(query: Query, summary: Summary, sites: int) -> dict[str, fixedpoint.Limbs]:
    """The summary as exact integers, ready to be masked and summed over `sites` sites."""
    return {name: _encoded(block, summary[name], sites) for name, block in query.blocks().items()}


def _encoded(block: Block, values: NDArray[Any], sites: int) -> fixedpoint.Limbs:
    if block.kind is Kind.COUNT:
        return fixedpoint.encode_count(values, sites)
    if block.kind is Kind.REAL:
        return fixedpoint.encode_real(values, sites)
    return fixedpoint.encode_update(values, block.bits, sites)


def plain_total(query: Query, summary: Summary, sites: int) -> dict[str, NDArray[Any]]:
    """The summary as it travels without masks: as `encode_total`, but an update as float32, in half the bytes.

    The server turns it into the very integers that masks would have been added to, so both sums are the same.
    """
    encoded: dict[str, NDArray[Any]] = {}
    for name, block in query.blocks().items():
        limbs = _encoded(block, summary[name], sites)  # what is out of range is refused here as under masks
        encoded[name] = summary[name] if block.kind is Kind.UPDATE else limbs
    return encoded


class Total:
    """The sum of a query's parts, added up as they come: one sum is kept, however many sites there are.

    Parameters
    ----------
    query
        What was asked.
    sites
        Of the roster.
    """

    def __init__(self, query: Query, sites: int) -> None:
        self._query, self._blocks, self._sites = query, query.blocks(), sites
        self._sums: dict[str, fixedpoint.Limbs] = {}
        self._plain: bool | None = None

    def add(self, part: Mapping[str, Any]) -> bool:
        """Add one site's part, masked or plain; error 505 unless it is what the query declares.

        Returns
        -------
        Whether it could be a site's own answer: of parts that are masked none could, where the query can tell.
        """
        if set(part) != set(self._blocks):
            raise FedmviError(505, f"{self._query.name}: blocks {sorted(part)}")
        encoded = {name: self._limbs(name, block, part[name]) for name, block in self._blocks.items()}
        for name, limbs in encoded.items():
            if name in self._sums:
                fixedpoint.take_in(self._sums[name], limbs)
            else:
                self._sums[name] = limbs.copy(order="C")  # that of the message is not ours to change
        return self._query.plausible(self._decoded(encoded), 1)

    def _limbs(self, name: str, block: Block, array: Any) -> fixedpoint.Limbs:
        plain = block.kind is Kind.UPDATE and isinstance(array, np.ndarray) and array.dtype == np.float32
        shape = block.shape if plain else (2 if block.kind is Kind.REAL else 1, *block.shape)
        sound = isinstance(array, np.ndarray) and array.shape == shape and (plain or array.dtype == np.uint64)
        if block.kind is Kind.UPDATE:
            sound = sound and self._plain in (None, plain)
            self._plain = plain
        if not sound or (plain and not bool(np.all(np.isfinite(array)))):
            raise FedmviError(505, f"{self._query.name}.{name}")
        limbs: fixedpoint.Limbs = _encoded(block, array, self._sites) if plain else array
        return limbs

    def result(self) -> Summary:
        """The decoded sum of all parts; error 505 where it cannot be true."""
        summary = self._decoded(self._sums)
        if not self._query.plausible(summary, self._sites):
            raise FedmviError(505, f"{self._query.name}: a sum that cannot be true")
        return summary

    def _decoded(self, encoded: Mapping[str, fixedpoint.Limbs]) -> Summary:
        summary: Summary = {}
        for name, block in self._blocks.items():
            if block.kind is Kind.COUNT:
                summary[name] = np.asarray(fixedpoint.decode_count(encoded[name]))
            elif block.kind is Kind.REAL:
                summary[name] = np.asarray(fixedpoint.decode_real(encoded[name]))
            else:
                summary[name] = np.asarray(fixedpoint.decode_update(encoded[name], block.bits))
        return summary
