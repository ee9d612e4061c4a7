"""simulation: benchmarks: shift: a model as it is frozen."""

from __future__ import annotations

from dataclasses import dataclass

from common.study.recipe import Recipe, Score


@dataclass(frozen=True)
class Developed:
    """A model as it is frozen.

    Attributes
    ----------
    before
        Steps at the target before the score.
    score
        The model.
    chi2
        Of the likelihood-ratio test of all its predictors; NaN where it is not fitted by maximum likelihood.
    """

    before: Recipe
    score: Score
    chi2: float = float("nan")

    @property
    def recipe(self) -> Recipe:
        """To the score."""
        return self.before.then(self.score)
