"""simulation: ungated views of plain arrays, so that a federated result can be held against the pooled one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.masks import mask, mask_context, pair_secret, private_key, public_key
from common.federation.ports import Blocks, Hide, InProcess, SitesPort, over_views, ungated
from common.federation.query import Ask, Query, SiteView
from common.study.recipe import Frame
from common.study.table import FloatArray

COHORT = "all"
"""The one cohort of `federation_of`."""


class DrawnView:
    """What views of patients whom nobody counts, and who do no tasks, answer alike."""

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """They have no flow."""
        raise FedmviError(901, f"no flow into {cohort}")

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """They do no tasks."""
        raise FedmviError(511, f"no task {task}")


def classes_of(outcomes: FloatArray) -> tuple[int, int, int]:
    """How many of (n,) binary outcomes are 0, 1 and unknown."""
    return int(np.sum(outcomes == 0.0)), int(np.sum(outcomes == 1.0)), int(np.sum(np.isnan(outcomes)))


@dataclass(frozen=True)
class ArrayView(DrawnView):
    """A site that holds columns and endpoints as arrays; recipes may impute, complete, standardise and score.

    Attributes
    ----------
    columns, endpoints
        (n,) arrays by name.
    keys
        (n,) see `Frame`.
    """

    columns: Mapping[str, FloatArray]
    endpoints: Mapping[str, FloatArray]
    keys: NDArray[np.uint64]

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        n = len(next(iter({**self.columns, **self.endpoints}.values())))
        return query.recipe.apply_to(Frame(self.columns, self.endpoints, n, self.keys))

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """Arrays have no classes of their own."""
        raise FedmviError(901, f"no classes of {endpoint} in {cohort}")


def federation_of(
    columns: Mapping[str, FloatArray],
    endpoints: Mapping[str, FloatArray],
    site: NDArray[np.int64],
    *,
    masked: bool = False,
    keys: NDArray[np.uint64] | None = None,
) -> SitesPort:
    """Split the rows of a pooled table into sites by their (n,) labels; a port whose cohort `all` has them all.

    `keys` are the patients' (see `Frame`); by default those of `row_keys`.
    """
    keys = row_keys(site.size) if keys is None else keys
    views = {}
    for label in np.unique(site).tolist():
        rows = site == label
        views[f"site-{label}"] = ArrayView(
            {k: v[rows] for k, v in columns.items()}, {k: v[rows] for k, v in endpoints.items()}, keys[rows]
        )
    if not masked:
        return over_views(views, [COHORT])
    handlers = {name: ungated(view, named_masks(name, tuple(views))) for name, view in views.items()}
    return SitesPort(InProcess(handlers), Ticket("local", "", {COHORT: tuple(sorted(views))}))


def over_cohorts(views: Mapping[str, SiteView], cohorts: Mapping[str, Collection[str]]) -> SitesPort:
    """A port to sites without gates; each cohort is asked at the sites that have it, by their names."""
    rosters = {
        cohort: tuple(sorted(name for name in views if cohort in cohorts[name]))
        for cohort in sorted({cohort for own in cohorts.values() for cohort in own})
    }
    return SitesPort(InProcess({name: ungated(view) for name, view in views.items()}), Ticket("local", "", rosters))


def row_keys(n: int) -> NDArray[np.uint64]:
    """(n,) keys of the rows of a pooled table."""
    return np.random.default_rng(20230).integers(0, 2**64, size=n, dtype=np.uint64)


def named_masks(name: str, sites: tuple[str, ...]) -> Hide:
    """Masks of a site with keys that are made of names: they protect nothing, and cancel like any."""
    keys = {site: private_key(site.encode(), COHORT) for site in sites}
    secrets = {peer: pair_secret(name, keys[name], peer, public_key(keys[peer])) for peer in sites if peer != name}

    def hide(ticket: Ticket, ask: Ask, blocks: Blocks) -> Blocks:
        return dict(mask(blocks, name, secrets, mask_context(ticket, ask)))

    return hide
