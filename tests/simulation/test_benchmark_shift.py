"""simulation: shift is made as it is said, acted on by the product's own code, and judged by numbers that can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.stats import binomtest, kurtosis, skew
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from client.imaging.intensity import normalise
from client.imaging.resampling import Grid, resample_image
from common.federation.runner import conclude
from common.study.recipe import Standardise
from simulation.benchmarks.shift import campaign as campaigns
from simulation.benchmarks.shift import showing
from simulation.benchmarks.shift.averaging import (
    FEDAVG,
    FEDPROX,
    LOCAL_EPOCHS,
    OPTIMISERS,
    RATE,
    ROUNDS,
    SCAFFOLD,
    averaged,
)
from simulation.benchmarks.shift.campaign import IDENTICAL, Found, Outcome, one_seed, run_campaign
from simulation.benchmarks.shift.centres import HEART_DISEASE, TCGA_LIHC
from simulation.benchmarks.shift.cohorts import Drawing, draw_alike, draw_target, draw_training, stream
from simulation.benchmarks.shift.detecting import Look, model_of, prior_error
from simulation.benchmarks.shift.figures import Campaign, Share, recovered, upper_bound
from simulation.benchmarks.shift.measurements import FEATURES, measure
from simulation.benchmarks.shift.methods import (
    ACTIONS,
    CEILING,
    COMBAT,
    LOCAL,
    NOTHING,
    POOLED,
    PRIMARY_ACTION,
    area,
    develop,
    developed,
    pooled_area,
    stacked,
)
from simulation.benchmarks.shift.patients import DIFFERENCES, PREVALENCE, draw_patients, true_log_odds
from simulation.benchmarks.shift.pictures import PIXEL_MM, PLAIN, draw_pictures
from simulation.benchmarks.shift.preparation import landmarks, standardised
from simulation.benchmarks.shift.real import each_left_out
from simulation.benchmarks.shift.recalibrating import CLOSED, FEW, INTERCEPT, MANY, Recalibrated, logit, recalibrated
from simulation.benchmarks.shift.scenarios import (
    EVALUATION_SEED,
    JUDGED_SCENARIOS,
    NONE,
    PRIMARY,
    SEVERITIES,
    SPACING_MM,
    TUNING_SEEDS,
    USUAL,
    Scanner,
)
from simulation.benchmarks.shift.sites import CALIBRATION, HERE, TEST, TRAIN, Hospital, port_to
from simulation.benchmarks.shift.targets import Target
from simulation.cli import app
from simulation.exactness.measuring import Absent, public_data

SMALL = Drawing(tested=300, calibrations=1, looks=1, kinds=("none", "appearance", "tiny"))
APPEARANCE = next(scenario for scenario in JUDGED_SCENARIOS if scenario.name == PRIMARY)


drawn_training = cache(draw_training)


# --------------------------------------------------------------------------------------------- what is made


def test_label_shift_changes_how_many_have_mvi_and_nothing_else() -> None:
    patients = draw_patients(40_000, np.random.default_rng(1), prevalence=0.65)
    assert patients.mvi.mean() == pytest.approx(0.65, abs=0.01)
    for y in (0.0, 1.0):
        of_class = patients.traits[patients.mvi == y]
        assert of_class.mean(axis=0) == pytest.approx((y - PREVALENCE) * DIFFERENCES, abs=0.03)
        assert of_class.std(axis=0) == pytest.approx(np.ones(len(DIFFERENCES)), abs=0.02)


def test_concept_shift_changes_what_traits_mean_and_neither_traits_nor_prevalence() -> None:
    usual = draw_patients(40_000, np.random.default_rng(1))
    other = draw_patients(40_000, np.random.default_rng(1), relation=(1.0, 0.0, -0.5, 1.0, 1.0))
    assert np.array_equal(usual.traits, other.traits), "no picture can tell them apart"
    assert other.mvi.mean() == pytest.approx(PREVALENCE, abs=0.01)
    apart = [p.traits[p.mvi == 1].mean(axis=0) - p.traits[p.mvi == 0].mean(axis=0) for p in (usual, other)]
    assert apart[0] == pytest.approx(DIFFERENCES, abs=0.04)
    assert apart[1][1] < 0.5 * apart[0][1] and apart[1][2] < 0.0


def test_the_best_of_all_models_is_calibrated() -> None:
    patients = draw_patients(100_000, np.random.default_rng(2))
    risk = 1.0 / (1.0 + np.exp(-true_log_odds(patients.traits)))
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        rows = (risk >= low) & (risk < high)
        assert patients.mvi[rows].mean() == pytest.approx(risk[rows].mean(), abs=0.02)


def test_gain_and_offset_act_on_every_pixel_and_ratios_of_regions_forget_the_gain() -> None:
    patients = draw_patients(30, np.random.default_rng(3))
    usual, shifted, louder = (
        draw_pictures(patients, scanner, np.random.default_rng(4))
        for scanner in (USUAL, replace(USUAL, gain=2.5, offset=40.0), replace(USUAL, gain=2.5))
    )
    for phase, images in usual.phases.items():
        assert np.allclose(shifted.phases[phase], 2.5 * images + 40.0, rtol=1e-5, atol=1e-2)
    assert np.array_equal(usual.core, shifted.core)
    before, after = measure(usual, patients, 10.0), measure(louder, patients, 25.0)
    for name in FEATURES:
        factor = 1.0 if any(word in name for word in ("/", "skewness", "entropy", "contrast", "log(")) else 2.5
        assert after[name] == pytest.approx(factor * before[name], rel=2e-3, abs=2e-2), name


def test_features_are_those_of_a_library_patient_by_patient() -> None:
    patients = draw_patients(12, np.random.default_rng(5))
    pictures = draw_pictures(patients, USUAL, np.random.default_rng(6))
    found = measure(pictures, patients, 10.0)
    for i in range(patients.n):
        core = pictures.phases["t1a"][i][pictures.core[i]].astype(np.float64)
        assert found["t1a.core.mean"][i] == pytest.approx(core.mean(), rel=1e-6)
        assert found["t1a.core.std"][i] == pytest.approx(core.std(), rel=1e-5)
        assert found["t1a.core.skewness"][i] == pytest.approx(skew(core), rel=1e-3, abs=1e-4)
        assert not np.isnan(kurtosis(core)), "the core has enough pixels"
        share = np.unique(np.floor(core / 10.0), return_counts=True)[1] / core.size
        assert found["t1a.core.entropy"][i] == pytest.approx(-np.sum(share * np.log2(share)), rel=1e-9)
        level = np.floor(pictures.phases["t1a"][i] / 10.0)
        inside = pictures.core[i]
        squares = [
            (level[r, c] - level[r + dr, c + dc]) ** 2
            for r, c in np.argwhere(inside)
            for dr, dc in ((1, 0), (0, 1))
            if r + dr < inside.shape[0] and c + dc < inside.shape[1] and inside[r + dr, c + dc]
        ]
        assert found["t1a.core.contrast"][i] == pytest.approx(np.mean(squares), rel=1e-6)


def test_a_bias_field_noise_and_blur_do_what_they_are_called() -> None:
    patients = draw_patients(60, np.random.default_rng(7))

    def plain(scanner: Scanner) -> np.ndarray:
        return draw_pictures(patients, scanner, np.random.default_rng(8)).phases[PLAIN].astype(np.float64)

    usual = plain(USUAL)
    ratio = (plain(replace(USUAL, bias=0.3)) / usual).mean(axis=0)
    assert ratio[0].mean() > 1.2 and ratio[-1].mean() < 0.85, "bright in front, dark behind"
    rough = [np.abs(np.diff(image, axis=2)).mean() for image in (usual, plain(replace(USUAL, noise=2.5)))]
    assert rough[1] > 1.7 * rough[0]
    quiet = [plain(replace(USUAL, noise=0.0, blur_mm=blur)) for blur in (0.0, 5.0)]
    steepest = [np.percentile(np.abs(np.diff(image, axis=2)), 95) for image in quiet]
    assert steepest[1] < 0.8 * steepest[0]


@pytest.mark.parametrize("spacing_mm", SPACING_MM)
def test_wider_pixels_are_means_and_come_back_to_the_grid_as_a_hospital_resamples(spacing_mm: float) -> None:
    patients = draw_patients(6, np.random.default_rng(9))
    narrow, wide = (
        draw_pictures(patients, replace(USUAL, spacing_mm=at), np.random.default_rng(10)) for at in (0.0, spacing_mm)
    )
    of, width = np.arange(40 * 7) // 7, int(2 * spacing_mm)  # half millimetres, by the pixel that they lie in
    parts = [of[at : at + width] for at in range(0, of.size - width // 2, width)]
    for before, after in zip(narrow.phases[PLAIN], wide.phases[PLAIN], strict=True):
        rows = np.array([before[part].mean(axis=0) for part in parts])
        image = sitk.GetImageFromArray(np.array([rows[:, part].mean(axis=1) for part in parts]).T[np.newaxis])
        image.SetSpacing((spacing_mm, spacing_mm, 1.0))
        image.SetOrigin((0.5 * spacing_mm, 0.5 * spacing_mm, 0.0))
        grid = Grid((40, 40, 1), (PIXEL_MM, PIXEL_MM, 1.0), (0.5 * PIXEL_MM, 0.5 * PIXEL_MM, 0.0), image.GetDirection())
        theirs = sitk.GetArrayFromImage(resample_image(image, grid, "b-spline"))[0]
        # At the border a spline is continued in one way or another; nothing lies there but fat.
        assert np.allclose(after[6:34, 6:34], theirs[6:34, 6:34], atol=1.0)
        assert np.abs(np.diff(after)).mean() < 0.8 * np.abs(np.diff(before)).mean()


def test_a_late_arterial_phase_shows_in_the_arterial_phase_only() -> None:
    patients = draw_patients(60, np.random.default_rng(9))
    on_time, late = (draw_pictures(patients, replace(USUAL, late=at), np.random.default_rng(10)) for at in (0.0, 1.0))
    assert np.array_equal(on_time.phases[PLAIN], late.phases[PLAIN])
    before, after = measure(on_time, patients, 10.0), measure(late, patients, 10.0)
    assert after["t1a.liver.mean"].mean() > before["t1a.liver.mean"].mean() + 5.0
    assert after["t1a.core/liver"].mean() < before["t1a.core/liver"].mean() - 0.05


# ------------------------------------------------------------------------------------------- what is done about it


def test_intensities_are_standardised_as_a_hospital_does_it() -> None:
    trained = drawn_training(9002)
    draw = stream(9001, "a test")
    patients = draw_patients(20, draw)
    pictures = draw_pictures(patients, APPEARANCE.scanner, draw)
    ours = standardised(pictures, trained.scale)
    for phase, images in pictures.phases.items():
        for image, mapped in zip(images, ours.phases[phase], strict=True):
            body = sitk.GetImageFromArray(np.ones((1, *image.shape), dtype=np.uint8))
            theirs = normalise(sitk.GetImageFromArray(image[np.newaxis]), phase, body, trained.scale)
            assert np.allclose(sitk.GetArrayFromImage(theirs)[0], mapped, atol=1e-3)
    # Landmarks do not see gain and offset: that is what makes them a scale.
    usual, shifted = (
        landmarks(draw_pictures(patients, scanner, np.random.default_rng(1)))
        for scanner in (USUAL, replace(USUAL, gain=4.0, offset=60.0))
    )
    for name, column in usual.items():
        assert shifted[name] == pytest.approx(column, abs=0.02)


def test_the_federated_model_is_the_pooled_one_and_actions_never_see_an_outcome_of_the_target() -> None:
    trained = drawn_training(9002)
    target = draw_target(9002, APPEARANCE, {TEST: 400, HERE: 60}, trained.scale)
    train = {name: Hospital({TRAIN: frame}) for name, frame in trained.frames.items()}
    port = port_to({**train, "target": Hospital(target)})
    models = develop(port, trained.frames)
    areas = {name: area(port, model) for name, model in models.items()}
    linear = models[NOTHING].score.linear_predictor(target[TEST])
    pooled = pooled_area(stacked(trained.frames), target[TEST])
    assert roc_auc_score(target[TEST].endpoints["mvi"], linear) == pytest.approx(pooled, abs=1e-4)
    # A score has four decimals: where it is nearly 0 or 1 it is tied.
    assert areas[NOTHING] == pytest.approx(pooled, abs=0.02)
    blind = replace(target[HERE], endpoints={"mvi": 1.0 - target[HERE].endpoints["mvi"]})
    other = port_to({**train, "target": Hospital({**target, HERE: blind})})
    for action in ACTIONS:
        (again,) = conclude(other, [developed(action)])
        assert area(other, again) == areas[action]
    # Other patients without outcomes do change ComBat at the target.
    fewer = port_to({**train, "target": Hospital({**target, HERE: target[HERE].keep(np.arange(60) < 30)})})
    assert area(fewer, models[COMBAT]) != areas[COMBAT]
    assert areas[FEDAVG] != areas[NOTHING]


def test_federated_optimisers_follow_the_pooled_descent_scaffold_more_closely() -> None:
    trained = drawn_training(9002)
    # Hospitals of unlike sizes and patients, so that each one's own steps lead elsewhere.
    frames = {name: frame.keep(np.argsort(frame.columns["log(afp)"]) < 75) for name, frame in trained.frames.items()}
    frames["hospital-1"] = trained.frames["hospital-1"]
    whole = stacked(frames)
    columns = whole.matrix(FEATURES)
    scale = Standardise(FEATURES, tuple(columns.mean(axis=0)), tuple(columns.std(axis=0)))
    design = np.column_stack([np.ones(whole.n), (columns - columns.mean(axis=0)) / columns.std(axis=0)])
    weights = np.zeros(design.shape[1])
    for _ in range(ROUNDS * LOCAL_EPOCHS):
        weights += RATE * design.T @ (whole.endpoints["mvi"] - 1.0 / (1.0 + np.exp(-design @ weights))) / whole.n
    apart = {}
    for name in OPTIMISERS:
        score = averaged(name, frames, scale).score
        apart[name] = np.linalg.norm(np.array([score.intercept, *score.coefficients]) - weights)
    assert apart[SCAFFOLD] < 0.5 * apart[FEDAVG]
    assert apart[FEDPROX] != apart[FEDAVG] and apart[FEDPROX] == pytest.approx(apart[FEDAVG], rel=0.1)


def test_prior_and_intercept_bring_the_mean_risk_to_what_is_seen_where_only_frequencies_differ() -> None:
    label = next(scenario for scenario in SEVERITIES if scenario.name == "label-3")
    scale = drawn_training(9002).scale
    alike = draw_alike(9002, 0, scale)
    model = model_of(alike.frames)
    target = draw_target(9002, label, {TEST: 3000, CALIBRATION: 300}, scale)
    reference = float(stacked(alike.frames).endpoints["mvi"].mean())
    true = float(target[TEST].endpoints["mvi"].mean())
    before, after = prior_error(model, target[TEST], Look("label", (), reference, true, "label"))
    assert before > 0.8 and after < 0.35 * before, "what is left is the model's own overfitting"
    assert prior_error(model, target[TEST], Look("label", (), reference, None, "label")) is None
    assert prior_error(model, target[TEST], Look("label", (), reference, 1.0, "label")) is None, "no log odds"
    # The maximum-likelihood intercept makes the mean risk of those that it is fitted on the share that is seen.
    same = Hospital({TEST: target[CALIBRATION], CALIBRATION: target[CALIBRATION]})
    closed, intercept = recalibrated(NOTHING, model, same, (CLOSED, INTERCEPT), slopes=True)
    assert intercept.method == "intercept" and intercept.error[1] < 1e-8 < intercept.error[0]
    assert intercept.slope[0] == pytest.approx(intercept.slope[1], abs=1e-6), "an intercept leaves the slope"
    assert closed.method != "none" and closed.error[0] == intercept.error[0]
    few = target[CALIBRATION].keep(np.arange(300) < 2)
    (refused,) = recalibrated(NOTHING, model, Hospital({**same.cohorts, CALIBRATION: few}), (INTERCEPT,), slopes=False)
    assert few.endpoints["mvi"].min() == few.endpoints["mvi"].max() and refused.method.startswith("error ")
    assert refused.error[0] == refused.error[1], "risks stay as they are"


def test_a_small_campaign_repeats_itself_and_says_what_was_refused() -> None:
    told: list[int] = []
    found = run_campaign([9003], SMALL, 1, lambda one: told.append(one.seed))
    assert told == [9003] and found[0].error == ""
    report = Campaign(found, SMALL).report()
    showing.show_campaign(Campaign(found, SMALL))
    json.dumps(report, allow_nan=False)
    assert report["refused"]["tiny"] == {"combat": 617, "together": 617}
    assert report["areas"]["tiny"]["combat"] is None and report["areas"]["tiny"]["none"] is not None
    areas = {method: row["mean"] for method, row in report["areas"][PRIMARY].items()}
    assert areas[CEILING] > 0.7 and areas[NOTHING] == pytest.approx(areas[POOLED], abs=0.02)
    assert report["detection"][PRIMARY]["power"]["of"] == report["detection"]["false_alarms"]["of"] == 1
    assert report["detection"][PRIMARY]["power"]["times"] == 1, "a gain of 2.5 is seen in 100 patients"
    assert report["recalibration"][PRIMARY]["300"][CLOSED]["draws"] == 1
    assert report["recalibration"][PRIMARY]["30"][INTERCEPT]["draws"] == 10
    again = one_seed(9003, replace(SMALL, kinds=("none",)))
    assert again.outcomes[NONE.name] == found[0].outcomes[NONE.name], "the same seed, the same numbers"
    other = one_seed(9004, replace(SMALL, kinds=("none",)))
    assert other.outcomes[NONE.name] != found[0].outcomes[NONE.name]


def test_an_error_of_the_product_stops_a_seed_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from common.errors import FedmviError

    def failing(*_: object) -> None:
        raise FedmviError(601, cohort="train")

    monkeypatch.setattr(campaigns, "develop", failing)
    campaign = Campaign((one_seed(9005, SMALL),), SMALL)
    report = campaign.report()
    assert not campaign.passed and list(report["errors"]) == [9005] and report["pass"] is False
    json.dumps(report, allow_nan=False)


# --------------------------------------------------------------------------------------------------- how it is judged


def test_what_is_recovered_is_a_ratio_of_means_with_limits_over_seeds() -> None:
    draw = np.random.default_rng(11)
    none = 0.70 + 0.02 * draw.standard_normal(40)
    ceiling = none + 0.10 + 0.01 * draw.standard_normal(40)
    action = none + 0.075 + 0.01 * draw.standard_normal(40)
    found = recovered(action, none, ceiling)
    assert found.fraction == pytest.approx((action - none).mean() / (ceiling - none).mean())
    assert found.low is not None and found.high is not None and found.low < 0.75 < found.high
    # The delta method agrees on the width.
    residual = (action - none) - found.fraction * (ceiling - none)
    half = 1.96 * residual.std(ddof=1) / np.sqrt(40) / (ceiling - none).mean()
    assert found.high - found.low == pytest.approx(2.0 * half, rel=0.15)
    assert recovered(action, none, none + 0.029).fraction is None, "nothing to recover"


def test_the_cost_without_shift_is_a_one_sided_bound() -> None:
    losses = np.array([0.001, -0.002, 0.004, 0.0, 0.002])
    # Student's t at 0.95 with 4 degrees of freedom: 2.131847.
    assert upper_bound(losses) == pytest.approx(losses.mean() + 2.131847 * losses.std(ddof=1) / np.sqrt(5), rel=1e-6)
    assert upper_bound(losses[:1]) is None


@pytest.mark.parametrize(
    ("target", "met", "missed_by"),
    [
        (Target("", 0.7, 0.7), True, None),
        (Target("", 0.65, 0.7), False, 0.05),
        (Target("", 0.004, 0.005, least=False), True, None),
        (Target("", 0.007, 0.005, least=False), False, 0.002),
        (Target("", None, 0.7), False, None),
    ],
)
def test_a_target_is_met_or_missed_by_so_much(target: Target, met: bool, missed_by: float | None) -> None:
    assert target.met is met and target.missed_by == (None if missed_by is None else pytest.approx(missed_by))


def drawn(seed: int, *, gain: float, seen: bool, alarms: tuple[str, ...] = (), after: float = 0.1) -> Found:
    """A seed whose action regains `gain` of 0.1."""
    verdict = "several" if seen else "none-detected"
    look = Look(verdict, (), 0.4, None, verdict)
    corrections = [
        Recalibrated(NOTHING, MANY, CLOSED, "slope", (0.5, 0.1), (0.3, 1.1 if after < 0.3 else 0.5)),
        Recalibrated(NOTHING, FEW, INTERCEPT, "intercept", (0.5, after), (None, None)),
    ]
    wobble = 0.001 * (seed % 3)
    others = {NOTHING: 0.7, POOLED: 0.7, LOCAL: 0.75, CEILING: 0.8}
    areas = dict.fromkeys((*ACTIONS, *OPTIMISERS), 0.7 + gain + wobble) | others
    flat = dict.fromkeys(areas, 0.8)
    return Found(seed, {
        NONE.name: Outcome(areas=flat),
        "label-2": Outcome(areas=flat, looks=[look]),
        PRIMARY: Outcome(areas=areas, recalibrations=corrections, looks=[look]),
        IDENTICAL: Outcome(looks=[Look("none-detected", alarms, 0.4, None, "none-detected")]),
    })  # fmt: skip


def test_a_good_campaign_meets_every_target_and_a_bad_one_says_which_it_misses() -> None:
    good = Campaign(tuple(drawn(seed, gain=0.08, seen=True) for seed in range(30)), Drawing())
    assert good.passed, good.report()["targets"]
    assert good.report()["recovered_unlabelled"]["fraction"] == pytest.approx(0.81)
    assert good.report()["no_shift_cost"] == pytest.approx(0.0, abs=1e-12)
    bad = [drawn(seed, gain=0.0, seen=False, alarms=("hospital-1",), after=0.4) for seed in range(30)]
    missed = [target.name for target in Campaign(tuple(bad), Drawing()).targets if not target.met]
    assert missed == [target.name for target in good.targets if "without shift" not in target.name]
    failed = Campaign((*good.found, Found(31, error="FEDMVI-601")), Drawing())
    assert not failed.passed and failed.report()["errors"] == {31: "FEDMVI-601"}
    assert good.recovered(PRIMARY, PRIMARY_ACTION) == good.recovered(PRIMARY, FEDAVG)


def test_false_alarms_fail_a_campaign_only_beyond_chance() -> None:
    def alarmed(times: int) -> Campaign:
        found = [drawn(seed, gain=0.08, seen=True, alarms=("x",) if seed < times else ()) for seed in range(60)]
        return Campaign(tuple(found), Drawing())

    assert alarmed(4).passed and not alarmed(9).passed


def test_shares_of_draws_that_are_not_alike_have_clopper_and_pearsons_limits() -> None:
    rng = np.random.default_rng(4)
    one_each = Share.of([[bool(rng.random() < 0.3)] for _ in range(60)])
    limits = binomtest(one_each.times, 60).proportion_ci()
    told = one_each.report()
    # The design effect of draws that stand by themselves is 60/59.
    assert (told["low"], told["high"]) == pytest.approx((limits.low, limits.high), abs=0.002)
    assert Share(((0, 2),) * 30).report()["high"] == pytest.approx(1.0 - 0.025 ** (1 / 30)), "a seed counts once"
    assert Share(()).report()["share"] is None
    assert logit(0.5) == 0.0 and np.isfinite(logit(0.0)) and np.isfinite(logit(1.0))


def test_limits_of_shares_hold_where_draws_of_a_seed_are_alike() -> None:
    """Thirty seeds of ten draws; a seed's own frequency is beta distributed with mean 0.7 and correlation 0.3."""
    rng, held, naive = np.random.default_rng(5), 0, 0
    for _ in range(1000):
        times = rng.binomial(10, rng.beta(0.7 * 7 / 3, 0.3 * 7 / 3, 30))
        told = Share(tuple((int(k), 10) for k in times)).report()
        held += told["low"] <= 0.7 <= told["high"]
        limits = binomtest(int(times.sum()), 300).proportion_ci()
        naive += limits.low <= 0.7 <= limits.high
    assert held >= 940 and naive < 850


