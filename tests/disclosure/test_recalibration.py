"""disclosure: between two freezes: what is open when, and what a second freeze may add."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.approval.examples import _root
from client.cohort.membership import members
from client.cohort.site import load_site
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze, FreezeCorrections
from common.statistics.calibration import RecalibrationSums
from common.statistics.confusion import ThresholdCounts
from common.statistics.guaranteed_sensitivity import GuaranteedAlone
from common.statistics.life_table import LifeTable
from common.statistics.logistic import LogisticSums
from common.statistics.prior_correction import PredictedPositives
from common.statistics.recalibration import Rule
from common.statistics.recalibration_alone import RecalibrationAlone
from common.statistics.refinement import ScoreCounts
from common.study.correcting import Correction, admissible
from common.study.loader import parse_study
from common.study.recipe import Recipe, Score
from tests.disclosure.consortium import Consortium, names, recipe
from tests.server.study.recalibrated_study import consortium, outcomes, recalibration, study_text

SLOPES = (-0.2, 0.02, 0.5)


def base(made: Consortium, intercept: float = 4.0, model: str = "risk") -> Recipe:
    return recipe(made.study, model).then(Score(model, "mvi", names(made.study, model), SLOPES, intercept))


def manifest(made: Consortium, *intercepts: float) -> Freeze:
    digests = {base(made, one).digest for one in intercepts or (4.0,)} | {recipe(made.study, "risk").digest}
    return Freeze(tuple(sorted(digests)), ("os-by-mvi",))


def second(made: Consortium, *corrections: Correction) -> Ask:
    return perform(FreezeCorrections(pack(manifest(made), Freeze).digest, corrections))


def corrected(made: Consortium, name: str = "line", intercept: float = 0.3, slope: float = 0.8, **more) -> Correction:
    return Correction(name, base(made), intercept, slope, **more)


def ranks(made: Consortium, cohort: str, scoring: Recipe | None = None, column: str = "score.risk") -> Ask:
    return total(ScoreCounts(cohort, scoring or base(made), (column,), endpoint="mvi", **_root(1)))


def line(made: Consortium, cohort: str, scoring: Recipe | None = None, column: str = "score.risk") -> Ask:
    return total(RecalibrationSums(cohort, scoring or base(made), column, "mvi", np.empty(0), np.array([0.0, 1.0])))


def refit(made: Consortium, cohort: str, scoring: Recipe | None = None, *columns: str) -> Ask:
    used = columns or names(made.study, "risk")
    return total(LogisticSums(cohort, scoring or base(made), "mvi", used, np.zeros(len(used) + 1)))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    consortium(folder, outcomes()).open()
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    """An opened consortium of its own."""
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({p.name: p for p in sorted((tmp_path / "sites").iterdir())}, parse_study(study_text()))


def frozen(made: Consortium) -> Consortium:
    assert made.number("d", perform(manifest(made))) == 0
    return made


def test_calibration_endpoints_are_closed_before_the_first_freeze(made: Consortium):
    for ask in (ranks(made, "calibration"), line(made, "calibration"), refit(made, "calibration")):
        assert made.number("d", ask) == 407
    bare = recipe(made.study, "risk")
    assert made.number("d", refit(made, "calibration", bare)) == 407
    frozen(made)
    assert made.number("d", line(made, "calibration")) == 0


def test_test_cohorts_stay_closed_between_the_freezes(made: Consortium):
    frozen(made)
    for ask in (ranks(made, "external"), line(made, "external"), refit(made, "external")):
        assert made.number("d", ask) == 407
    groups = total(LifeTable("alone", Recipe(), "os", 1, 1.0, 61))
    assert made.number("a", groups) in (406, 407)
    assert made.number("d", second(made, corrected(made))) == 0
    assert made.number("d", ranks(made, "external")) == 0
    assert made.number("d", line(made, "external")) == 0
    assert made.number("d", refit(made, "external")) == 407, "nothing is fitted in a test cohort"


def test_a_study_without_recalibrations_is_opened_by_one_freeze(template: Path, tmp_path: Path):
    text = study_text("")
    made = consortium(tmp_path, outcomes(), text).open()
    plain = total(
        LogisticSums("calibration", recipe(made.study, "risk"), "mvi", names(made.study, "risk"), np.zeros(4))
    )
    assert made.number("d", plain) == 0, "its calibration cohort is open like one of training"
    frozen(made)
    assert made.number("d", ranks(made, "external")) == 0
    assert made.number("d", second(made)) == 436


def test_only_the_frozen_score_and_its_own_columns_are_beside_calibration_endpoints(made: Consortium):
    frozen(made)
    assert made.number("d", refit(made, "calibration")) == 0
    assert made.number("d", refit(made, "calibration", None, "albumin")) == 0
    assert made.number("d", refit(made, "calibration", recipe(made.study, "risk"))) == 407
    other = base(made, 5.0)
    assert made.number("e", perform(manifest(made))) == 0
    for ask in (ranks(made, "calibration", other), line(made, "calibration", other)):
        assert made.number("e", ask) == 407
    early = corrected(made)
    assert made.number("d", ranks(made, "calibration", early.corrected, "score.line")) == 407
    assert made.number("d", line(made, "calibration", early.corrected, "score.line")) == 414


def test_a_line_is_fitted_and_no_curve_with_bends_where_a_server_likes(made: Consortium):
    frozen(made)
    knots = np.array([-1.0, -0.9, -0.8])
    for cohort in ("calibration", "external"):
        bent = RecalibrationSums(cohort, base(made), "score.risk", "mvi", knots, np.array([0.0, 1.0, 0.0]))
        assert bent.consistent()
        assert made.number("d", total(bent)) == 414


def test_without_closed_testing_no_predictor_is_beside_calibration_endpoints(tmp_path: Path):
    made = frozen(consortium(tmp_path, outcomes(), study_text(recalibration("line", "slope"))).open())
    assert made.number("d", line(made, "calibration")) == 0
    assert made.number("d", refit(made, "calibration")) == 407
    assert made.number("d", total(ThresholdCounts("calibration", base(made), ("score.risk",), "mvi",
                                                  np.array([[0.5]])))) == 414  # fmt: skip


def test_a_prior_correction_opens_no_endpoint(tmp_path: Path):
    made = frozen(consortium(tmp_path, outcomes(), study_text(recalibration("prior", "prior"))).open())
    for ask in (line(made, "calibration"), refit(made, "calibration")):
        assert made.number("d", ask) in (407, 414)
    assert made.number("d", ranks(made, "calibration")) == 407
    counted = PredictedPositives("calibration", base(made), "score.risk", 0.4, 5, guarded=False)
    assert made.number("d", total(counted)) == 0
    assert made.number("d", total(replace(counted, cutoff=0.41))) == 414, "two cut-offs tell who is between them"
    assert made.number("d", total(replace(counted, cohort="external"))) == 414


def test_a_second_freeze_adds_to_the_first_and_to_no_other(made: Consortium):
    assert made.number("d", second(made, corrected(made))) == 436, "before the models"
    frozen(made)
    for wrong in ("", "0" * 64, pack(manifest(made, 5.0), Freeze).digest, pack(Freeze((), ()), Freeze).digest):
        assert made.number("d", perform(FreezeCorrections(wrong, (corrected(made),)))) == 436
    assert made.number("d", perform(manifest(made, 4.0, 5.0))) == 411, "the models themselves are frozen once"
    assert made.number("d", perform(Freeze((), ()))) == 411


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("a score that is not frozen", lambda made: Correction("line", base(made, 5.0), 0.3, 0.8)),
        ("other patients", lambda made: Correction(
            "line", Recipe((base(made).steps[0], *base(made).steps[2:])), 0.3, 0.8)),
        ("no score at all", lambda made: Correction("line", recipe(made.study, "risk"), 0.3, 0.8)),
        ("a name that is none", lambda made: corrected(made, "another")),
        ("the name of a model", lambda made: corrected(made, "risk")),
        ("a slope where the intercept is declared", lambda made: corrected(made, "large")),
        ("a slope of a prior correction", lambda made: corrected(made, "prior")),
        ("a refit where none is declared", lambda made: corrected(made, "line", slope=1.0, refit=SLOPES)),
        ("a refit of fewer columns", lambda made: corrected(made, "closed", slope=1.0, refit=SLOPES[:2])),
        ("a refit and a slope", lambda made: corrected(made, "closed", refit=SLOPES)),
        ("risks turned round", lambda made: corrected(made, slope=-0.8)),
        ("risks that are all alike", lambda made: corrected(made, slope=0.0)),
        ("a huge number", lambda made: corrected(made, intercept=1e9)),
        ("a huge product", lambda made: corrected(made, slope=9e5, intercept=9e5)),
        ("a cut-off where none is declared", lambda made: corrected(made, cutoff=0.4)),
        ("a cut-off of a refit", lambda made: corrected(made, "closed", slope=1.0, refit=SLOPES, cutoff=0.4)),
        ("a cut-off between public bins", lambda made: corrected(made, "closed", cutoff=0.412345)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_recalibration_declares_is_not_frozen(made: Consortium, what: str, change):
    frozen(made)
    assert made.number("d", second(made, change(made))) == 435
    assert made.number("d", line(made, "external")) == 407, "and nothing is opened by it"
    assert not list(made.folders["d"].rglob("corrected.npz"))


def test_a_number_that_is_none_is_no_correction(made: Consortium):
    assert admissible(made.study, corrected(made))
    for intercept, slope in ((float("nan"), 1.0), (float("inf"), 1.0), (0.0, float("nan"))):
        assert not admissible(made.study, corrected(made, "line", intercept, slope))


def test_one_correction_a_name(made: Consortium):
    frozen(made)
    both = (corrected(made), corrected(made, intercept=0.4))
    assert made.number("d", second(made, *both)) == 435


def test_corrections_are_frozen_once_and_models_not_again(made: Consortium):
    frozen(made)
    assert made.number("d", second(made, corrected(made))) == 0
    assert made.number("d", second(made, corrected(made))) == 0, "the same again is the same"
    assert made.number("d", second(made, corrected(made, intercept=0.4))) == 436
    assert made.number("d", second(made)) == 436, "nothing is taken away"
    assert made.number("d", second(made, corrected(made), corrected(made, "large", slope=1.0))) == 436
    assert made.number("d", perform(manifest(made, 4.0, 5.0))) == 411
    with pytest.raises(FedmviError, match="436"):
        made.put("e", perform(manifest(made)), second(made, corrected(made)), second(made))


def test_only_frozen_corrections_are_looked_at_in_test_cohorts(made: Consortium):
    frozen(made)
    good = corrected(made)
    assert made.number("d", second(made, good)) == 0
    assert made.number("d", line(made, "external", good.corrected, "score.line")) == 0
    assert made.number("d", ranks(made, "external", good.corrected, "score.line")) == 0
    for other in (corrected(made, intercept=0.4), corrected(made, "closed")):
        # Of one that is in use already another value is refused as such.
        number = made.number("d", line(made, "external", other.corrected, f"score.{other.name}"))
        assert number == (414 if other.name == "line" else 407)
    alone = Score("line", "mvi", good.score.names, good.score.coefficients, good.score.intercept)
    assert made.number("d", line(made, "external", recipe(made.study, "risk").then(alone), "score.line")) == 407


def test_a_corrected_score_cannot_be_frozen_with_the_models(made: Consortium):
    """In the first manifest are digests only: under a correction's name any coefficients could be among them."""
    own = Score("line", "mvi", names(made.study, "risk"), (0.3, 0.1, -0.2), -5.0)
    early = base(made).then(own)
    scores = tuple(sorted((base(made).digest, early.digest)))
    assert made.number("d", perform(Freeze(scores, ()))) == 0
    assert made.number("d", ranks(made, "calibration", early, "score.line")) == 407
    nothing = FreezeCorrections(pack(Freeze(scores, ()), Freeze).digest, ())
    assert made.number("d", perform(nothing)) == 0
    assert made.number("d", ranks(made, "external")) == 0
    assert made.number("d", ranks(made, "external", early, "score.line")) == 407


