"""common/statistics: hospitals that differ are found, and only those; what is told of each is that of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from common.federation.query import each, total
from common.federation.runner import Conclusion, conclude
from common.statistics.confusion import HUNDREDTHS, ThresholdCounts
from common.statistics.label_shift import Classes, estimated_prevalence, label_shift
from common.statistics.max_t import max_t
from common.statistics.score_shift import (
    Expected,
    ScoreMoments,
    ScoreShiftAlone,
    expected_elsewhere,
    line_covariance,
    line_elsewhere,
    line_together,
    middle_of,
    out_of_fold,
    reference_of,
    score_shift,
    shrinkage,
)
from common.statistics.shift_detection import Compared, Detection, _covariance, _Told
from common.statistics.shift_verdict import Verdict, with_outcomes, without_outcomes
from common.statistics.site_profile import EDGES
from common.study.recipe import Frame, Recipe, logistic_function
from simulation.shift_views import detect_in_process, port_of

COLUMNS = tuple(f"x{i}" for i in range(8))
NUMBERS = COLUMNS[:5]
SIZES = (60, 120, 220, 200)


@dataclass(frozen=True)
class Drawn:
    """How the patients of a hospital are drawn; x2 is skewed, x5 to x7 are levels."""

    prevalence: float = 0.4
    moved: float = 0.0
    gain: float = 1.0
    separation: float = 0.8
    concept: bool = False

    def frame(self, rng: np.random.Generator, n: int) -> Frame:
        y = (rng.random(n) < self.prevalence).astype(float)
        z = rng.normal(size=(n, 8))
        z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
        along = z.copy()
        along[:, :4] += self.separation * y[:, np.newaxis]
        along[:, 5] += self.separation * y
        if self.concept:
            along = along[:, [4, 3, 2, 1, 0, 5, 6, 7]]
        x = along.copy()
        x[:, 2] = np.exp(along[:, 2] / 2.0)
        x[:, 5:] = (along[:, 5:] > np.array([0.3, 0.6, 1.0])).astype(float)
        x[:, 0] = self.gain * x[:, 0] + self.moved
        columns = {name: x[:, i] for i, name in enumerate(COLUMNS)}
        return Frame(columns, {"y": y}, n, rng.integers(0, 2**63, n).astype(np.uint64))


def fit(frames: list[Frame]) -> tuple[float, tuple[float, ...]]:
    x, y = np.vstack([f.matrix(COLUMNS) for f in frames]), np.concatenate([f.endpoints["y"] for f in frames])
    model = LogisticRegression(C=1e6, max_iter=2000).fit(x, y)
    return float(model.intercept_[0]), tuple(model.coef_[0].tolist())


def detect(
    rng: np.random.Generator, target: Drawn, n: int = 100, *, deals: int = 199, sizes: tuple[int, ...] = SIZES
) -> tuple[Detection, dict[str, Frame], Frame]:
    train = {f"s{k}": Drawn().frame(rng, size) for k, size in enumerate(sizes)}
    other = target.frame(rng, n)
    intercept, coefficients = fit(list(train.values()))
    found = detect_in_process(
        train, {"external": {"t": other}}, "y", COLUMNS, NUMBERS, intercept, coefficients, deals=deals
    )
    return found, train, other


@pytest.fixture(scope="module")
def one() -> tuple[Detection, dict[str, Frame], Frame]:
    return detect(np.random.default_rng(3), Drawn(moved=0.8, gain=1.5), 100)


def rows(frames: list[Frame]) -> np.ndarray:
    return np.vstack([frame.matrix(COLUMNS) for frame in frames])


@pytest.mark.parametrize("site", ["t", "s0", "s2"])
def test_standardised_differences_are_those_of_the_rows(
    one: tuple[Detection, dict[str, Frame], Frame], site: str
) -> None:
    found, train, other = one
    whole = rows(list(train.values()))
    scale, centre = whole.std(axis=0, ddof=1), whole.mean(axis=0)
    own = other.matrix(COLUMNS) if site == "t" else train[site].matrix(COLUMNS)
    rest = whole if site == "t" else rows([f for name, f in train.items() if name != site])
    told = found.of("external" if site == "t" else "train", site)
    assert (told.n_, told.others_) == (len(own), len(rest))
    assert told.difference_ == pytest.approx((own.mean(axis=0) - rest.mean(axis=0)) / scale, abs=1e-9)
    errors = np.sqrt(((own - centre) / scale).var(axis=0, ddof=1) / len(own) + 1.0 / len(rest))
    assert told.std_err_ == pytest.approx(errors, rel=1e-9)
    z, others = (own - centre) / scale, (rest - centre) / scale
    distances = [
        np.abs((z[:, [j]] < EDGES).mean(axis=0) - (others[:, [j]] < EDGES).mean(axis=0)).max() for j in range(5)
    ]
    assert told.distance_ is not None
    # Bins with few patients are not shown, and neither are their edges.
    bins = [np.bincount(np.searchsorted(EDGES, z[:, j], "right"), minlength=10).min() for j in range(5)]
    for j in range(5):
        assert told.distance_[j] <= distances[j] + 1e-12
        assert bins[j] < 5 or told.distance_[j] == pytest.approx(distances[j], abs=1e-12)
    assert site == "s0" or max(bins) >= 5
    exact = [stats.ks_2samp(own[:, j], rest[:, j]).statistic for j in range(5)]
    assert (told.distance_ <= np.array(exact) + 1e-12).all()


def test_the_summary_has_a_row_for_each_hospital_and_column(one: tuple[Detection, dict[str, Frame], Frame]) -> None:
    rows_ = one[0].summary
    assert len(rows_) == 5 * len(COLUMNS)
    told = one[0].of("external", "t")
    assert told.difference_ is not None
    row = next(r for r in rows_ if (r["site"], r["column"]) == ("t", "x0"))
    assert row["difference"] == told.difference_[0]
    assert row["verdict"] == told.verdict.value


def test_a_moved_column_is_named_and_others_are_not(one: tuple[Detection, dict[str, Frame], Frame]) -> None:
    told = one[0].of("external", "t")
    assert told.verdict in (Verdict.COVARIATE, Verdict.SEVERAL)
    assert told.difference_p_ is not None
    assert told.difference_p_[0] <= 0.05
    assert (told.difference_p_[2:] > 0.05).all()
    assert told.area_ is not None
    assert 0.55 < told.area_[1] <= told.area_[0] <= told.area_[2]


def test_the_two_sample_area_is_that_of_a_discriminant_on_the_rows() -> None:
    rng = np.random.default_rng(11)
    found, train, other = detect(rng, Drawn(moved=1.0), 300, sizes=(300, 300, 400))
    fresh, more = rows([Drawn().frame(rng, 20_000)]), Drawn(moved=1.0).frame(rng, 20_000).matrix(COLUMNS)
    x = np.vstack([rows(list(train.values())), other.matrix(COLUMNS)])
    side = np.repeat([0, 1], [1000, 300])
    line = LogisticRegression(C=1e6, max_iter=2000).fit(x, side).coef_[0]
    expected = stats.mannwhitneyu(more @ line, fresh @ line).statistic / 20_000**2
    told = found.of("external", "t").area_
    assert told is not None
    assert told[0] == pytest.approx(expected, abs=0.04)
    assert told[1] < expected < told[2]


def test_family_wise_errors_are_as_rare_as_promised() -> None:
    """Of 100 federations of four uneven hospitals and a small fifth without any difference; skewed and rare columns."""
    false = 0
    for seed in range(100):
        found = detect(np.random.default_rng([seed, 9]), Drawn(), 45, deals=99)[0]
        false += any(one.smallest_p is not None and one.smallest_p <= 0.05 for one in found.sites_)
    assert stats.binomtest(false, 100, 0.05).pvalue > 0.005, false


def test_training_hospitals_that_differ_do_not_make_chance_look_smaller() -> None:
    """What hospitals differ by is in no deal inside them: it must not be in the spread that deals are measured by."""
    rng = np.random.default_rng(17)
    train = {f"s{k}": Drawn().frame(rng, 150) for k in range(4)}
    formula = fit(list(train.values()))
    alike = detect_in_process(train, {}, "y", COLUMNS, NUMBERS, *formula).critical_
    for name in ("s0", "s1"):
        for column in NUMBERS:
            train[name].columns[column][:] += 3.0  # type: ignore[index]
    apart = detect_in_process(train, {}, "y", COLUMNS, NUMBERS, *formula).critical_
    assert apart > 0.85 * alike > 2.5


def verdicts(target: Drawn, n: int, draws: int = 20) -> list[Verdict]:
    return [
        detect(np.random.default_rng([seed, 4]), target, n, deals=99)[0].of("external", "t").verdict
        for seed in range(draws)
    ]


def test_another_frequency_is_called_label_shift() -> None:
    told = verdicts(Drawn(prevalence=0.75), 300)
    assert told.count(Verdict.LABEL) >= 15, told
    assert Verdict.CONCEPT not in told


def test_moved_examinations_are_called_covariate_shift_or_several() -> None:
    told = verdicts(Drawn(moved=0.8), 150)
    assert told.count(Verdict.COVARIATE) + told.count(Verdict.SEVERAL) >= 18, told


def test_another_spread_alone_is_found_in_the_histograms() -> None:
    found = detect(np.random.default_rng(2), Drawn(gain=0.3), 200)[0].of("external", "t")
    assert found.distance_p_ is not None
    assert found.distance_p_[0] <= 0.05
    assert found.verdict is not Verdict.NONE_DETECTED


def test_the_estimated_frequency_covers_the_true_one_under_label_shift() -> None:
    inside = 0
    for seed in range(40):
        told = detect(np.random.default_rng([seed, 5]), Drawn(prevalence=0.65), 120, deals=9)[0].of("external", "t")
        assert told.prevalence_ is not None
        inside += told.prevalence_.low_ <= 0.65 <= told.prevalence_.high_
    assert stats.binomtest(inside, 40, 0.95).pvalue > 0.001, inside


def test_what_is_called_detectable_is_detected_in_four_of_five() -> None:
    rng = np.random.default_rng(8)
    size = detect(rng, Drawn(), 80)[0].of("external", "t").smallest_detectable_
    assert size is not None
    # x4 has nothing to do with the outcome; another column moves by as much as is called detectable.
    hits = 0
    for seed in range(40):
        own = np.random.default_rng([seed, 6])
        train = {f"s{k}": Drawn().frame(own, n) for k, n in enumerate(SIZES)}
        other = Drawn().frame(own, 80)
        other.columns["x4"][:] += size  # type: ignore[index]
        formula = fit(list(train.values()))
        found = detect_in_process(train, {"external": {"t": other}}, "y", COLUMNS, NUMBERS, *formula, deals=99)
        p = found.of("external", "t").difference_p_
        hits += p is not None and p[4] <= 0.05
    assert stats.binomtest(hits, 40, 0.8).pvalue > 0.005, hits


def test_the_frequency_that_is_called_detectable_is_detected_in_four_of_five() -> None:
    sizes = [
        detect(np.random.default_rng([seed, 9]), Drawn(), 120, deals=99)[0].of("external", "t") for seed in range(5)
    ]
    size = float(np.median([one.smallest_frequency_ or np.nan for one in sizes]))
    assert 0.1 < size < 0.5
    hits = 0
    for seed in range(40):
        own = np.random.default_rng([seed, 10])
        found = detect(own, Drawn(prevalence=0.4 + size), 120, deals=99)[0].of("external", "t")
        hits += found.score_p_ is not None and found.score_p_ <= 0.05
    assert stats.binomtest(hits, 40, 0.8).pvalue > 0.005, (size, hits)


def test_a_small_hospital_cannot_be_told_and_others_go_on() -> None:
    rng = np.random.default_rng(1)
    train = {f"s{k}": Drawn().frame(rng, n) for k, n in enumerate((15, 120, 150, 100))}
    formula = fit(list(train.values()))
    found = detect_in_process(train, {"e": {"t": Drawn(moved=2.0).frame(rng, 60)}}, "y", COLUMNS, NUMBERS, *formula)
    small = found.of("train", "s0")
    assert small.verdict is Verdict.CANNOT_TELL
    assert small.error is not None
    # With 15 patients the halves have few: it refuses itself, or is too small to be compared.
    assert small.error.number in (416, 634)
    assert found.of("e", "t").verdict is not Verdict.NONE_DETECTED
    assert found.of("train", "s1").verdict is Verdict.NONE_DETECTED


def test_a_broken_column_is_left_out_at_its_hospital() -> None:
    rng = np.random.default_rng(2)
    train = {f"s{k}": Drawn().frame(rng, n) for k, n in enumerate(SIZES)}
    other = Drawn().frame(rng, 90)
    other.columns["x3"][:] = 0.0  # type: ignore[index]
    found = detect_in_process(train, {"e": {"t": other}}, "y", COLUMNS, NUMBERS, *fit(list(train.values())))
    told = found.of("e", "t")
    assert told.untold_ == ("x3",)
    assert told.difference_ is not None
    assert np.isnan(told.difference_).tolist() == [name == "x3" for name in COLUMNS]
    assert told.prevalence_ is None
    assert told.verdict is Verdict.NONE_DETECTED


# ------------------------------------------------------------------------------------------------- pure parts


def test_hospitals_that_hide_a_column_do_not_make_its_spread_look_smaller() -> None:
    """Three hospitals that tell of themselves and a small silent one; the first, which lies far off, hides the first
    column: its sum is no part of the silent one's."""
    rng = np.random.default_rng(8)
    z = [rng.normal(size=(n, 2)) + mean for n, mean in ((500, 2.0), (500, -1.0), (500, -1.0), (20, 0.0))]
    half = [np.arange(len(one)) % 2 for one in z]
    told = [np.array([0, 1]), np.array([1, 1]), np.array([1, 1])]

    def part(i: int) -> dict[str, np.ndarray]:
        kept = told[i]
        sums = np.array([z[i][half[i] == h].sum(axis=0) * kept for h in (0, 1)])
        return {"n": np.bincount(half[i]), "told": kept, "sum": sums}

    whole, halves = np.vstack(z), np.concatenate(half)
    training = {
        "n": np.bincount(halves),
        "sum": np.array([whole[halves == h].sum(axis=0) for h in (0, 1)]),
        "cross": (whole.T @ whole)[np.tril_indices(2)],
        "counts": np.zeros((0, 10), dtype=np.int64),
    }
    compared = Compared("train", Recipe(), "y", ("a", "b"), (), 0.0, (0.0, 0.0), 0.5, (), 9, 5)
    found = _covariance(compared, training, [_Told("train", f"s{i}", part(i)) for i in range(3)])
    # The first and the silent one are one hospital of that column: between them is hardly more than within.
    assert found[0, 0] == pytest.approx(1.0, abs=0.15)
    assert found[1, 1] == pytest.approx(1.0, abs=0.1)


