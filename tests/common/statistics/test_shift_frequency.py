"""common/statistics: another frequency of the outcome is suspected without outcomes, and told with them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from common.federation.query import each, total
from common.federation.runner import conclude
from common.statistics.label_shift import LabelShift, label_shift
from common.statistics.multiplicity import holm
from common.statistics.score_shift import (
    Expected,
    ScoreMoments,
    ScoreShiftAlone,
    frequency_p,
    reference_of,
    score_shift,
)
from common.statistics.shift_verdict import Verdict, suspects_another_case_mix, with_outcomes
from common.study.recipe import Recipe
from simulation.shift_views import port_of
from tests.common.statistics.test_shift_detection import asked, classes, scored


@pytest.mark.parametrize(
    ("share", "after"),
    [(0.0, False), (0.2, False), (0.3, True), (1.0, True), (np.nan, True)],
)
def test_another_case_mix_is_suspected_where_a_good_part_of_several_differences_is_along_the_line(
    share: float, after: bool
) -> None:
    found = LabelShift(0.3, 0.1, 0.01, 20.0, 5, 0.01, share)
    assert suspects_another_case_mix(Verdict.SEVERAL, found) is after
    assert suspects_another_case_mix(Verdict.LABEL, found) and suspects_another_case_mix(Verdict.CANNOT_TELL, None)
    assert not suspects_another_case_mix(Verdict.COVARIATE, found)
    assert not suspects_another_case_mix(Verdict.NONE_DETECTED, found)


def test_the_share_along_the_line_is_that_of_squared_distances_whatever_the_columns_units() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    within, line = root @ root.T + np.eye(5), rng.normal(size=5)
    inverse = np.linalg.inv(within)
    off = rng.normal(size=5)
    off -= line * float(line @ inverse @ off) / float(line @ inverse @ line)
    off *= np.sqrt(float(line @ inverse @ line) / float(off @ inverse @ off))  # as long as the line
    for units in (np.ones(5), rng.uniform(0.1, 10.0, 5)):
        own = classes(within * np.outer(units, units), line * units)
        found = label_shift((0.6 * line + 0.8 * off) * units, 1e9, 1e9, own)
        assert found is not None
        assert found.share_ == pytest.approx(0.36, abs=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_the_frequency_is_compared_with_the_others_by_fishers_exact_test(inside: bool) -> None:
    part = {"classes": np.array([35, 65, 0])}
    others = np.array([360, 240]) - (part["classes"][:2] if inside else 0)
    expected = stats.fisher_exact([[35, 65], others.tolist()]).pvalue
    assert frequency_p(part, np.array([360.0, 240.0]), inside=inside) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(frequency_p({"classes": np.array([-1, 40, 0])}, np.array([360.0, 240.0]), inside=inside))


def test_outcomes_tell_a_frequency_that_is_a_quarter_higher_of_100_patients() -> None:
    """At 5 % over five hospitals and three tests each; the score's area is about 0.8."""
    rng, found = np.random.default_rng(44), []
    for higher in (0.25, 0.0):
        verdicts = []
        for _ in range(60):
            train = {f"s{k}": scored(rng, 150, prevalence=0.4) for k in range(4)}
            port = port_of({"train": train, "external": {"t": scored(rng, 100, prevalence=0.4 + higher)}})
            sums = conclude(port, [asked(total(ScoreMoments("train", Recipe(), "y", "score.m")))])[0]
            reference = reference_of(sums, "train", "y")  # type: ignore[arg-type]
            question = ScoreShiftAlone("external", Recipe(), "y", "score.m", 10, reference, False, min_cell=5)
            part = conclude(port, [asked(each(question))])[0]["t"]  # type: ignore[index]
            own = score_shift(part, Expected())
            assert own is not None
            mine = (1.0, own.classes_p_, frequency_p(part, reference[:, 0], inside=False))
            p = holm(np.vstack([mine, np.ones((4, 3))]))[0]
            verdicts.append(with_outcomes(Verdict.NONE_DETECTED, *p.tolist()))
        found.append(verdicts)
    assert sum(verdict is not Verdict.NONE_DETECTED for verdict in found[0]) >= 54
    assert sum(verdict is not Verdict.NONE_DETECTED for verdict in found[1]) <= 6
