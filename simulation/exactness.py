"""simulation: measures how far every federated statistic is from the same statistic on the pooled rows.

Each case runs a conclusion over at least three uneven, unlike sites, plain and masked, and holds it against an
independent library on all rows together. The tables are public ones that the libraries bring with them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.federation.ports import Meter, SitesPort
from common.federation.runner import Conclusion, conclude
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.moments import Moments, moments
from common.statistics.roc import RocResult, roc
from common.statistics.survival import SurvivalResult, survival
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.views import COHORT, federation_of

Difference = tuple[str, str, float, float]
"""Statistic, oracle, largest difference, tolerance."""


@dataclass(frozen=True)
class Table:
    """A pooled table and the (n,) site of each row."""

    name: str
    columns: Mapping[str, FloatArray]
    endpoints: Mapping[str, FloatArray]
    site: NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """Conclusions over one table, and how their results are held against an oracle."""

    table: Table
    conclusions: Callable[[], list[Conclusion[Any]]]
    differences: Callable[[list[Any]], list[Difference]]


@dataclass(frozen=True)
class Row:
    """One line of the exactness table."""

    statistic: str
    data: str
    oracle: str
    difference: float
    tolerance: float
    masked_equal: bool
    rounds: int
    kib_per_site: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Within tolerance, and masked and plain equal bit for bit."""
        return self.difference <= self.tolerance and self.masked_equal


def measure(cases: Sequence[Case]) -> list[Row]:
    """Run all cases, plain and masked."""
    rows = []
    for case in cases:
        plain, meter, seconds = _run(case, masked=False)
        masked, _, _ = _run(case, masked=True)
        equal = all(_same(a, b) for a, b in zip(plain, masked, strict=True))
        kib = meter.bytes_from_sites / 1024 / len(np.unique(case.table.site))
        for statistic, oracle, difference, tolerance in case.differences(plain):
            rows.append(
                Row(statistic, case.table.name, oracle, difference, tolerance, equal, meter.rounds, kib, seconds)
            )
    return rows


