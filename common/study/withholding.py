"""common/study: at which hospitals a harmonised model is withheld, because they may differ in whom they see.

ComBat takes a hospital's own mean away, whatever it comes from. Where patients there have the outcome more often, that
mean is signal, and a harmonised score is wrong by it. Where hospitals of training differ so, every score is. Matched on
covariates a model keeps what these explain, and is withheld nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.federation.codec import STRICT
from common.study.harmonisation import Combat
from common.study.protocol import Model, Study
from common.study.recipe import Recipe
from common.study.shifted import compared_model


@dataclass(frozen=True)
class Withheld:
    """A harmonised model, and a hospital whose patients it does not score but for training."""

    __pydantic_config__ = STRICT
    model: str
    site: str


def withholdable(study: Study) -> tuple[Model, ...]:
    """Models that are harmonised without covariates, of the cohort with which `[shift]` compares hospitals."""
    whole = compared_model(study)
    if whole is None:
        return ()
    unmatched = (m for m in study.models if m.harmonise is not None and not m.harmonise.covariates)
    return tuple(model for model in unmatched if model.cohort == whole.cohort)


def may_be_withheld(study: Study, withheld: tuple[Withheld, ...]) -> bool:
    """Whether each pair is named once, of such a model and a hospital of the study."""
    names, sites = {model.name for model in withholdable(study)}, set(study.sites())
    known = all(one.model in names and one.site in sites for one in withheld)
    return known and len(set(withheld)) == len(withheld)


def withheld_model(study: Study, withheld: Iterable[Withheld], site: str, cohort: str, recipe: Recipe) -> str:
    """The first model that is withheld at a site, and by whose numbers a recipe harmonises there; "" for none.

    Training patients are those by whom the model was made.
    """
    named = {one.model for one in withheld if one.site == site}
    made = (step.model for step in recipe.steps if isinstance(step, Combat) and step.model in named)
    trained = {model.name for model in study.models if model.cohort == cohort}
    return next((model for model in made if model not in trained), "")
