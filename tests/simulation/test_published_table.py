"""tests: a study of the published Table 1 (World J Surg Oncol 2022), from three hospitals' files to the result.

The patients are rebuilt from the 34 printed counts, each characteristic by itself, and dealt out to three hospitals; so
what follows from one characteristic and MVI is the paper's, and nothing else is.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from common.published.results import Estimate, Results
from server.study.conduct import conduct
from simulation.cohorts.published import ABSENT, MARGINS, PRESENT, Margin
from tests.disclosure.consortium import Row, make

PRINTED = {"afp": 3.365, "ast": 2.703, "edmondson": 2.467, "alt": 2.040, "ggt": 1.590}
"""Odds ratios that the paper prints, of those that it selects; the other twelve are known here by their counts only."""

NOT_DERIVABLE = (
    "p of tumour size", "Table 3 (multivariable regression)", "areas under ROC curves", "medians of survival",
)  # fmt: skip
"""What of the paper does not follow from the counts of single characteristics, and so is no target anywhere."""

SITES = ("a", "b", "c")
STUDY = """
[study]
name = "table-one"
title = "Characteristics by MVI, as published"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]
""" + "".join(
    f'\n[[variables]]\nname = "x_{name}"\nlabel = "{name}"\nkind = "binary"\n'
    f'known = "{"preoperative" if margin.preoperative else "pathological"}"\nlevels = ["no", "yes"]\n'
    for name, margin in MARGINS.items()
)  # fmt: skip


def analysis(kind: str, statistic: str) -> str:
    names = ", ".join(f'"x_{name}"' for name in MARGINS)
    return (
        f'\n[[analyses]]\nname = "{kind}"\nlabel = "{kind}"\nstatistic = "{statistic}"\ncohort = "train"\n'
        f'endpoint = "mvi"\npredictors = [{names}]\n'
    )


def published(site: str) -> list[Row]:
    """A third of the patients, drawn without regard to what they have."""
    n = ABSENT + PRESENT
    mine = np.random.default_rng(5).integers(0, len(SITES), n) == SITES.index(site)
    mvi = np.arange(n) >= ABSENT
    has = {
        name: np.concatenate([np.arange(ABSENT) < margin.absent, np.arange(PRESENT) < margin.present])
        for name, margin in MARGINS.items()
    }
    return [
        {
            "patient_id": f"{site}-{i}", "cohort": "2015", "mvi": str(int(mvi[i])),
            **{f"x_{name}": "yes" if values[i] else "no" for name, values in has.items()},
        }
        for i in np.flatnonzero(mine)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    def replaced(rows: list[Row]) -> None:
        rows[:] = published(rows[0]["patient_id"][0])

    # The paper has one hospital: an intercept for each of the three here would be another model.
    odds = analysis("odds", "univariable-logistic") + "within_site = false\n"
    study = STUDY + odds + analysis("tests", "chi-square")
    made = make(tmp_path_factory.mktemp("sites"), dict.fromkeys(SITES, replaced), study=study, masked=True, sites=SITES)
    return conduct(made.study, made.port(), lambda _: None).results


def of(results: Results, analysed: str, estimate: str) -> dict[str, Estimate]:
    """Estimates by the characteristic's name."""
    result = results.get(f"analysis.{analysed}")
    assert result.status == "estimated", result.note
    found = {e.term.removeprefix("x_").removesuffix("=yes"): e for e in result.estimates if e.name == estimate}
    assert sorted(found) == sorted(MARGINS)
    return found


def counts(margin: Margin) -> tuple[int, int, int, int]:
    return margin.present, PRESENT - margin.present, margin.absent, ABSENT - margin.absent


def test_the_study_gives_the_printed_odds_ratios(results: Results) -> None:
    odds = of(results, "odds", "odds_ratio")
    for name, printed in PRINTED.items():
        assert odds[name].value == pytest.approx(printed, abs=1e-3), name


@pytest.mark.parametrize("name", list(MARGINS))
def test_odds_ratio_interval_and_both_p_are_those_of_the_four_counts(results: Results, name: str) -> None:
    a, b, c, d = counts(MARGINS[name])
    log_ratio, std_err = math.log(a * d / (b * c)), math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)  # Woolf 1955
    found = of(results, "odds", "odds_ratio")[name]
    limits = [math.exp(log_ratio + z * stats.norm.ppf(0.975) * std_err) for z in (0, -1, 1)]
    assert [found.value, found.low, found.high] == pytest.approx(limits, rel=1e-8)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(log_ratio / std_err)), rel=1e-6), "Wald's"
    pearson = stats.chi2_contingency([[a, b], [c, d]], correction=False)
    test = of(results, "tests", "chi2")[name]
    assert test.value == pytest.approx(pearson.statistic, rel=1e-10)
    assert test.p == pytest.approx(pearson.pvalue, rel=1e-8), "which the paper prints"


def test_what_the_counts_do_not_tell_is_not_claimed(results: Results) -> None:
    assert len(NOT_DERIVABLE) == len(set(NOT_DERIVABLE)) and not any("size" in name for name in MARGINS)
    told = {e.name for result in results.results for e in result.estimates}
    assert not told & {"auc", "median", "hazard_ratio"}
    assert not [result.id for result in results.results if result.id.startswith("model.")], "nor any multivariable fit"