def test_a_site_answers_alone_what_is_declared_and_nothing_else(made: Consortium):
    frozen(made)
    own = RecalibrationAlone("calibration", base(made), "mvi", "score.risk", names(made.study, "risk"),
                             Rule.CLOSED_TESTING, 10, min_cell=5)  # fmt: skip
    assert made.number("d", each(own)) == 0
    assert made.number("d", total(own)) == 408
    assert made.number("d", each(replace(own, refitted=("albumin",)))) == 414
    assert made.number("d", each(replace(own, cohort="external"))) == 414
    assert made.number("d", each(replace(own, column="score.line"))) == 414
    assert made.number("d", each(replace(own, min_class=5))) == 402
    cut = GuaranteedAlone("calibration", base(made), "mvi", "score.risk", 0.8, 10, min_cell=5)
    assert made.number("d", each(cut)) == 0
    assert made.number("d", each(replace(cut, target=0.81))) == 414, "many targets would tell ranks"


def test_openings_are_counted_as_before(made: Consortium):
    answer = made.put("d", perform(manifest(made)))[0]
    assert answer.receipt["openings"] == 1
    made.put("d", second(made, corrected(made)))
    again = made.with_ticket(run_id="run2").open("d")
    assert again.put("d", perform(manifest(again)))[0].receipt["openings"] == 2


