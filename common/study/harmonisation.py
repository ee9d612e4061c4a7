"""common/study: ComBat as a step of a recipe: broadcast effects, and each site's own location and scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.empirical_bayes import location_and_scale
from common.study.table import FloatArray

if TYPE_CHECKING:
    from common.study.recipe import Frame


@dataclass(frozen=True)
class Combat:
    """ComBat: removes a site's own location and scale from features, within what broadcast numbers explain.

    (Johnson, Li & Rabinovic, Biostatistics 2007;8:118.) The site's gamma and delta are estimated here, from its own
    rows and without any outcome, so a site that took no part in the fit is harmonised by the same step. Covariates
    are effects to protect; the outcome must not be one where the features are to predict it.

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
    fit_on
        Cohort whose patients at the site give gamma and delta; "" for those who are harmonised.
    min_patients
        Fewest known values of each feature that give gamma and delta (error 617).
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
    fit_on: str
    min_patients: int
    step: Literal["combat"] = "combat"

    def apply(self, frame: Frame, fitting: Frame | None = None) -> Frame:
        """Replace the named columns; `fitting` has the patients of `fit_on`."""
        if self.fit_on and fitting is None:
            raise FedmviError(501, f"no patients of {self.fit_on}")
        if self.reference:
            flags = np.unique(frame.columns[self.reference])
            if flags.size != 1:
                raise FedmviError(501, f"{self.reference} differs within the site")
            if flags[0] == 1.0:
                return frame
        _, z = self._standardised(frame if fitting is None else fitting)
        if not len(z) or int(np.count_nonzero(~np.isnan(z), axis=0).min()) < self.min_patients:
            raise FedmviError(617, f"{len(z)} patients", limit=self.min_patients)
        gamma, delta = location_and_scale(z, eb=self.eb, parametric=self.parametric, mean_only=self.mean_only)
        expected, z = self._standardised(frame)
        adjusted = expected + np.array(self.scale) * (z - gamma) / np.sqrt(delta)
        return replace(frame, columns={**frame.columns, **dict(zip(self.names, adjusted.T, strict=True))})

    def _standardised(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """(n, names) what mean and covariates explain, and the standardised rest."""
        effects = np.array(self.coefficients).reshape(len(self.covariates), len(self.names))
        expected = np.array(self.mean) + frame.matrix(self.covariates) @ effects
        return expected, (frame.matrix(self.names) - expected) / np.array(self.scale)
