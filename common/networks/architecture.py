"""common/networks: what a network looks like, in a few words that fit beside its weights; loads no library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common.errors import FedmviError
from common.study.networks import MAX_SEQUENCES, SEQUENCES, STAYING, Network, Normalisation

NORMALISATIONS = ("batch", "group", "fedbn", "silobn")
CLASSES = (2, 3)
"""MVI absent or present, or the grades M0, M1 and M2."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a network; equal architectures have weight vectors that mean the same.

    Attributes
    ----------
    sequences
        One branch each, 1 to 6, in canonical order (`common.study.networks.SEQUENCES`).
    classes
        2 (MVI absent, present) or 3 (M0, M1, M2).
    normalisation
        `batch`, `group`, `fedbn` or `silobn`.
    width
        Channels after the first layer; 64 as published.
    blocks
        Bottlenecks of each half; 6 as published.

    Raises
    ------
    FedmviError
        685 it is none of these.
    """

    sequences: tuple[str, ...]
    classes: int
    normalisation: Normalisation
    width: int = 64
    blocks: int = 6

    def __post_init__(self) -> None:
        known = tuple(s for s in SEQUENCES if s in self.sequences)
        if self.sequences != known or not 1 <= len(known) <= MAX_SEQUENCES:
            raise FedmviError(685, f"branches {', '.join(map(str, self.sequences))}")
        if self.classes not in CLASSES or self.normalisation not in NORMALISATIONS:
            raise FedmviError(685, f"{self.classes} classes, normalisation {self.normalisation}")
        if self.width < 1 or self.blocks < 1:
            raise FedmviError(685, f"width {self.width}, {self.blocks} bottlenecks")

    @property
    def dimension(self) -> int:
        """Length of the vector that a sequence contributes; 512 as published."""
        return 8 * self.width

    @property
    def statistics_stay(self) -> bool:
        """Whether the statistics of normalisation layers belong to the site and never leave it."""
        return self.normalisation in STAYING

    @property
    def text(self) -> str:
        """As JSON, for the metadata of a file of weights."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """The architecture that `text` says; error 685 if it says none."""
        try:
            said: Any = json.loads(text)
            if not isinstance(said, Mapping) or set(said) != set(cls.__dataclass_fields__):
                raise ValueError("other fields than an architecture has")
            numbers = {name: int(said[name]) for name in ("classes", "width", "blocks")}
            return cls(tuple(said["sequences"]), normalisation=said["normalisation"], **numbers)
        except (ValueError, TypeError) as error:
            raise FedmviError(685, str(error)) from error


def architecture_of(network: Network, combination: tuple[str, ...], classes: int) -> Architecture:
    """The architecture that a protocol's network has on a combination of sequences, for 2 or 3 classes."""
    return Architecture(combination, classes, network.normalisation, network.width, network.blocks)
