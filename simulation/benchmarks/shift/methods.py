"""simulation: benchmarks: shift: models, with every action on shift that needs no outcome of the target, and without.

Everything federated is a conclusion of the product over a port: logistic regression, ComBat, and areas under the curve
at the target. `POOLED`, `LOCAL` and `CEILING` are scikit-learn's, on rows that no federation would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from common.errors import FedmviError
from common.federation.ports import SitesPort
from common.federation.runner import Conclusion, conclude
from common.statistics.combat import combat
from common.statistics.logistic import logistic
from common.statistics.moments import moments
from common.statistics.roc import roc
from common.study.recipe import Frame, Recipe, Score
from common.study.table import FloatArray
from simulation.benchmarks.shift.averaging import OPTIMISERS, averaged
from simulation.benchmarks.shift.cohorts import NYUL, image_features
from simulation.benchmarks.shift.measurements import FEATURES
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.sites import ENDPOINT, TEST, TRAIN

NOTHING, INTENSITIES, COMBAT, TOGETHER = "none", "intensities", "combat", "together"
ACTIONS = (INTENSITIES, COMBAT, TOGETHER)
"""Without any outcome of the target: each patient's intensities on the standard scale; features by frozen ComBat, from
the target's own patients; both."""
PRIMARY_ACTION = COMBAT
"""The action that targets are held against; of the three the one with the largest area on tuning seeds, after the shift
of appearance and without shift."""
POOLED, LOCAL = "pooled", "local"
CEILING, PREPARED_CEILING = "ceiling", "ceiling with intensities"


def names(prefix: str) -> tuple[str, ...]:
    """The predictors."""
    return tuple(f"{prefix}{name}" for name in FEATURES)


def developed(action: str) -> Conclusion[Developed]:
    """The federated logistic model with an action of `ACTIONS`, or with `NOTHING`."""
    prefix = NYUL if action in (INTENSITIES, TOGETHER) else ""
    recipe = Recipe()
    if action in (COMBAT, TOGETHER):
        fit = replace((yield from combat(TRAIN, Recipe(), image_features(prefix))), training=TRAIN)
        recipe = recipe.then(fit.step())
    model = yield from logistic(TRAIN, recipe, ENDPOINT, names(prefix))
    if model.separated_:
        raise FedmviError(642, "the classes are separated")
    coef = tuple(model.coef_[1:].tolist())
    score = Score(action, ENDPOINT, names(prefix), coef, float(model.coef_[0]))
    return Developed(recipe, score, model.likelihood_ratio[0])


def attempted(port: SitesPort, conclusion: Callable[[], Conclusion[Developed]]) -> Developed | FedmviError:
    """A model, or the refusal that stands for it."""
    try:
        (found,) = conclude(port, [conclusion()])
    except FedmviError as error:
        return error
    model: Developed = found
    return model


def area(port: SitesPort, model: Developed) -> float | FedmviError:
    """The area under the curve at the target, or why there is none."""
    try:
        (found,) = conclude(port, [roc(TEST, model.recipe, ENDPOINT, model.score.column)])
    except FedmviError as error:
        return error
    return float(found.auc_)


def develop(port: SitesPort, frames: Mapping[str, Frame]) -> dict[str, Developed | FedmviError]:
    """Every federated model of the hospitals that train."""
    models: dict[str, Developed | FedmviError] = {
        action: attempted(port, lambda action=action: developed(action))  # type: ignore[misc]
        for action in (NOTHING, *ACTIONS)
    }
    (scale,) = conclude(port, [moments(TRAIN, Recipe(), names(""))])
    return {**models, **{name: averaged(name, frames, scale.standardising) for name in OPTIMISERS}}


def pooled_area(train: Frame, test: Frame, *, prefix: str = "", penalised: bool = False) -> float | None:
    """The area of scikit-learn's logistic regression; None where the rows have one class.

    `penalised` is scikit-learn's own default, C = 1, as one hospital with few patients would use it.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    y = train.endpoints[ENDPOINT]
    if np.unique(y).size < 2:
        return None
    model = LogisticRegression(C=1.0 if penalised else np.inf, max_iter=10_000, tol=1e-8)
    fitted = make_pipeline(StandardScaler(), model).fit(train.matrix(names(prefix)), y)
    risk: FloatArray = fitted.decision_function(test.matrix(names(prefix)))
    return float(roc_auc_score(test.endpoints[ENDPOINT], risk))


def stacked(frames: Mapping[str, Frame]) -> Frame:
    """The rows of several hospitals in one."""
    parts = list(frames.values())
    return Frame(
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        {ENDPOINT: np.concatenate([part.endpoints[ENDPOINT] for part in parts])},
        sum(part.n for part in parts),
    )
