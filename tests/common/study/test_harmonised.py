"""common/study: what a protocol may say of harmonised features, and what a bounded step does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.study.harmonisation import MOST_DEVIATIONS, Combat
from common.study.harmonised import harmonised_columns, harmonises
from common.study.loader import parse_study
from common.study.recipe import Frame
from common.study.scores import covariate_columns, needed_columns
from tests.server.study.harmonised_study import FEATURES, HARMONISE, model, study_text

STUDY = study_text()
STEP = Combat(
    ("x", "y"), ("age",), (40.0, -2.0), (2.0, 1.0), ((0.1, -0.02),), eb=True, parametric=True, mean_only=False,
    reference="", min_patients=20, bounded=True, training="train",
)  # fmt: skip
"""A step as a study has it."""
RANGES = {"x": (0.0, 100.0), "y": (-20.0, 20.0), "age": (18.0, 100.0)}


def refused(text: str) -> str:
    with pytest.raises(FedmviError, match="103") as caught:
        parse_study(text)
    return caught.value.local


def test_numbers_are_harmonised_and_covariates_are_kept_and_read():
    study = parse_study(STUDY)
    filled = next(m for m in study.models if m.name == "filled")
    assert [c.name for c in harmonised_columns(study, filled)] == list(FEATURES[:6])  # age is a covariate
    assert [c.name for c in covariate_columns(study, filled)] == ["age", "cirrhosis=yes"]
    assert [c.name for c in needed_columns(study, filled)] == [*FEATURES[:6], "age", "cirrhosis=yes"]
    assert {"age", "cirrhosis"} <= set(study.variable_names())
    assert not harmonises(study, next(m for m in study.models if m.name == "raw"), STEP)


@pytest.mark.parametrize(
    ("covariates", "sentence"),
    [
        ('"mvi"', "'mvi' is no covariate: its effect would write the outcome into the features"),
        ('"recurrence"', "'recurrence' is no covariate"),
        ('"nothing"', "'nothing' is neither in the dictionary"),
        ('"child_pugh"', "more than two levels"),
        ('"age", "age"', "a covariate is named twice"),
        (", ".join(f'"{name}"' for name in FEATURES[:6]), "there is nothing to harmonise"),
    ],
)
def test_covariates_that_would_tell_the_outcome_or_are_none_are_refused(covariates: str, sentence: str):
    text = STUDY.replace(HARMONISE, f"harmonise = {{ covariates = [{covariates}] }}", 1)
    assert sentence in refused(text)


def test_a_formula_from_elsewhere_is_not_of_harmonised_features():
    formula = "fixed = { intercept = 0.0, coefficients = [1.0, 1.0] }"
    assert "a formula that is given" in refused(STUDY + model("given", HARMONISE, formula, predictors=FEATURES[:2]))


def test_models_that_harmonise_a_column_unlike_are_not_in_one_frame():
    both = STUDY.replace('models = ["hybrid", "combat"]', 'models = ["raw", "combat"]')
    assert "do not harmonise 'x00' alike: analyse them one by one" in refused(both)
    mixed = STUDY.replace('["score.selected", {', '["score.selected", { variable = "x06", coding = "linear" }, {', 1)
    assert "'hybrid' and 'selected' do not harmonise 'x06' alike" in refused(mixed)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1e4), st.floats(-1e4, 1e4), st.booleans())
def test_a_site_s_gain_and_offset_leave_no_trace_and_values_stay_in_reach(
    seed: int, gain: float, offset: float, outlier: bool
):
    rng = np.random.default_rng(seed)
    age, x, y = rng.uniform(18, 100, 40), rng.normal(40, 2, 40), rng.standard_cauchy(40)
    x[0] += 1e3 * outlier
    # One feature alone borrows nothing from another, so that location and scale are exactly the site's.
    step = replace(STEP, names=("x",), covariates=(), mean=(40.0,), scale=(2.0,), coefficients=(), eb=False)
    trained = (Frame({"x": v}, {}, 40, cohort="train") for v in (x, gain * x + offset))
    plain, scanned = (step.apply(frame).columns["x"] for frame in trained)
    assert scanned == pytest.approx(plain, abs=2e-3 + 1e-9)  # a rounding to thousandths of 2 may fall either way
    both = STEP.apply(Frame({"x": x, "y": y, "age": age}, {}, 40)).columns
    for name, (low, high) in STEP.reach(RANGES).items():
        assert low <= both[name].min() and both[name].max() <= high
        assert np.isfinite(both[name]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-6.0, 0.0), st.floats(-99.0, 99.0), st.booleans())
def test_priors_of_a_server_s_choice_leave_no_column_as_a_mark_of_the_patients_farthest_out(
    seed: int, decade: float, mean: float, heavy: bool
):
    """One tiny scale, one far mean: the others' variance and mean look like nothing, and were shrunk to that."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=60) for name in ("lever", "one", "two")}
    columns["one"][7] = 6.0
    columns["two"] = rng.standard_t(2, 60) if heavy else columns["two"]
    chosen = Combat(
        ("lever", "one", "two"), (), (mean, 0.0, 0.0), (10.0**decade, 1.0, 1.0), (), eb=True, parametric=True,
        mean_only=False, reference="", min_patients=20, bounded=True, training="train",
    )  # fmt: skip
    assert chosen.plausible(dict.fromkeys(columns, (-100.0, 100.0)))
    made = chosen.apply(Frame(columns, {}, 60)).columns
    for i, name in enumerate(columns):
        told = (made[name] - chosen.mean[i]) / chosen.scale[i]
        assert np.mean(np.abs(told) > MOST_DEVIATIONS - 1e-6) <= 1.0 / 17.0  # Cantelli, four standard deviations
        assert told.std() >= 0.05 and np.unique(np.round(told, 3)).size > 30


def test_without_limits_of_shrinkage_such_a_mark_is_made():
    """So the test above can fail: residuals shrunk a thousandfold are 0 to three decimals but for the one farthest."""
    x = np.random.default_rng(3).normal(size=60) * 0.1
    x[7] = 4.0
    lever = np.random.default_rng(4).normal(size=60)
    wild = replace(STEP, names=("lever", "x", "y"), covariates=(), mean=(0.0,) * 3, scale=(1e-4, 1.0, 1.0),
                   coefficients=(), bounded=False)  # fmt: skip
    made = wild.apply(Frame({"lever": lever, "x": x, "y": x[::-1]}, {}, 60)).columns["x"]
    rounded = np.round(made - np.median(made), 3)
    assert np.count_nonzero(rounded) <= 3 and rounded[7] != 0.0


def test_plausible_numbers_are_told_from_those_that_no_patients_have():
    assert STEP.plausible(RANGES)
    assert replace(STEP, coefficients=((0.7, 0.0),)).plausible(RANGES)  # 57 of 82 years is 29 SD of 2
    for changes in (
        {"coefficients": ((0.8, 0.0),)},
        {"scale": (51.0, 1.0)},
        {"scale": (float("nan"), 1.0)},
        {"mean": (float("inf"), 0.0)},
        {"mean": (130.0, 0.0), "coefficients": ((0.0, 0.0),)},
        {"covariates": ("x",)},
    ):
        assert not replace(STEP, **changes).plausible(RANGES)
    assert not STEP.plausible({**RANGES, "y": (float("-inf"), 20.0)})
