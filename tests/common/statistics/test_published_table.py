"""tests: the federated table of characteristics by MVI is the published one (World J Surg Oncol 2022, Table 1).

The patients are rebuilt from the 34 printed counts, one characteristic at a time, and spread over three hospitals. The
odds ratios follow from the counts by arithmetic; those that the paper prints and that are known here are checked to
0.001. Not derivable from counts, and so not checked: the p value of tumour size, Table 3, any AUC, medians of survival.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from common.federation.runner import conclude
from common.statistics.univariable import univariable
from common.study.recipe import Recipe
from simulation.cohorts.published import ABSENT, MARGINS, PRESENT
from simulation.views import COHORT, federation_of

PRINTED = {"afp": 3.365, "ast": 2.703, "edmondson": 2.467, "alt": 2.040, "ggt": 1.590}


@pytest.fixture(scope="module")
def table():
    """Univariable logistic regressions over three hospitals, and the counts behind them."""
    columns = {}
    for name, margin in MARGINS.items():
        with_mvi = np.arange(PRESENT) < margin.present
        columns[name] = np.concatenate([np.arange(ABSENT) < margin.absent, with_mvi]).astype(float)
    y = np.concatenate([np.zeros(ABSENT), np.ones(PRESENT)])
    site = np.random.default_rng(5).integers(0, 3, y.size)
    port = federation_of(columns, {"y": y}, site)
    return conclude(port, [univariable(COHORT, Recipe(), "y", tuple(columns), within_site=False)])[0]


def test_the_printed_odds_ratios_follow(table) -> None:
    found = dict(zip(MARGINS, np.exp(table.coef_), strict=True))
    for name, printed in PRINTED.items():
        assert found[name] == pytest.approx(printed, abs=1e-3), name


@pytest.mark.parametrize("place", range(len(MARGINS)), ids=list(MARGINS))
def test_every_odds_ratio_and_wald_interval_is_that_of_its_four_counts(table, place: int) -> None:
    margin = list(MARGINS.values())[place]
    a, b, c, d = margin.present, PRESENT - margin.present, margin.absent, ABSENT - margin.absent
    log_ratio, std_err = math.log(a * d / (b * c)), math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)  # Woolf 1955
    assert table.coef_[place] == pytest.approx(log_ratio, abs=1e-9)
    assert table.std_err_[place] == pytest.approx(std_err, abs=1e-9)
    wald = 2 * stats.norm.sf(abs(log_ratio / std_err))
    pearson = stats.chi2_contingency([[a, b], [c, d]], correction=False).pvalue
    assert abs(wald - pearson) < 0.02  # the paper prints Pearson's
