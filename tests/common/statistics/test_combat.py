"""common: ComBat equals the R implementation and the regression with dummies, and sites harmonise their own rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.codec import pack, unpack
from common.federation.query import Risk
from common.federation.runner import conclude
from common.statistics.combat import CombatFit, ReferenceSquares, ResidualSquares, combat
from common.study.coding import CodedColumn
from common.study.empirical_bayes import location_and_scale, towards_training
from common.study.harmonisation import Combat
from common.study.recipe import Complete, Frame, Recipe, Select
from common.study.scales import Scale
from common.study.table import Column, SiteTable
from simulation.exactness.harmonisation import (
    R_STOPS_AT,
    apply_by_site,
    combat_by_dummies,
    combat_outputs,
    parametric_estimates,
)
from simulation.exactness.measuring import Absent, Table
from simulation.exactness.tables import two_scanners
from simulation.views import COHORT, federation_of

NAMES = ("f0", "f1", "f2", "f3")


def cohort(seed: int = 0, n: int = 180) -> Table:
    """Four features with an effect of age, shifted and stretched by site."""
    rng = np.random.default_rng(seed)
    site = np.sort(rng.integers(0, 3, n))
    age = rng.normal(60, 10, n)
    X = rng.normal(size=(n, 4)) * np.array([1.0, 1.4, 0.8])[site][:, None] + 0.05 * age[:, None] + 2.0 * site[:, None]
    columns = {name: X[:, i] * 10.0**i for i, name in enumerate(NAMES)} | {"age": age}
    columns["first"] = (site == 0).astype(np.float64)
    return Table("made", "made", columns, {}, site)


def fitted(table: Table, covariates: tuple[str, ...] = (), reference: str = "", site: Any = None) -> CombatFit:
    port = federation_of(table.columns, {}, table.site if site is None else site)
    return conclude(port, [combat(COHORT, Recipe(), NAMES, covariates, reference)])[0]


def test_r_is_reproduced_to_the_last_digits_by_its_own_stopping_rule() -> None:
    """So the table of exactness shows that rule alone; solved to the end, R's answers move by 1e-5 SD."""
    try:
        outputs = combat_outputs()
    except Absent as why:
        pytest.skip(str(why))
    table = two_scanners()
    names = tuple(name for name in table.columns if name.startswith("v"))
    words = [f"parametric_{adjusted}{ref}" for adjusted in ("unadjusted", "adjusted") for ref in ("", "_batchref")]
    for option in words:
        covariates = ("pheno",) if "_adjusted" in option else ()
        reference = "reference" if "batchref" in option else ""
        port = federation_of(table.columns, {}, table.site)
        fit = conclude(port, [combat(COHORT, Recipe(), names, covariates, reference)])[0]
        expected = fit.grand_mean_ + table.matrix(("reference", *covariates))[:, 1:] @ fit.coef_
        for site in (1,) if reference else (0, 1):
            rows = table.site == site
            z = (table.matrix(names)[rows] - expected[rows]) / fit.pooled_std_
            apart = []
            for stop in (R_STOPS_AT, 1e-14):
                gamma, delta = parametric_estimates(z, stop)
                ours = expected[rows] + fit.pooled_std_ * (z - gamma) / np.sqrt(delta)
                apart.append(np.max(np.abs(ours - outputs[option][rows]) / table.matrix(names).std(axis=0)))
            assert apart[0] < 1e-12 < 1e-7 < apart[1] < 2e-5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_sites_changes_no_bit_and_the_fit_is_the_regression_with_dummies(seed: int) -> None:
    table = cohort(seed)
    fits = [fitted(table, ("age",), site=site) for site in (table.site, 2 - table.site)]
    assert fits[0].grand_mean_.tobytes() == fits[1].grand_mean_.tobytes()
    assert fits[0].pooled_std_.tobytes() == fits[1].pooled_std_.tobytes()
    Y, C = table.matrix(NAMES), table.matrix(["age"])
    ours = apply_by_site(table, fits[0])
    assert np.max(np.abs(ours - combat_by_dummies(Y, C, table.site)) / Y.std(axis=0)) < 1e-10


