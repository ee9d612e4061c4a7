"""client/release: the scope of models that are withheld here: what was frozen without outcomes holds ever after."""

from __future__ import annotations

from client.run import OpenRun
from common.errors import FedmviError
from common.study.recipe import Recipe
from common.study.withholding import withheld_model


def check_withheld(run: OpenRun, site: str, cohort: str, recipe: Recipe) -> None:
    """Error 658 for features, or a score of them, that the frozen manifest keeps from this hospital's patients."""
    frozen = run.frozen.withheld if run.frozen is not None else ()
    model = withheld_model(run.study, frozen, site, cohort, recipe)
    if model:
        raise FedmviError(658, model=model, cohort=cohort)
