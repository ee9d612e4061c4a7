"""simulation: benchmarks: shift: models, with every action on shift that needs no outcome of the target, and without.

Everything federated is a conclusion of the product over a port: logistic regression, ComBat, and areas under the curve
at the target. `POOLED`, `LOCAL` and `CEILING` are scikit-learn's, on rows that no federation would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.ports import SitesPort
from common.federation.runner import Conclusion, conclude
from common.statistics.combat import combat
from common.statistics.logistic import logistic
from common.statistics.moments import moments
from common.statistics.roc import roc
from common.study.recipe import Frame, Recipe, Score, Standardise, logistic_function
from common.study.table import FloatArray
from server.strategies.fedavg import FedAvg
from server.strategies.strategy import RoundTotal
from simulation.benchmarks.shift.cohorts import NYUL, image_features
from simulation.benchmarks.shift.measurements import FEATURES
from simulation.benchmarks.shift.sites import ENDPOINT, HERE, TEST, TRAIN

NOTHING, INTENSITIES, COMBAT, TOGETHER = "none", "intensities", "combat", "together"
ACTIONS = (INTENSITIES, COMBAT, TOGETHER)
"""Without any outcome of the target: each patient's intensities on the standard scale; features by frozen ComBat, from
the target's own patients; both."""
PRIMARY_ACTION = COMBAT
"""The action that targets are held against; of the three the one with the largest area on tuning seeds, after the shift
of appearance and without shift."""
FEDAVG, POOLED, LOCAL = "fedavg", "pooled", "local"
CEILING, PREPARED_CEILING = "ceiling", "ceiling with intensities"
ROUNDS, LOCAL_EPOCHS, RATE = 60, 5, 0.5
"""Of FedAvg: full gradients on standardised features. Chosen on tuning seeds, where its area is that of the pooled fit
to 0.002 where nothing differs."""


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


def names(prefix: str) -> tuple[str, ...]:
    """The predictors."""
    return tuple(f"{prefix}{name}" for name in FEATURES)


def developed(action: str) -> Conclusion[Developed]:
    """The federated logistic model with an action of `ACTIONS`, or with `NOTHING`."""
    prefix = NYUL if action in (INTENSITIES, TOGETHER) else ""
    here = there = Recipe()
    if action in (COMBAT, TOGETHER):
        fit = yield from combat(TRAIN, Recipe(), image_features(prefix))
        here, there = Recipe().then(fit.step()), Recipe().then(fit.step(fit_on=HERE))
    model = yield from logistic(TRAIN, here, ENDPOINT, names(prefix))
    if model.separated_:
        raise FedmviError(642, "the classes are separated")
    coef = tuple(model.coef_[1:].tolist())
    score = Score(action, ENDPOINT, names(prefix), coef, float(model.coef_[0]))
    return Developed(there, score, model.likelihood_ratio[0])


def fedavg(frames: Mapping[str, Frame], standardising: Standardise) -> Developed:
    """The same model by averaging weights after local epochs, in the product's own step."""
    columns, strategy = standardising.names, FedAvg()
    data = []
    for frame in frames.values():
        scaled = standardising.apply(frame).matrix(columns)
        data.append((np.column_stack([np.ones(frame.n), scaled]), frame.endpoints[ENDPOINT]))
    state = strategy.begin(np.zeros(len(columns) + 1, dtype=np.float32))
    patients = sum(y.size for _, y in data)
    for _ in range(ROUNDS):
        changes = np.zeros(len(columns) + 1)
        for design, y in data:
            weights = state.weights.astype(np.float64)
            for _ in range(LOCAL_EPOCHS):
                weights = weights + RATE * design.T @ (y - logistic_function(design @ weights)) / y.size
            changes += y.size * (weights - state.weights)
        state = strategy.step(state, RoundTotal(changes, patients))
    weights = state.weights.astype(np.float64)
    score = Score("fedavg", ENDPOINT, columns, tuple(weights[1:].tolist()), float(weights[0]))
    return Developed(Recipe().then(standardising), score)


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
    return {**models, FEDAVG: fedavg(frames, scale.standardising)}


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
