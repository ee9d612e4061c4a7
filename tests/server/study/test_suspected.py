"""server/study: which hospitals are suspected to differ in whom they see, and what follows for harmonised models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import fisher_exact

from common.errors import FedmviError
from common.statistics.counts import SiteCounts
from common.statistics.shift_findings import Compared, Detection, SiteShift
from common.statistics.shift_verdict import Verdict
from common.study.loader import parse_study
from common.study.recipe import Recipe
from common.study.withholding import Withheld
from server.study.centre_areas import Area
from server.study.counts import Counted
from server.study.leave_one_out import LeftOut, LeftOutModel
from server.study.shift import Looked
from server.study.withholding import (
    Suspected,
    other_frequencies,
    suspected,
    withheld_everywhere,
    withhold,
    without_withheld,
)
from tests.server.study.test_withholding import FEATURES, model, study_text

SHIFT = '\n[shift]\nmodels = ["raw", "combat", "matched"]\npermutations = 199\n'
NAMES = (*FEATURES, "age")
ODD = "sex=male"
STUDY = parse_study(study_text(SHIFT))
COLUMNS = (*FEATURES, "age", ODD)


def study_with_traits(shift: str = SHIFT):
    """As that study, but the first model has age and sex beside what is measured."""
    extended = model("raw").replace("predictors = [", 'predictors = ["sex", { variable = "age", coding = "linear" }, ')
    return parse_study(study_text(shift).replace(model("raw"), extended))


def counted(**classes: tuple[int, int]) -> Counted:
    """With these patients without and with the outcome by training hospital; -1 where they are not told."""
    rows = np.array([(*row, 0) for row in classes.values()], dtype=np.int64)
    # A hospital that hides its classes has 40 and 20 of them.
    true = np.where(rows[:, :2] < 0, np.array([40, 20]), rows[:, :2])
    pooled = np.append(true.sum(axis=0), 0)
    return Counted({}, {("train", "mvi"): SiteCounts(tuple(classes), rows, pooled)}, {}, {})


ALIKE = counted(a=(40, 20), b=(42, 18), c=(39, 21))
UNEVEN = counted(a=(40, 20), b=(45, 15), c=(15, 45))


def seen(cohort: str, site: str, verdict: Verdict = Verdict.NONE_DETECTED, **p: float) -> SiteShift:
    """A hospital at which these columns have these adjusted p values, and all others 1."""
    values = np.array([p.get(name, 1.0) for name in COLUMNS])
    return SiteShift(cohort, site, verdict, n_=60, difference_p_=values, distance_p_=np.full(len(NAMES), np.nan))


def looked(*sites: SiteShift) -> Looked:
    compared = Compared(
        "train", Recipe(), "mvi", COLUMNS, NAMES, 0.0, (0.0,) * len(COLUMNS), 0.5, (("external", Recipe()),), 99, 5
    )
    return Looked(Detection(compared, 0.3, 3.0, sites), {})


def everybody(**verdicts: Verdict) -> list[SiteShift]:
    return [
        seen(cohort, site, verdicts.get(site, Verdict.NONE_DETECTED))
        for cohort, sites in (("train", "abc"), ("external", "def"))
        for site in sites
    ]


def test_frequencies_of_training_hospitals_are_held_against_all_others_by_fisher_s_exact_test():
    raw = STUDY.models[[m.name for m in STUDY.models].index("raw")]
    found = other_frequencies(raw, UNEVEN)
    p = {
        site: fisher_exact([own, np.subtract((100, 80), own)])[1]
        for site, own in {"a": (40, 20), "b": (45, 15), "c": (15, 45)}.items()
    }
    first, second, third = sorted(p, key=p.__getitem__)
    assert found[first] == pytest.approx(3 * p[first])
    assert found[second] == pytest.approx(max(3 * p[first], 2 * p[second]))
    assert found[third] == pytest.approx(min(1.0, max(2 * p[second], p[third])))


def test_a_training_hospital_that_hides_its_classes_is_not_tested_and_its_predictors_decide():
    raw = STUDY.models[[m.name for m in STUDY.models].index("raw")]
    hidden = counted(a=(40, 20), b=(-1, -1), c=(39, 21))
    assert set(other_frequencies(raw, hidden)) == {"a", "c"}
    for verdict, expected in ((Verdict.LABEL, {"b": "label"}), (Verdict.COVARIATE, {})):
        assert suspected(STUDY, looked(*everybody(b=verdict)), hidden).training == expected
        # One that tells them is judged by them.
        assert suspected(STUDY, looked(*everybody(b=verdict)), ALIKE).training == {}


def test_nothing_is_withheld_where_nobody_differs_in_whom_he_sees():
    for verdict in (Verdict.NONE_DETECTED, Verdict.COVARIATE):
        found = suspected(STUDY, looked(*everybody(d=verdict, a=verdict)), ALIKE)
        assert found == Suspected({}, {}) and withhold(STUDY, found) == ()


def test_a_harmonised_model_without_covariates_is_withheld_everywhere_where_training_hospitals_differ():
    found = suspected(STUDY, looked(*everybody()), UNEVEN)
    assert "c" in found.training and not found.elsewhere
    assert withhold(STUDY, found) == tuple(Withheld("combat", site) for site in "abcdef")
    assert withheld_everywhere(STUDY, found) == {"combat"}


def test_where_hospitals_could_not_be_compared_the_frequencies_in_training_are_known_all_the_same():
    failed = Looked(FedmviError(603, "columns", model="shift"), {})
    found = suspected(STUDY, failed, UNEVEN)
    assert "c" in found.training and set(found.elsewhere) == {"d", "e", "f"}


def test_other_traits_are_another_case_mix_and_other_measurements_are_not():
    study = study_with_traits()
    sites = everybody(d=Verdict.COVARIATE, e=Verdict.COVARIATE)
    for name, why in (("age", "other age"), (ODD, f"other {ODD}"), ("x0", None)):
        sites[3] = seen("external", "d", Verdict.COVARIATE, **{name: 0.01})
        found = suspected(study, looked(*sites), ALIKE)
        assert found.elsewhere == ({"d": why} if why else {}) and not found.training
        assert withhold(study, found) == ((Withheld("combat", "d"),) if why else ())
    sites = everybody()
    sites[1] = seen("train", "b", Verdict.COVARIATE, age=0.01)
    found = suspected(study, looked(*sites), ALIKE)
    assert found.training == {"b": "other age"} and withheld_everywhere(study, found) == {"combat"}


def test_a_distribution_that_differs_is_a_difference_too():
    one = seen("external", "d", Verdict.COVARIATE)
    distance = np.full(len(NAMES), np.nan)
    distance[NAMES.index("age")] = 0.04
    detection = looked(replace(one, distance_p_=distance)).detection
    assert isinstance(detection, Detection)
    assert detection.differing(detection.sites_[0], COLUMNS) == ("age",)


def test_the_remedy_is_chosen_among_models_that_are_not_withheld():
    models = {m.name: m for m in STUDY.models if m.name in ("raw", "combat")}
    areas = {"raw": 0.7, "combat": 0.8}
    left = LeftOut(
        tuple(LeftOutModel(models[n], {}, {s: Area(areas[n], 0.03) for s in "abc"}) for n in areas), "combat"
    )
    chosen = without_withheld(left, frozenset({"combat"}))
    assert chosen is not None and chosen.chosen == "raw"
    assert without_withheld(left, frozenset()) is left and without_withheld(None, frozenset({"combat"})) is None