def test_max_t_is_the_share_of_deals_with_as_large_a_largest_test() -> None:
    rng = np.random.default_rng(0)
    observed, chance = np.array([[0.5, 3.0], [np.nan, 2.0]]), np.abs(rng.normal(size=(199, 2, 2)))
    chance[:, 1, 0] = 100.0  # of a test that was not made
    found = max_t(observed, chance)
    largest = np.delete(chance.reshape(199, 4), 2, axis=1).max(axis=1)
    for place in ((0, 0), (0, 1), (1, 1)):
        assert found.p_[place] == (1 + np.count_nonzero(largest >= observed[place])) / 200
    assert np.isnan(found.p_[1, 0])
    at = max_t(np.array([found.critical_ + 1e-9, found.critical_]), np.column_stack([largest, largest])[:, :])
    assert at.p_[0] <= 0.05 < at.p_[1]


def classes(within: np.ndarray, gap: np.ndarray, n: tuple[int, int] = (10**7, 10**7)) -> Classes:
    return Classes(np.array(n), np.array([np.zeros_like(gap), gap]), within, np.array([n[0] // 10, n[1] * 8 // 10]))


def test_a_difference_along_the_line_is_all_label_shift() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(5, 5))
    within, gap = root @ root.T + np.eye(5), rng.normal(size=5)
    found = label_shift(0.2 * gap, 100.0, 1000.0, classes(within, gap))
    assert found is not None
    assert found.difference_ == pytest.approx(0.2)
    assert found.residual_ == pytest.approx(0.0, abs=1e-9)
    assert found.degrees_ == 4
    assert found.residual_p_ == pytest.approx(1.0)


def test_the_residual_is_hotellings_test_of_what_is_off_the_line() -> None:
    rng = np.random.default_rng(2)
    p = [
        label_shift(
            rng.normal(size=60 * 4).reshape(60, 4).mean(axis=0) - rng.normal(size=(300, 4)).mean(axis=0),
            60.0, 300.0, classes(np.eye(4), np.array([1.0, 0.0, 0.0, 0.0])),
        ).residual_p_  # type: ignore[union-attr]
        for _ in range(400)
    ]  # fmt: skip
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_one_column_has_no_residual() -> None:
    found = label_shift(np.array([0.5]), 100.0, 1000.0, classes(np.eye(1), np.ones(1)))
    assert found is not None
    assert np.isnan(found.residual_p_)
    assert without_outcomes(True, found, 0.4) is Verdict.CANNOT_TELL


def test_the_frequency_solves_the_confusion_matrix() -> None:
    own = Classes(np.array([600, 400]), np.zeros((2, 1)), np.eye(1), np.array([120, 300]))
    matrix = np.array([[1 - 0.2, 1 - 0.75], [0.2, 0.75]])
    shares = matrix @ np.array([0.35, 0.65])
    found = estimated_prevalence(np.round(shares * 100_000).astype(np.int64), own)
    assert found is not None
    assert found.value_ == pytest.approx(0.65, abs=1e-4)
    assert found.low_ < 0.65 < found.high_


def test_a_score_that_does_not_part_the_classes_tells_no_frequency() -> None:
    own = Classes(np.array([600, 400]), np.zeros((2, 1)), np.eye(1), np.array([270, 260]))
    assert estimated_prevalence(np.array([50, 50]), own) is None


def test_more_high_scores_than_any_frequency_gives_are_said_to_be_so() -> None:
    own = Classes(np.array([600, 400]), np.zeros((2, 1)), np.eye(1), np.array([120, 240]))
    found = estimated_prevalence(np.array([5, 195]), own)
    assert found is not None
    assert not found.possible_


# ------------------------------------------------------------------------------------------------ with outcomes


def scored(rng: np.random.Generator, n: int, *, prevalence: float, concept: float = 1.0) -> Frame:
    """A score that is calibrated at a prevalence of 0.5; `concept` is how far the classes are apart."""
    y = (rng.random(n) < prevalence).astype(float)
    linear = rng.normal(size=n) * 1.4142 + (2.0 * y - 1.0) * concept
    return Frame({"score.m": logistic_function(linear)}, {"y": y}, n, rng.integers(0, 2**63, n).astype(np.uint64))


def asked(question: object) -> Conclusion[object]:
    return (yield question)  # type: ignore[misc]


def test_outcomes_tell_a_frequency_from_another_relation() -> None:
    rng = np.random.default_rng(7)
    train = {f"s{k}": scored(rng, 500, prevalence=0.5) for k in range(3)}
    others = {
        "same": scored(rng, 600, prevalence=0.5),
        "frequent": scored(rng, 600, prevalence=0.85),
        "weaker": scored(rng, 600, prevalence=0.5, concept=0.1),
    }
    port = port_of({"train": train, "external": others})
    sums = conclude(port, [asked(total(ScoreMoments("train", Recipe(), "y", "score.m")))])[0]
    reference = reference_of(sums, "train", "y")  # type: ignore[arg-type]
    question = ScoreShiftAlone("external", Recipe(), "y", "score.m", 10, reference, False, min_cell=5)
    parts = conclude(port, [asked(each(question))])[0]
    found = {site: score_shift(part, Expected()) for site, part in parts.items()}  # type: ignore[attr-defined]
    told = {
        site: with_outcomes(Verdict.NONE_DETECTED, own.calibration_p_, own.classes_p_, np.nan)
        for site, own in found.items() if own is not None
    }  # fmt: skip
    assert told == {"same": Verdict.NONE_DETECTED, "frequent": Verdict.LABEL, "weaker": Verdict.CONCEPT}


def test_a_training_site_is_compared_with_the_cohort_that_it_is_part_of() -> None:
    """The differences from training within classes are standard normal for its own sites too."""
    rng, apart = np.random.default_rng(12), []
    for _ in range(150):
        train = {f"s{k}": scored(rng, n, prevalence=0.5) for k, n in enumerate((60, 40, 50))}
        port = port_of({"train": train})
        sums = conclude(port, [asked(total(ScoreMoments("train", Recipe(), "y", "score.m")))])[0]
        reference = reference_of(sums, "train", "y")  # type: ignore[arg-type]
        question = ScoreShiftAlone("train", Recipe(), "y", "score.m", 5, reference, True, min_cell=5)
        apart.append(question.respond(_View(train["s0"]))["apart"])
    assert stats.kstest(np.concatenate(apart), "norm").pvalue > 0.001


class _View:
    """One frame."""

    def __init__(self, own: Frame) -> None:
        self._own = own

    def frame(self, query: object) -> Frame:
        return self._own


@pytest.mark.parametrize(
    ("before", "calibration", "within", "frequency", "after"),
    [
        (Verdict.NONE_DETECTED, 0.5, 0.5, 0.5, Verdict.NONE_DETECTED),
        (Verdict.NONE_DETECTED, 0.5, 0.5, np.nan, Verdict.NONE_DETECTED),
        (Verdict.NONE_DETECTED, 0.5, 0.5, 0.01, Verdict.LABEL),
        (Verdict.COVARIATE, 0.5, 0.5, 0.01, Verdict.COVARIATE),
        (Verdict.SEVERAL, 0.5, 0.5, 0.01, Verdict.SEVERAL),
        (Verdict.LABEL, 0.5, 0.5, 0.5, Verdict.LABEL),
        (Verdict.LABEL, 0.5, 0.01, 0.5, Verdict.COVARIATE),
        (Verdict.NONE_DETECTED, 0.5, 0.01, 0.01, Verdict.COVARIATE),
        (Verdict.CANNOT_TELL, 0.5, 0.01, 0.5, Verdict.CANNOT_TELL),
        (Verdict.NONE_DETECTED, 0.01, 0.5, 0.01, Verdict.LABEL),
        (Verdict.NONE_DETECTED, 0.01, 0.5, np.nan, Verdict.LABEL),
        (Verdict.NONE_DETECTED, 0.01, 0.5, 0.5, Verdict.CONCEPT),
        (Verdict.COVARIATE, 0.01, 0.5, 0.01, Verdict.SEVERAL),
        (Verdict.NONE_DETECTED, 0.01, 0.01, 0.5, Verdict.CONCEPT),
        (Verdict.LABEL, 0.01, 0.01, 0.01, Verdict.CONCEPT),
        (Verdict.COVARIATE, 0.01, 0.01, 0.5, Verdict.SEVERAL),
    ],
)
def test_the_rule_with_outcomes(
    before: Verdict, calibration: float, within: float, frequency: float, after: Verdict
) -> None:
    assert with_outcomes(before, calibration, within, frequency) is after


def test_overfitting_is_expected_elsewhere() -> None:
    """Scores of twelve predictors, nine of them noise, of 120 patients: others of the same kind do not differ."""
    rng, found, plain, slopes = np.random.default_rng(21), [], [], []

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(n, 12))
        return x, (rng.random(n) < 1.0 / (1.0 + np.exp(-x[:, :3].sum(axis=1)))).astype(float)

    for _ in range(80):
        x, y = drawn(120)
        model = LogisticRegression(C=1e8, max_iter=3000).fit(x, y)
        score, share = model.predict_proba(x)[:, 1], y.mean()
        chi2 = 2.0 * float(np.sum(np.where(y == 1, np.log(score / share), np.log((1 - score) / (1 - share)))))
        sums = ScoreMoments("t", Recipe(), "y", "score.m").answer(Frame({"score.m": score}, {"y": y}, 120))
        reference, slope = reference_of(sums, "t", "y"), shrinkage(chi2, 12)
        x, y = drawn(600)
        other = _View(Frame({"score.m": model.predict_proba(x)[:, 1]}, {"y": y}, 600))
        elsewhere = line_elsewhere(slope, middle_of(reference), line_covariance(sums))
        for expected, told in ((elsewhere, found), (Expected(), plain)):
            own = expected_elsewhere(reference, float(expected.line[1]))
            question = ScoreShiftAlone("o", Recipe(), "y", "score.m", 10, own, False, min_cell=5)
            answered = score_shift(question.respond(other), expected)
            assert answered is not None
            told.append(with_outcomes(Verdict.NONE_DETECTED, answered.calibration_p_, answered.classes_p_, np.nan))
            slopes.append((slope, answered.slope_))
    # Two tests at 5 % each; taken as it is, hardly any such score would be said to hold elsewhere.
    assert plain.count(Verdict.NONE_DETECTED) < 20
    assert found.count(Verdict.NONE_DETECTED) > 60
    assert found.count(Verdict.LABEL) + found.count(Verdict.CONCEPT) <= 10
    mean = np.mean(slopes, axis=0)
    assert abs(mean[0] - mean[1]) < 0.5 * (1.0 - mean[1])  # much of what is lost is foreseen


def test_a_score_that_was_chosen_among_many_columns_is_measured_out_of_fold() -> None:
    """LASSO of 60 columns, five of them real, in 240 patients: 200 others of the same kind do not differ."""
    rng, repeats = np.random.default_rng(11), 60
    apparent, found = np.empty((repeats, 2)), np.empty((repeats, 2))

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(n, 60))
        return x, (rng.random(n) < 1.0 / (1.0 + np.exp(0.4 - 0.6 * x[:, :5].sum(axis=1)))).astype(float)

    def fitted(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=0.12, l1_ratio=1.0, solver="liblinear").fit(x, y)

    def framed(score: np.ndarray, y: np.ndarray) -> Frame:
        return Frame({"score.m": np.round(score, 4)}, {"y": y}, y.size)

    for i in range(repeats):
        x, y = drawn(240)
        model, folds, folded = fitted(x, y), rng.permutation(240) % 10, np.empty(240)
        for fold in range(10):
            out = folds == fold
            folded[out] = fitted(x[~out], y[~out]).predict_proba(x[out])[:, 1]
        own = framed(model.predict_proba(x)[:, 1], y)
        sums = ScoreMoments("t", Recipe(), "y", "score.m").answer(own)
        at = ThresholdCounts("t", Recipe(), ("score.m",), "y", HUNDREDTHS[np.newaxis])
        x, y = drawn(200)
        other = _View(framed(model.predict_proba(x)[:, 1], y))
        as_it_is = reference_of(sums, "t", "y"), line_elsewhere(1.0, 0.0, line_covariance(sums))
        for kept, (reference, line) in (
            (apparent, as_it_is),
            (found, out_of_fold(at.answer(framed(folded, own.endpoints["y"])), "t", "y")),
        ):
            answer = ScoreShiftAlone("o", Recipe(), "y", "score.m", 10, reference, False, min_cell=5).respond(other)
            told = score_shift(answer, line)
            assert told is not None
            kept[i] = told.classes_p_, told.calibration_p_
    assert np.mean(apparent[:, 0] <= 0.05) > 0.3
    # At 5 % each, of 60: more than eight have a probability of under 1 %.
    assert (found <= 0.05).sum(axis=0).max() <= 8
    assert np.median(found) == pytest.approx(0.5, abs=0.15)


def test_hospitals_of_training_are_measured_by_the_line_that_they_have_together() -> None:
    """That of all their patients, as far as the mean of lines can be it; whoever tells none does not count."""
    rng, asked = (
        np.random.default_rng(12),
        ScoreShiftAlone("t", Recipe(), "y", "score.m", 10, np.ones((2, 3)), True, min_cell=5),
    )
    values = rng.normal(size=(3, 400))
    y = (rng.random((3, 400)) < 1.0 / (1.0 + np.exp(0.2 - 1.5 * values))).astype(float)
    frames = [Frame({"score.m": 1.0 / (1.0 + np.exp(-v))}, {"y": o}, 400) for v, o in zip(values, y, strict=True)]
    parts = [asked.respond(_View(frame)) for frame in frames]
    pooled = LogisticRegression(C=1e8).fit(values.reshape(-1, 1), y.ravel())
    together = line_together([*parts, {**parts[0], "estimable": np.array(0, dtype=np.int64)}])
    assert together.line == pytest.approx([pooled.intercept_[0], pooled.coef_[0, 0]], abs=0.03)
    assert line_together([]).line.tolist() == [0.0, 1.0]