def test_seeds_that_are_evaluated_were_not_tuned_on() -> None:
    assert not set(TUNING_SEEDS) & set(range(EVALUATION_SEED, EVALUATION_SEED + 1000))


# ---------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(("gain", "seen", "code"), [(0.08, True, 0), (0.0, False, 1)])
def test_the_command_prints_what_was_measured_and_ends_with_1_where_a_target_is_missed(
    monkeypatch: pytest.MonkeyPatch, gain: float, seen: bool, code: int
) -> None:
    def instead(seeds: range, *_: object) -> tuple[Found, ...]:
        return tuple(drawn(seed, gain=gain, seen=seen) for seed in seeds)

    monkeypatch.setattr(campaigns, "run_campaign", instead)
    printed = CliRunner().invoke(app, ["benchmark", "shift"])
    assert printed.exit_code == code, printed.output
    assert ("missed by" in printed.output) is bool(code) and PRIMARY in printed.output
    told = CliRunner().invoke(app, ["benchmark", "shift", "--seeds", "7", "--first", "3", "--json"])
    report = json.loads(told.output)
    assert told.exit_code == code and report["pass"] is not bool(code) and report["seeds"] == list(range(3, 10))
    assert report["recovered_unlabelled"]["fraction"] == pytest.approx(gain / 0.1 + 0.01, abs=0.002)