def as_markdown(rows: Sequence[Row]) -> str:
    """The table as a page."""
    text = (
        "# Exactness\n\nLargest difference between each federated statistic and the same one on the pooled rows, "
        "measured by `fedmvi-simulate exactness`. Every case ran twice, plain and under masks, with equal bits.\n\n"
        "| statistic | data | oracle | difference | tolerance | masked = plain | rounds | KiB per site | seconds |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    for row in rows:
        equal = "yes" if row.masked_equal else "**no**"
        measured = f"{row.difference:.1e} | {row.tolerance:.0e} | {equal} | {row.rounds} | {row.kib_per_site:.1f}"
        text += f"| {row.statistic} | {row.data} | {row.oracle} | {measured} | {row.seconds:.2f} |\n"
    return text


def _run(case: Case, *, masked: bool) -> tuple[list[Any], Meter, float]:
    port = federation_of(case.table.columns, case.table.endpoints, case.table.site, masked=masked)
    meter = Meter(port.transport)
    begun = time.perf_counter()
    results = conclude(SitesPort(meter, port.ticket), case.conclusions())
    return results, meter, time.perf_counter() - begun


def _same(first: Any, second: Any) -> bool:
    """Whether two results are equal bit for bit."""
    if dataclasses.is_dataclass(first):
        return all(_same(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    if isinstance(first, np.ndarray):
        return bool(first.tobytes() == second.tobytes())
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, float):
        return np.float64(first).tobytes() == np.float64(second).tobytes()
    return bool(first == second)


def _library(name: str) -> str:
    return f"{name} {metadata.version(name)}"


# ------------------------------------------------------------------------------------------------- the tables


def breast_cancer() -> Table:
    """569 patients, 30 features, as four sites of very different size and prevalence (UCI, in scikit-learn)."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.lexsort((data.data[:, 0], 1 - data.target))
    rows = np.concatenate([np.random.default_rng(0).permutation(order[:400]), order[400:]])
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    columns = {name: data.data[rows, i].astype(np.float64) for i, name in enumerate(names)}
    outcome = (1 - data.target[rows]).astype(np.float64)
    return Table("breast cancer, 4 sites", columns, {"y": outcome}, np.repeat(np.arange(4), [45, 98, 156, 270]))


def recidivism() -> Table:
    """432 men, weeks to arrest, by earlier convictions (Rossi et al. 1980, in lifelines), as five sites."""
    from lifelines.datasets import load_rossi

    data = load_rossi()
    group = np.minimum(data["prio"].to_numpy(), 4).astype(np.float64)
    endpoints = {"os.time": data["week"].to_numpy(np.float64), "os.event": data["arrest"].to_numpy(np.float64)}
    return Table("recidivism, 5 sites", {"group": group}, endpoints, np.arange(len(data)) % 5)


# --------------------------------------------------------------------------------------------------- the cases

SEVEN = (
    "mean_texture", "mean_smoothness", "mean_symmetry", "texture_error", "smoothness_error", "mean_fractal_dimension",
    "symmetry_error",
)  # fmt: skip


def cases() -> list[Case]:
    """Every statistic that there is, each over a table that is hard for it."""
    breast, men = breast_cancer(), recidivism()
    names = tuple(breast.columns)
    groups = int(men.columns["group"].max()) + 1
    grid = int(men.endpoints["os.time"].max()) + 1
    return [
        Case(breast, lambda: [moments(COHORT, Recipe(), names)], lambda r: _moments(breast, r[0])),
        Case(breast, lambda: [logistic(COHORT, Recipe(), "y", SEVEN)], lambda r: _logistic(breast, [SEVEN], r, "")),
        Case(
            breast,
            lambda: [logistic(COHORT, Recipe(), "y", (name,)) for name in names],
            lambda r: _logistic(breast, [(name,) for name in names], r, "univariable "),
        ),
        Case(
            breast,
            lambda: [roc(COHORT, Recipe(), "y", name) for name in names],
            lambda r: _roc(breast, dict(zip(names, r, strict=True))),
        ),
        Case(men, lambda: [survival(COHORT, Recipe(), "os", groups, 1.0, grid)], lambda r: _survival(men, r[0])),
    ]


def _moments(table: Table, fit: Moments) -> list[Difference]:
    from sklearn.preprocessing import StandardScaler

    X = np.column_stack([table.columns[name] for name in fit.columns])
    scaler = StandardScaler().fit(X)
    std = scaler.scale_ * np.sqrt(len(X) / (len(X) - 1))
    oracle = f"{_library('scikit-learn')} StandardScaler"
    return [
        ("mean (relative)", oracle, float(np.max(np.abs(fit.mean_ / scaler.mean_ - 1))), 1e-12),
        ("standard deviation (relative)", oracle, float(np.max(np.abs(fit.std_ / std - 1))), 1e-12),
    ]


def _logistic(
    table: Table, columns: Sequence[tuple[str, ...]], fits: Sequence[LogisticResult], kind: str
) -> list[Difference]:
    import statsmodels.api as sm

    worst = dict.fromkeys(("coefficient", "standard error", "log10 p", "log-likelihood"), 0.0)
    for names, fit in zip(columns, fits, strict=True):
        X = np.column_stack([table.columns[name] for name in names])
        scale = X.std(axis=0)
        pooled = sm.Logit(table.endpoints["y"], sm.add_constant((X - X.mean(axis=0)) / scale)).fit(
            disp=0, tol=1e-14, maxiter=100
        )
        p = np.array([row["p"] for row in fit.summary[1:]])
        for name, difference in (
            ("coefficient", np.abs(fit.coef_[1:] * scale - pooled.params[1:])),
            ("standard error", np.abs(fit.std_err_[1:] * scale - pooled.bse[1:])),
            ("log10 p", np.abs(np.log10(p) - np.log10(pooled.pvalues[1:]))),
            ("log-likelihood", np.abs(fit.log_likelihood_ - pooled.llf)),
        ):
            worst[name] = max(worst[name], float(np.max(difference)))
    oracle = f"{_library('statsmodels')} Logit(tol=1e-14)"
    limits = {"coefficient": 1e-9, "standard error": 1e-9, "log10 p": 1e-8, "log-likelihood": 1e-8}
    return [(f"{kind}logistic {name} (standardised)", oracle, worst[name], limits[name]) for name in worst]


def _roc(table: Table, fits: Mapping[str, RocResult]) -> list[Difference]:
    from sklearn.metrics import roc_auc_score

    y = table.endpoints["y"]
    area = error = 0.0
    for name, fit in fits.items():
        score = table.columns[name]
        area = max(area, abs(fit.auc_ - float(roc_auc_score(y, score))))
        psi = 0.5 * (1.0 + np.sign(score[y == 1][:, np.newaxis] - score[y == 0]))
        parts = (psi.mean(axis=1), psi.mean(axis=0))
        error = max(error, abs(fit.std_err_ - float(np.sqrt(sum(p.var(ddof=1) / p.size for p in parts)))))
    return [
        ("AUC", f"{_library('scikit-learn')} roc_auc_score", area, 1e-12),
        ("DeLong standard error", "all pairs, by its definition", error, 1e-12),
    ]


def _survival(table: Table, fit: SurvivalResult) -> list[Difference]:
    from lifelines import KaplanMeierFitter
    from lifelines.statistics import multivariate_logrank_test

    time_, event, group = table.endpoints["os.time"], table.endpoints["os.event"], table.columns["group"]
    curve = at_risk = 0.0
    for i, ours in enumerate(fit.curves_):
        pooled = KaplanMeierFitter().fit(time_[group == i], event[group == i])
        theirs = pooled.survival_function_.loc[ours.time_].to_numpy()[:, 0]
        curve = max(curve, float(np.max(np.abs(ours.survival_ - theirs))))
        risk = pooled.event_table["at_risk"].loc[ours.time_].to_numpy()
        at_risk = max(at_risk, float(np.max(np.abs(ours.at_risk_ - risk))))
    test = multivariate_logrank_test(time_, group, event)
    oracle = _library("lifelines")
    return [
        ("Kaplan-Meier survival", oracle, curve, 1e-12),
        ("patients at risk", oracle, at_risk, 0.0),
        (f"log-rank chi2, {fit.degrees_ + 1} groups", oracle, abs(fit.chi2_ - test.test_statistic), 1e-8),
        ("log-rank log10 p", oracle, abs(np.log10(fit.p_) - np.log10(test.p_value)), 1e-8),
    ]