def test_sites_agree_after_harmonisation_and_the_covariate_keeps_its_effect() -> None:
    table = cohort()
    adjusted = apply_by_site(table, fitted(table, ("age",)), eb=False)
    by_age = np.column_stack([np.ones(len(adjusted)), table.columns["age"]])
    slope = np.linalg.lstsq(by_age, adjusted, rcond=None)[0]
    residual = adjusted - by_age @ slope
    scale = residual.std(axis=0)
    means = np.array([residual[table.site == s].mean(axis=0) for s in range(3)]) / scale
    assert np.max(np.abs(means)) < 0.05
    spread = np.array([residual[table.site == s].std(axis=0) for s in range(3)]) / scale
    assert np.max(np.abs(spread - 1)) < 0.05
    assert slope[1] / 10.0 ** np.arange(4) == pytest.approx(np.full(4, 0.05), abs=0.02)


def test_the_reference_site_stays_as_it_is_and_the_others_come_to_it() -> None:
    table = cohort()
    fit = fitted(table, ("age",), "first")
    adjusted = apply_by_site(table, fit, eb=False)
    mine = table.site == 0
    assert adjusted[mine].tobytes() == table.matrix(NAMES)[mine].tobytes()
    by_age = adjusted - table.columns["age"][:, None] * fit.coef_
    level = np.array([by_age[table.site == s].mean(axis=0) for s in range(3)])
    assert level[1:] == pytest.approx(np.array([level[0]] * 2), rel=1e-9)
    assert fit.pooled_std_ == pytest.approx(by_age[mine].std(axis=0), rel=1e-9)
    assert ReferenceSquares.risk is Risk.PROFILE


def test_a_reference_that_nobody_is_and_one_that_divides_a_site_are_errors() -> None:
    table = cohort()
    table.columns["first"][:] = 0.0
    with pytest.raises(FedmviError, match="619"):
        fitted(table, (), "first")
    step = fitted(table).step()
    frame = Frame({**table.columns, "half": np.arange(180) % 2.0}, {}, 180)
    with pytest.raises(FedmviError, match="501"):
        replace(step, reference="half").apply(frame)


def test_an_unseen_site_is_harmonised_by_the_frozen_step_alone() -> None:
    table = cohort()
    known = table.site < 2
    seen = Table("made", "made", {k: v[known] for k, v in table.columns.items()}, {}, table.site[known])
    step = fitted(seen).step()
    unseen = Frame({name: values[~known] for name, values in table.columns.items()}, {}, int((~known).sum()))
    after = step.apply(unseen).matrix(NAMES)
    before = unseen.matrix(NAMES)
    far, near = (np.abs(x.mean(axis=0) - step.mean) / step.scale for x in (before, after))
    assert np.all(near < 0.2)
    assert np.all(far > 1.0)


