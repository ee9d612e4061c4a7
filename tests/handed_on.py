"""A small frozen model with every coding, for tests of its file and of predictions with it."""

from __future__ import annotations

from typing import Any

from common.models.logistic import FrozenModel, Input, Measure, Origin, Performance
from common.study.dictionary import DICTIONARY, Variable
from common.study.features import feature_variable
from common.study.intended_use import intended_use
from common.study.recipe import Impute

FEATURE = "portal.tumour.original_glcm_Contrast"
LDH = Variable(name="ldh", kind="continuous", known="preoperative", unit="U/L", units={"ukat/L": 60.0})
TERMS = ("age", "log(ldh)", "afp>20", "sex=male", "child_pugh=B", "child_pugh=C")
COEF = (-2.3, 0.021, 0.43, 0.91, 0.37, -0.62, 0.8)
MEANS = (57.0, 5.4, 0.5, 0.8, 0.1, 0.02)


def inputs() -> tuple[Input, ...]:
    return (
        Input(variable=DICTIONARY["age"], coding="linear", usual=(35.0, 79.0)),
        Input(variable=LDH, coding="log", usual=(80.0, 600.0)),
        Input(variable=DICTIONARY["afp"], coding="above", cutoff=20.0),
        Input(variable=DICTIONARY["sex"], coding="levels"),
        Input(variable=DICTIONARY["child_pugh"], coding="levels"),
    )


def small_model(**changes: Any) -> FrozenModel:
    """Missing values are filled with means; the cut-off is 0.5; the hospitals are real."""
    size = len(COEF)
    given: dict[str, Any] = {
        "intended_use": intended_use(simulated=False),
        "name": "hybrid",
        "title": "Hybrid model",
        "endpoint": "Microvascular invasion",
        "timing": "preoperative",
        "inputs": inputs(),
        "terms": TERMS,
        "coefficients": COEF,
        "covariance": tuple(tuple(0.01 * (i == j) + 0.001 for j in range(size)) for i in range(size)),
        "missing": "mean",
        "filling": Impute(TERMS, MEANS),
        "cutoff": 0.5,
        "cutoff_rule": "Youden's index in the training cohort",
        "origin": Origin(
            study="ct", title="A study", sources=("A paper",), simulated=False, study_fingerprint="a" * 64,
            code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, cohort="train",
            sites=("alpha", "beta", "gamma"), left_out=(), n=300, events=120, how="exact-masked",
        ),
        "performance": (
            Performance(statistic="auc", cohort="train", role="train", sites=("alpha", "beta", "gamma"),
                        how="exact-masked", status="estimated", n=300, events=120,
                        measures=(Measure(name="auc", value=0.8, low=0.75, high=0.85),)),
        ),
    }  # fmt: skip
    return FrozenModel(**(given | changes))


def on_a_feature() -> FrozenModel:
    """A model of one feature of images and age, for complete cases."""
    return small_model(
        inputs=(
            Input(variable=feature_variable(FEATURE), coding="linear", usual=(0.0, 10.0)),
            Input(variable=DICTIONARY["age"], coding="linear", usual=(35.0, 79.0)),
        ),
        terms=(FEATURE, "age"), coefficients=(0.1, 0.2, 0.0), covariance=((0.01,) * 3,) * 3, missing="complete-case",
        filling=None,
    )  # fmt: skip
