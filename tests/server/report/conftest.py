"""tests: a small study's results, made in code: hidden counts, a site alone, what is refused or not estimable."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from common.published.results import CohortFacts, Count, Curve, Estimate, Result, Results, VariableFacts
from server.report.page import write_report

SITES = ("alpha", "beta", "gamma")
DAYS = [i * 365.25 / 12 for i in range(31)]


def _counts(
    names: list[str], table: list[list[int | None]], pooled: list[int | None], sites: tuple[str, ...]
) -> list[Count]:
    return [
        Count(name=name, by_site=dict(zip(sites, row, strict=True)), pooled=total)
        for name, row, total in zip(names, table, pooled, strict=True)
    ]  # fmt: skip


def _counting(sites: tuple[str, ...], far: str) -> list[Result]:
    train = {"cohort": "train", "sites": list(sites), "how": "exact"}
    alone = {"cohort": "external", "sites": [far], "how": "site-alone"}
    steps = ["patients in the table", "excluded by no_prior_treatment", "other role", "in the cohort"]
    classes = ["Microvascular invasion absent", "Microvascular invasion present", "unknown"]
    flow = _counts(steps, [[70, 60, 50], [None, None, 6], [0, 0, 0], [60, 57, 44]], [180, 19, 0, 161], sites)
    far_flow = _counts(steps, [[None], [None], [0], [41]], [None, None, 0, 41], (far,))
    far_flow[0] = far_flow[0].model_copy(update={"large": [far]})
    present = _counts(classes, [[30, 28, 24], [30, 27, 20], [0, None, None]], [82, 77, None], sites)
    far_present = _counts(classes, [[21], [20], [0]], [21, 20, 0], (far,))
    missing = _counts(["Age", "AFP"], [[0, 0, 0], [None, 0, None]], [0, 9], sites)
    make = Result.model_validate
    return [
        make({"id": "flow.train", "statistic": "patient-flow", "title": "Patient flow, cohort train", "n": 161,
              "counts": flow, **train}),
        make({"id": "flow.external", "statistic": "patient-flow", "title": "Patient flow, cohort external", "n": 41,
              "counts": far_flow, **alone}),
        make({"id": "classes.train.mvi", "statistic": "endpoint-counts", "counts": present, "n": 159, "events": 77,
              "title": "Microvascular invasion, cohort train", **train}),
        make({"id": "classes.external.mvi", "statistic": "endpoint-counts", "counts": far_present, "n": 41,
              "events": 20, "title": "Microvascular invasion, cohort external", **alone}),
        make({"id": "missing.train", "statistic": "missing-values", "title": "Missing values, cohort train", "n": 161,
              "counts": missing, **train}),
    ]  # fmt: skip


def _model(sites: tuple[str, ...], far: str) -> list[Result]:
    train = {"cohort": "train", "sites": list(sites), "how": "exact-masked"}
    alone = {"cohort": "external", "sites": [far], "how": "site-alone"}

    def ratio(term: str, coef: float, std_err: float, p: float) -> list[Estimate]:
        low, high = coef - 1.96 * std_err, coef + 1.96 * std_err
        return [
            Estimate(name="coef", term=term, value=coef, low=low, high=high, std_err=std_err, p=p),
            Estimate(name="odds_ratio", term=term, value=math.exp(coef), low=math.exp(low), high=math.exp(high), p=p),
        ]

    separated = Estimate(name="odds_ratio", term="stage=B", value=None, note="The predictors separate the classes.")
    size = [("candidate_parameters", 3.0), ("events_per_parameter", 77 / 3), ("needed_for_shrinkage", 301.0),
            ("needed_for_optimism", 140.0), ("needed_for_prevalence", 383.0), ("needed", 383.0)]  # fmt: skip
    moments = [
        Estimate(name="known", term="age", value=161.0),
        Estimate(name="mean", term="age", value=57.123456789, unit="years"),
        Estimate(name="std", term="age", value=10.98765, unit="years"),
        Estimate(name="known", term="afp>20", value=152.0),
        Estimate(name="mean", term="afp>20", value=0.578, unit=""),
        Estimate(name="std", term="afp>20", value=0.49, unit=""),
    ]
    auc = Estimate(name="auc", value=0.7123456789, low=0.65, high=0.77, std_err=0.031)
    far_auc = Estimate(name="auc", value=0.6543210987, low=0.51, high=0.79, std_err=0.071)
    curve = Curve(name="train", x=[0.0, 0.1, 0.3, 0.6, 1.0], y=[0.0, 0.4, 0.7, 0.9, 1.0])
    diagonal = Curve(name=far, x=[0.0, 1.0], y=[0.0, 1.0])
    make = Result.model_validate
    return [
        make({"id": "model.clinical.sample-size", "statistic": "sample-size", "title": "Sample size for Clinical model",
              "n": 159, "events": 77, "note": "159 patients are fewer than the 383 that Riley's criteria ask for.",
              "estimates": [Estimate(name=n, value=v) for n, v in size], **train}),
        make({"id": "model.clinical.moments", "statistic": "moments", "title": "Predictors, Clinical model",
              "estimates": moments, **train}),
        make({"id": "model.clinical.univariable", "statistic": "univariable-logistic",
              "title": "Each predictor alone, Clinical model",
              "estimates": [*ratio("age", -0.01, 0.012, 0.40), *ratio("afp>20", 1.1, 0.3, 0.0000021), separated,
                            Estimate(name="auc", term="age", value=0.47, low=0.4, high=0.54, std_err=0.04)], **train}),
        make({"id": "model.clinical.coefficients", "statistic": "multivariable-logistic", "n": 150, "events": 72,
              "title": "All predictors together, Clinical model", "note": "Wald intervals; complete cases.",
              "estimates": [*ratio("age", -0.012, 0.013, 0.36), *ratio("afp>20", 6.0, 2.9, 0.0385),
                            Estimate(name="aic", value=188.25),
                            Estimate(name="likelihood_ratio_chi2", term="df=2", value=14.2, p=0.0008)], **train}),
        make({"id": "model.clinical.auc.train", "statistic": "auc", "n": 150, "events": 72, "estimates": [auc],
              "title": "Discrimination of Clinical model, cohort train", "note": "Apparent.", "curves": [curve],
              **train}),
        make({"id": "model.clinical.auc.external.far", "statistic": "auc", "n": 41, "events": 20, "curves": [diagonal],
              "title": "Discrimination of Clinical model, cohort external", "estimates": [far_auc], **alone}),
        make({"id": "model.broken.coefficients", "statistic": "multivariable-logistic", "status": "refused",
              "title": "All predictors together, Broken model", **train,
              "note": "FEDMVI-401: Site policy allows fewer parameters. Use fewer predictors."}),
        make({"id": "model.broken.auc.train", "statistic": "auc", "status": "not-estimable",
              "title": "Discrimination of Broken model, cohort train", "note": "The model could not be fitted.",
              **train}),
    ]  # fmt: skip


def _survival(sites: tuple[str, ...]) -> list[Result]:
    base = {"statistic": "survival", "cohort": "train", "sites": list(sites), "how": "exact"}
    absent, present = ("Microvascular invasion: absent", "Microvascular invasion: present")
    steady = [max(0.4, 1 - 0.01 * i) for i in range(31)]
    steep = [max(0.1, 1 - 0.04 * i) for i in range(23)]
    curves = [
        Curve(name=name, x=DAYS[: len(y)], y=y, low=[v - 0.05 for v in y], high=[min(1, v + 0.05) for v in y],
              at_risk=at_risk, unit="days")
        for name, y, at_risk in ((absent, steady, [82 - 2 * i for i in range(31)]),
                                 (present, steep, [77 - 3 * i for i in range(22)] + [None]))
    ]  # fmt: skip
    estimates = [
        Estimate(name="patients", term=absent, value=82.0),
        Estimate(name="events", term=absent, value=None),
        Estimate(name="median", term=absent, value=None, low=700.0, unit="days", note="not reached"),
        Estimate(name="survival", term=f"{absent} at 365 days", value=0.88, low=0.8, high=0.93),
        Estimate(name="survival", term=f"{absent} at 1825 days", value=None, note="fewer than 5 patients at risk"),
        Estimate(name="patients", term=present, value=77.0),
        Estimate(name="events", term=present, value=50.0),
        Estimate(name="median", term=present, value=400.0, low=300.0, high=500.0, unit="days"),
        Estimate(name="survival", term=f"{present} at 365 days", value=0.52, low=0.4, high=0.62),
        Estimate(name="log_rank_chi2", term="df=1", value=21.123456, p=0.0000043),
    ]
    make = Result.model_validate
    return [
        make({"id": "comparison.rfs-by-mvi", "title": "Recurrence-free survival by Microvascular invasion",
              "estimates": estimates, "curves": curves, **base}),
        make({"id": "comparison.os-by-mvi", "title": "Overall survival by Microvascular invasion",
              "status": "not-estimable", "note": "Not estimable: fewer than 5 events in a group.", **base}),
    ]  # fmt: skip


Make = Callable[..., Results]


@pytest.fixture
def make() -> Make:
    """Results with a title, names of sites and a mark of one's choice."""

    def made(
        title: str = "A small study", sites: tuple[str, ...] = SITES, far: str = "delta", *, simulated: bool = True
    ) -> Results:
        return Results(
            study="small",
            title=title,
            description="Three sites train, one tests.",
            simulated=simulated,
            sources=["A paper, see https://example.org/paper"],
            study_fingerprint="a" * 64,
            code_fingerprint="b" * 64,
            preparation_fingerprint="c" * 64,
            min_cell=5,
            cohorts=[
                CohortFacts(name="train", role="train", sites=list(sites)),
                CohortFacts(name="external", role="external-test", sites=[far]),
            ],
            under_limits=[],
            variables={
                "age": VariableFacts(title="Age", unit="years", reference=""),
                "afp": VariableFacts(title="AFP", unit="ng/mL", reference=""),
                "sex": VariableFacts(title="Sex", unit="", reference="female"),
            },
            results=[*_counting(sites, far), *_model(sites, far), *_survival(sites)],
        )

    return made


@pytest.fixture
def results(make: Make) -> Results:
    """The small study."""
    return make()


@pytest.fixture
def folder(results: Results, tmp_path: Path) -> Path:
    """A run's folder with the report of the small study."""
    write_report(results, RUN, tmp_path)
    return tmp_path


RUN = {
    "run_id": "run-1",
    "submitted": "2026-01-02T03:04:05Z",
    "seconds": 3723.4,
    "rounds": 31,
    "bytes_from_sites": 1834567,
    "bytes_to_sites": 912,
    "sites": {"alpha": {"numpy": "2.4.6", "store": "f" * 64}, "beta": {"numpy": "2.4.6", "store": "0" * 64}},
    "external_openings": {"external": 2},
}