ROLES = ("train", "internal-test", "calibration", "external-test")


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.sampled_from([None, "2015", "2018"]),
                          st.sampled_from([None, 0.2, 0.5])), min_size=2, max_size=5))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_patient_has_two_prediction_roles_whatever_labels_and_splits_say(template: Path, cohorts):
    """Every protocol that is accepted deals the patients of a site to disjoint cohorts: calibration is apart."""
    text = study_text("").split("[[cohorts]]")[0]
    for i, (role, label, fraction) in enumerate(cohorts):
        split = f"split = {{ fraction = {fraction} }}" if fraction and role in ("internal-test", "calibration") else ""
        named = f'label = "{label}"' if label else ""
        text += f'\n[[cohorts]]\nname = "c{i}"\nrole = "{role}"\nsites = ["d"]\n{named}\n{split}\n'
    try:
        study = parse_study(text)
    except FedmviError:
        return
    site = load_site(template / "d")
    table = Consortium({"d": template / "d"}, parse_study(study_text())).table("d")
    labels = ["2015" if i % 3 else "2018" for i in range(table.n)]
    table = replace(table, labels=labels)
    dealt = np.sum([members(site, table, study, cohort) for cohort in study.cohorts], axis=0)
    assert int(dealt.max(initial=0)) <= 1
