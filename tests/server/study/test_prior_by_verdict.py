"""server/study: a prevalence is corrected for only where that alone was found to differ, before anything was frozen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.shift_verdict import Verdict
from common.study.loader import parse_study
from server.study.recalibration import Recalibrated, fit_corrections
from server.study.shift import Looked
from tests.server.study.test_suspected import SHIFT, everybody, looked
from tests.server.study.test_withholding import study_text

FURTHER = """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["d", "e", "f"]
split = { fraction = 0.5 }

[[recalibrations]]
name = "by-prevalence"
model = "raw"
cohort = "calibration"
method = "prior"

[[recalibrations]]
name = "by-outcomes"
model = "raw"
cohort = "calibration"
method = "intercept"
"""
UNFITTED = 604
"""What is met where it is not refused: here the model has no score."""


def finished(conclusion: Conclusion[list[Recalibrated]]) -> list[Recalibrated]:
    with pytest.raises(StopIteration) as end:
        next(conclusion)
    found: list[Recalibrated] = end.value.value
    return found


def met(seen: Looked | None) -> tuple[int, int]:
    """The numbers of the errors of both recalibrations."""
    study = parse_study(study_text(SHIFT if seen is not None else "") + FURTHER)
    raw: Any = SimpleNamespace(model=next(m for m in study.models if m.name == "raw"), scoring=None, score=None)
    by_prevalence, by_outcomes = finished(fit_corrections(study, [raw], seen))
    assert isinstance(by_prevalence.fit, FedmviError) and isinstance(by_outcomes.fit, FedmviError)
    return by_prevalence.fit.number, by_outcomes.fit.number


@pytest.mark.parametrize(
    ("verdicts", "number"),
    [
        ({"d": Verdict.LABEL}, UNFITTED),
        ({"d": Verdict.LABEL, "e": Verdict.LABEL}, UNFITTED),
        ({}, 657),
        ({"d": Verdict.LABEL, "e": Verdict.COVARIATE}, 657),
        ({"d": Verdict.SEVERAL}, 657),
        ({"d": Verdict.LABEL, "f": Verdict.CANNOT_TELL}, 657),
        ({"a": Verdict.LABEL}, 657),
    ],
)
def test_the_verdict_without_outcomes_decides_and_of_other_corrections_nothing(
    verdicts: dict[str, Verdict], number: int
) -> None:
    assert met(looked(*everybody(**verdicts))) == (number, UNFITTED)


def test_where_hospitals_could_not_be_compared_it_is_not_corrected_for() -> None:
    assert met(Looked(FedmviError(603, "columns", model="shift"), {})) == (657, UNFITTED)


def test_a_hospital_that_was_not_compared_may_differ_in_anything() -> None:
    seen = looked(*(one for one in everybody(d=Verdict.LABEL) if one.site != "f"))
    assert met(seen) == (657, UNFITTED)


def test_where_a_study_compares_no_hospitals_it_is_the_author_s_assumption() -> None:
    assert met(None) == (UNFITTED, UNFITTED)
