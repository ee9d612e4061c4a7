"""common/study: ComBat as a step of a recipe: broadcast effects, and each site's own location and scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.empirical_bayes import NO_VARIANCE, location_and_scale, towards_training
from common.study.table import FloatArray

if TYPE_CHECKING:
    from common.study.recipe import Frame
    from common.study.scales import Scale

MIN_PATIENTS = 20
"""Fewest patients whose location and scale are taken for their site's."""

MOST_DEVIATIONS = 10.0
"""A bounded step sets residuals beyond so many standard deviations to this one."""

DECIMALS = 3
"""Decimals of a bounded step's values, in residual standard deviations: nobody measures the fourth."""

SHRUNK = (0.25, 100.0)
"""Smallest and largest variance by which a bounded step divides residuals, as a multiple of their own at the site;
their location is moved by one standard deviation at most.

The priors of empirical Bayes are the server's choice, and so is what a site is shrunk towards: a column that they
shrank to nothing, or moved to the limit, would be the same for all but the patients farthest out, and so be these
patients' mark.
"""

MOST_EFFECT = 30.0
"""Largest effect of a covariate over its plausible range, in residual standard deviations."""

_FINEST = 1e12
"""Most residual standard deviations in a plausible range."""


@dataclass(frozen=True)
class Combat:
    """ComBat: removes a site's own location and scale from features, within what broadcast numbers explain.

    (Johnson, Li & Rabinovic, Biostatistics 2007;8:118.) The site's gamma and delta are estimated here, from its own
    patients (`scales`) and without any outcome, so a site that took no part in the fit is harmonised by the same step:
    by as much of them as chance does not explain (`towards_training`). Covariates are effects to protect; the outcome
    must not be one where the features are to predict it.

    Attributes
    ----------
    mean, scale
        (names,) mean at covariates of 0, and residual standard deviation.
    coefficients
        (covariates, names) effects of the covariates.
    eb, parametric, mean_only
        See `location_and_scale`.
    reference
        Column that is 1 at the site which stays as it is, and 0 at the others; "" for none.
    min_patients
        Fewest known values of each feature that give gamma and delta (error 617).
    bounded
        Residuals are limited to `MOST_DEVIATIONS` and values rounded to `DECIMALS`, as a step of a study must be: so
        that each column has a range that is known before any data are looked at, and that a server which chose
        coefficients could not write one column into the digits of another.
    model
        Of the study, whose columns they are; "" outside of studies.
    training
        Cohort that it was fitted on: a location and scale of any others are shrunk towards training's, which "" never
        does, as the implementations in R and Python.
    """

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    covariates: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    eb: bool
    parametric: bool
    mean_only: bool
    reference: str
    min_patients: int
    bounded: bool = False
    model: str = ""
    training: str = ""
    step: Literal["combat"] = "combat"

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of which it needs values: those that it harmonises, and the covariates."""
        return (*self.names, *self.covariates)

    def apply(self, frame: Frame, fitting: Frame | None = None) -> Frame:
        """Replace the named columns; `fitting` has the patients who give gamma and delta, else they are the frame's."""
        if self.reference:
            flags = np.unique(frame.columns[self.reference])
            if flags.size != 1:
                raise FedmviError(501, f"{self.reference} differs within the site")
            if flags[0] == 1.0:
                return frame
        by = frame if fitting is None else fitting
        _, z = self._standardised(by)
        if not len(z) or int(np.count_nonzero(~np.isnan(z), axis=0).min()) < self.min_patients:
            raise FedmviError(617, f"{len(z)} patients", limit=self.min_patients)
        gamma, delta = location_and_scale(z, eb=self.eb, parametric=self.parametric, mean_only=self.mean_only)
        if self.training and by.cohort != self.training:
            gamma, delta = towards_training(z, gamma, delta)
        if self.bounded:
            own, middle = np.nanvar(z, axis=0, ddof=1), np.nanmean(z, axis=0)
            delta = np.where(own > NO_VARIANCE, np.clip(delta, SHRUNK[0] * own, SHRUNK[1] * own), delta)
            gamma = np.clip(gamma, middle - np.sqrt(own), middle + np.sqrt(own))
        expected, z = self._standardised(frame)
        rest, mean, scale = (z - gamma) / np.sqrt(delta), np.array(self.mean), np.array(self.scale)
        if self.bounded:
            rest = np.clip(rest, -MOST_DEVIATIONS, MOST_DEVIATIONS)
            adjusted = mean + scale * np.round((expected - mean) / scale + rest, DECIMALS)
        else:
            adjusted = expected + scale * rest
        return replace(frame, columns={**frame.columns, **dict(zip(self.names, adjusted.T, strict=True))})

    def _standardised(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """(n, names) what mean and covariates explain, and the standardised rest."""
        effects = np.array(self.coefficients).reshape(len(self.covariates), len(self.names))
        expected = np.array(self.mean) + frame.matrix(self.covariates) @ effects
        return expected, (frame.matrix(self.names) - expected) / np.array(self.scale)

    def reach(self, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """The range of each column that a bounded step makes, given those of the covariates."""
        effects = np.array(self.coefficients).reshape(len(self.covariates), len(self.names))
        ends = np.array([ranges[name] for name in self.covariates]).reshape(-1, 2)
        products = effects[:, :, np.newaxis] * ends[:, np.newaxis, :]
        mean, room = np.array(self.mean), (MOST_DEVIATIONS + 10.0**-DECIMALS) * np.array(self.scale)
        low, high = mean + products.min(axis=2).sum(axis=0) - room, mean + products.max(axis=2).sum(axis=0) + room
        return dict(zip(self.names, zip(low.tolist(), high.tolist(), strict=True), strict=True))

    def plausible(self, ranges: Mapping[str, tuple[float, float]]) -> bool:
        """Whether its numbers may be those of patients, given the plausible ranges of its columns and covariates.

        What is explained reaches the plausible range of the column. A residual standard deviation is half the range at
        most (Popoviciu). A covariate explains no more than `MOST_EFFECT`: a steeper one would be a cut-off.
        """
        p = len(self.names)
        shapes = [len(self.mean), len(self.scale), *(len(row) for row in self.coefficients)]
        named = (*self.names, *self.covariates)
        if shapes != [p] * (2 + len(self.covariates)) or len(set(named)) != len(named):
            return False
        low, high = np.array([ranges[name] for name in self.names]).reshape(-1, 2).T
        widths = np.array([ranges[name][1] - ranges[name][0] for name in self.covariates])
        scale, effects = np.array(self.scale), np.array(self.coefficients).reshape(-1, p)
        numbers = np.concatenate([low, high, widths, scale, self.mean, effects.reshape(-1)])
        if not bool(np.all(np.isfinite(numbers))) or not bool(np.all(scale > 0)):
            return False
        reached = self.reach(ranges)
        ends = np.array([reached[name] for name in self.names])
        sound = (scale <= (high - low) / 2.0 * (1.0 + 1e-9)) & ((high - low) <= _FINEST * scale)
        sound &= (ends[:, 0] <= high) & (ends[:, 1] >= low)
        return bool(np.all(sound)) and bool(np.all(np.abs(effects) * widths[:, np.newaxis] <= MOST_EFFECT * scale))


def by_group(
    step: Combat,
    frame: Frame,
    rows: NDArray[np.bool_],
    groups: Sequence[Scale],
    measured: Callable[[Scale], Frame],
) -> Frame:
    """The frame after a step, each group of its patients by the location and scale of those who give them.

    Parameters
    ----------
    rows
        (all patients of the table,) who is in the frame; error 501 where a step has left some of them out.
    measured
        The frame of those who give a group's location and scale.
    """
    if frame.n != int(np.count_nonzero(rows)):
        raise FedmviError(501, "patients are harmonised before any of them is left out")
    if not frame.n:
        return step.apply(frame)
    made = {name: np.full(frame.n, np.nan) for name in step.names}
    for group in groups:
        mine = group.rows[rows]
        if bool(np.any(mine)):
            part = step.apply(frame.keep(mine), measured(group))
            for name in step.names:
                made[name][mine] = part.columns[name]
    return replace(frame, columns={**frame.columns, **made})