def draws_of_nothing(seed: int, n: int = 60, p: int = 8) -> np.ndarray:
    """(n, p) correlated columns with heavy tails, standardised by what they are drawn from: nothing differs."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_t(8, (n, p)) @ np.linalg.cholesky(np.full((p, p), 0.6) + 0.4 * np.eye(p)).T
    return mixed / np.sqrt(8.0 / 6.0)


def shrunk(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gamma, delta = location_and_scale(values, eb=True, parametric=True, mean_only=False)
    return towards_training(values, gamma, delta)


def test_of_a_hospital_that_took_no_part_and_differs_in_nothing_hardly_anything_is_removed() -> None:
    """Nothing at all in most of them, as the quantile says."""
    left, plain = [], []
    for seed in range(300):
        values = draws_of_nothing(seed)
        left.append(shrunk(values))
        plain.append(location_and_scale(values, eb=True, parametric=True, mean_only=False))
    untouched = np.array([(not gamma.any(), bool(np.all(delta == 1.0))) for gamma, delta in left])
    assert untouched.mean(axis=0) == pytest.approx([0.95, 0.87], abs=0.03)  # tails are heavy, and so are those of scale
    for k, to in ((0, 0.0), (1, 1.0)):
        errors = [np.mean([np.square(one[k] - to).mean() for one in found]) for found in (left, plain)]
        assert errors[0] < 0.1 * errors[1]


def test_of_one_that_differs_by_far_all_but_a_little_is_removed_each_of_location_and_scale_by_itself() -> None:
    for seed in range(20):
        values = draws_of_nothing(seed)
        gamma, delta = location_and_scale(values + 3.0, eb=True, parametric=True, mean_only=False)
        moved, still = towards_training(values + 3.0, gamma, delta)
        assert moved == pytest.approx(gamma, rel=0.02)
        assert np.abs(np.log(still)).max() <= np.abs(np.log(delta)).max()
        gamma, delta = location_and_scale(values * 6.0, eb=True, parametric=True, mean_only=False)
        assert np.log(towards_training(values * 6.0, gamma, delta)[1]) == pytest.approx(np.log(delta), rel=0.1)


def test_shrinking_counts_known_values_only_and_leaves_alone_where_nothing_varies() -> None:
    values = draws_of_nothing(1)
    gapped = np.vstack([values, np.full((7, values.shape[1]), np.nan)])
    for ours, theirs in zip(shrunk(gapped), shrunk(values), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)
    constant = np.full((30, 2), 0.5)
    gamma, delta = location_and_scale(constant, eb=False, parametric=True, mean_only=False)
    assert towards_training(constant, gamma, delta)[0].tolist() == [0.5, 0.5]


def test_hospitals_that_trained_have_plain_combat_and_all_others_what_is_beyond_chance() -> None:
    table = cohort()
    fit = fitted(table)
    plain, told = fit.step(), replace(fit, training="train").step()
    rows = table.site == 1
    frame = Frame({name: values[rows] for name, values in table.columns.items()}, {}, int(rows.sum()))
    usual = plain.apply(frame).matrix(NAMES)
    assert told.apply(replace(frame, cohort="train")).matrix(NAMES).tobytes() == usual.tobytes()
    for name in ("external", ""):  # a centre that the step was fitted without is asked without a name
        other = replace(frame, cohort=name)
        assert told.apply(other).matrix(NAMES).tobytes() != usual.tobytes()
        assert plain.apply(other).matrix(NAMES).tobytes() == usual.tobytes()


def test_fewer_than_twenty_patients_are_refused_and_so_are_twenty_with_a_feature_missing() -> None:
    table = cohort()
    step = fitted(table).step()
    for n, missing in ((19, 0), (20, 1), (0, 0)):
        columns = {name: table.columns[name][:n].copy() for name in NAMES}
        columns["f2"][:missing] = np.nan
        with pytest.raises(FedmviError, match="617") as caught:
            step.apply(Frame(columns, {}, n))
        assert caught.value.facts == {"limit": 20}


def test_missing_values_stay_missing_and_count_in_nothing() -> None:
    table = cohort()
    step = fitted(table).step(eb=False)
    columns = {name: table.columns[name][:60].copy() for name in NAMES}
    columns["f1"][:10] = np.nan
    after = step.apply(Frame(columns, {}, 60)).columns
    rest = step.apply(Frame({name: values[10:] for name, values in columns.items()}, {}, 50)).columns
    assert np.isnan(after["f1"][:10]).all()
    assert after["f1"][10:] == pytest.approx(rest["f1"], rel=1e-12)


def test_gamma_and_delta_come_from_whom_the_hospital_s_groups_say_and_from_no_outcome() -> None:
    """Two groups in one frame: one by itself, the other by patients who are not in the frame."""
    table = cohort()
    step = replace(fitted(table).step(min_patients=10), training="train")
    mine = np.flatnonzero(table.site == 2)
    values = {name: table.columns[name][mine] for name in NAMES}
    stored = {k: Column(v, (), np.zeros(mine.size, dtype=np.int8)) for k, v in values.items()}
    patients = tuple(str(i) for i in range(mine.size))
    site = SiteTable(patients, stored, {"y": np.ones(mine.size)}, {}, ("",) * mine.size)
    trained, asked = np.arange(mine.size) < 20, np.arange(mine.size) % 3 > 0
    select = Select(tuple(CodedColumn(name, name, "linear") for name in NAMES))
    groups = (Scale(trained, trained, "train"), Scale(~trained, ~trained))
    frame = Recipe((select, step)).apply(site, asked, ("y",), None, lambda _: groups, "test")
    for group in groups:
        fitting = Frame({k: v[group.by] for k, v in values.items()}, {}, int(group.by.sum()), cohort=group.cohort)
        alone = step.apply(fitting)
        for name in NAMES:
            assert frame.columns[name][group.rows[asked]] == pytest.approx(
                alone.columns[name][asked[group.rows]], rel=1e-12
            )
    left_out = Recipe((select, Complete(NAMES, ("y",)), step))
    site.endpoints["y"][0] = np.nan
    with pytest.raises(FedmviError, match="501"):
        left_out.apply(site, np.ones_like(asked), ("y",), None, lambda _: groups, "test")


@pytest.mark.parametrize("parametric", [True, False])
def test_estimates_are_shrunk_towards_each_other_and_features_of_one_variance_are_no_division_by_zero(
    parametric: bool,
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(25, 12)) * rng.uniform(0.5, 2, 12) + rng.normal(size=12)
    plain = location_and_scale(values, eb=False, parametric=parametric, mean_only=False)
    shrunk = location_and_scale(values, eb=True, parametric=parametric, mean_only=False)
    for raw, drawn in zip(plain, shrunk, strict=True):
        assert drawn.std() < raw.std()
    alike = np.repeat(rng.normal(size=(25, 1)), 3, axis=1) + np.array([0.0, 1.0, 2.0])
    gamma, delta = location_and_scale(alike, eb=True, parametric=parametric, mean_only=False)
    assert delta == pytest.approx(np.full(3, alike[:, 0].var(ddof=1)), rel=1e-9)
    assert np.isfinite(gamma).all()


def test_the_parametric_estimates_solve_their_two_equations() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(40, 15)) * rng.uniform(0.5, 2, 15) + rng.normal(size=15)
    g, d = location_and_scale(z, eb=True, parametric=True, mean_only=False)
    mean, variance, n = z.mean(axis=0), z.var(axis=0, ddof=1), 40
    m, s2, t2 = variance.mean(), variance.var(ddof=1), mean.var(ddof=1)
    a, b = 2 + m**2 / s2, m + m**3 / s2
    assert g == pytest.approx((t2 * n * mean + d * mean.mean()) / (t2 * n + d), rel=1e-10, abs=1e-12)
    assert d == pytest.approx((0.5 * np.square(z - g).sum(axis=0) + b) / (n / 2 + a - 1), rel=1e-10)


def test_a_single_feature_has_no_prior() -> None:
    with pytest.raises(FedmviError, match="501"):
        location_and_scale(np.ones((30, 1)), eb=True, parametric=True, mean_only=False)


@pytest.mark.parametrize(("covariate", "number"), [("first", 603), ("same", 616)])
def test_covariates_confounded_with_site_or_constant_are_refused(covariate: str, number: int) -> None:
    table = cohort()
    table.columns["same"] = np.ones(180)
    with pytest.raises(FedmviError, match=str(number)):
        fitted(table, (covariate,))


def test_coefficients_of_another_size_are_refused() -> None:
    query = ResidualSquares(COHORT, Recipe(), NAMES, ("age",), np.zeros((1, 4)))
    assert query.consistent()
    assert not replace(query, coefficients=np.zeros((4, 1))).consistent()


def test_the_step_travels() -> None:
    recipe = Recipe((fitted(cohort(), ("age",)).step(),))
    assert isinstance(recipe.steps[0], Combat)
    assert unpack(pack(recipe, Recipe), Recipe) == recipe


def test_a_column_narrower_than_may_be_divided_by_stays_narrow_and_others_are_as_without_it() -> None:
    table = cohort()
    constant = {**table.columns, "f3": np.full(180, 7.0), "f2": 5.0 + 1e-9 * table.columns["f2"]}
    port = federation_of(constant, {}, table.site)
    least = (1e-6,) * 5
    fit = conclude(port, [combat(COHORT, Recipe(), NAMES, ("age",), narrowest=least)])[0]
    assert fit.pooled_std_[2:].tolist() == [1e-6, 1e-6]
    usual = fitted(table, ("age",))
    assert fit.pooled_std_[:2] == pytest.approx(usual.pooled_std_[:2], rel=1e-12)
    assert fit.coef_[:, :2] == pytest.approx(usual.coef_[:, :2], rel=1e-9)
    with pytest.raises(FedmviError, match="616"):
        conclude(port, [combat(COHORT, Recipe(), NAMES, ("age",))])
    rows = {name: values[table.site == 0] for name, values in constant.items()}
    after = fit.step(bounded=True).apply(Frame(rows, {}, rows["age"].size))
    assert np.ptp(after.columns["f3"]) < 1e-9 and after.columns["f3"] == pytest.approx(7.0)
