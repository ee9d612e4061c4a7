"""common/study: steps of a recipe that leave one centre out of a sum, or ask one centre alone.

A model that is developed without a hospital and measured there tells what a new hospital may expect. Both are asked of
the whole roster, so that who is asked tells nothing, and a masked sum keeps its masks: the hospital that is left out
adds zeros. A site knows these steps before it makes a frame, and answers without one where it has nothing to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.drafting import Cut
from common.study.table import SiteTable

if TYPE_CHECKING:
    from common.study.networks import Network
    from common.study.protocol import Study
    from common.study.recipe import Frame, Recipe


@dataclass(frozen=True)
class Without:
    """Of a sum: the named site has no patients in it; all others have theirs."""

    __pydantic_config__ = STRICT
    site: str
    step: Literal["without"] = "without"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Error 501: only who knows the site's name can tell whether it is the one (see `asked_of`)."""
        return _nobody_knows(frame, table, rows)


@dataclass(frozen=True)
class Only:
    """Of what sites publish on their own: the named site answers, all others have nothing to say."""

    __pydantic_config__ = STRICT
    site: str
    step: Literal["only"] = "only"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """As `Without.read`."""
        return _nobody_knows(frame, table, rows)


def _nobody_knows(frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:  # noqa: ARG001 - as all steps
    raise FedmviError(501, "a centre is left out by a site that knows its own name")


Centre = Without | Only


def centre_of(recipe: Recipe) -> Centre | None:
    """The step that names a centre; it is the first, if there is one."""
    first = recipe.steps[0] if recipe.steps else None
    return first if isinstance(first, Centre) else None


def silent(recipe: Recipe, site: str) -> bool:
    """Whether a site has nothing to say to a question of this recipe: its answer is zeros, whatever patients it has."""
    centre = centre_of(recipe)
    if isinstance(centre, Without):
        return centre.site == site
    return isinstance(centre, Only) and centre.site != site


def left_out(recipe: Recipe) -> str:
    """The site whose patients are not in a sum, or ""."""
    centre = centre_of(recipe)
    return centre.site if isinstance(centre, Without) else ""


def fits_here(recipe: Recipe) -> bool:
    """Whether what a recipe has may be fitted on the patients whom it is applied to, among others: at a centre that is
    asked alone it was developed without them."""
    return not isinstance(centre_of(recipe), Only)


def of_everybody(recipe: Recipe) -> Recipe:
    """The recipe without the step that names a centre: what a site does that answers."""
    return recipe if centre_of(recipe) is None else type(recipe)(recipe.steps[1:])


def cut_at(model: str, score: str, cutoff: float) -> Cut:
    """The step that calls patients positive by a model's frozen cut-off: it ends the recipes of tables by centre."""
    return Cut(score, f"positive.{model}", cutoff)


def network_cohorts(study: Study, network: Network) -> tuple[str, ...]:
    """The cohorts in which a network is looked at by centre: those over whose sites its performance is summed.

    In others every site answers alone, and has told its areas and tables by that.
    """
    return tuple(name for name in network.evaluate if len(study.cohort(name).sites) >= study.limits.min_sites)


def shift_models(study: Study) -> tuple[str, ...]:
    """The models that are looked at by centre; none where a study has no [shift]."""
    return study.shift.models if study.shift is not None else ()


def remedies(study: Study) -> tuple[str, ...]:
    """The models of which one is chosen by leaving out each centre; none where no study asks for it."""
    return study.shift.models if study.shift is not None and study.shift.leave_one_centre_out else ()


def centre_models(study: Study, cohort: str) -> tuple[str, ...]:
    """Those of `remedies` that are trained in a cohort."""
    chosen = remedies(study)
    return tuple(model.name for model in study.models if model.name in chosen and model.cohort == cohort)