def test_the_command_refuses_a_kind_of_shift_that_there_is_not() -> None:
    result = CliRunner().invoke(app, ["benchmark", "shift", "--kind", "gravity"])
    assert result.exception is not None and getattr(result.exception, "number", None) == 828


def test_four_real_centres_are_left_out_in_turn() -> None:
    try:
        public_data("heart_disease_4centres")
    except Absent as absent:
        pytest.skip(str(absent))
    report = each_left_out(HEART_DISEASE).report()
    assert {name: (c["n"], c["events"]) for name, c in report["centres"].items()} == {
        "cleveland": (303, 139), "hungarian": (294, 106), "switzerland": (123, 115), "va": (200, 149)
    }  # fmt: skip
    for centre in report["centres"].values():
        assert centre["coefficients_apart"] < 1e-5, "federated and pooled are one model"
        areas = {name: row["auc"] for name, row in centre["areas"].items()}
        assert areas[NOTHING] == pytest.approx(areas[POOLED], abs=2e-3), "scores have four decimals"
    assert report["worst_auc"][NOTHING] < report["mean_auc"][NOTHING]
    json.dumps(report, allow_nan=False)


def test_the_centres_of_tcga_are_left_out_in_turn_the_small_ones_in_groups() -> None:
    try:
        public_data("tcga_lihc")
    except Absent as absent:
        pytest.skip(str(absent))
    report = each_left_out(TCGA_LIHC).report()
    centres = {name: (c["n"], c["events"]) for name, c in report["centres"].items()}
    assert (centres["DD"], centres["G3"]) == ((141, 31), (29, 8))
    assert sum(n for n, _ in centres.values()) == 304 and sum(events for _, events in centres.values()) == 94
    for name, centre in report["centres"].items():
        areas = {method: row["auc"] for method, row in centre["areas"].items()}
        assert areas[NOTHING] == pytest.approx(areas[POOLED], abs=0.01), (
            "scores have four decimals, centres 26 patients"
        )
        assert bool(centre["recalibration"]) is (name == "DD"), "30 of 29 patients leave nobody to look at"
    json.dumps(report, allow_nan=False)
