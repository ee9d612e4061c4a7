"""server/study: step: the further statistics that a study declares on its models' scores, after these are frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.published.results import EVERYONE, Curve, Estimate, Result
from common.statistics.bootstrap import REPLICATES, Replicates, bootstrap_areas, bootstrap_slope, bootstrap_thresholds
from common.statistics.calibration import REGRESSIONS, Calibration, RiskTable, calibration_as_far
from common.statistics.confusion import ConfusionResult, confusion, wilson
from common.statistics.cutoffs import Rule, cutoffs
from common.statistics.decision_curve import DecisionCurve, decision_curve
from common.statistics.multiplicity import holm
from common.statistics.roc import compare_areas, rocs
from common.study.analyses import ANALYSES, StatisticName
from common.study.protocol import Analysis, Study
from common.study.recipe import Recipe, Score
from common.study.scores import candidates, named_network
from common.study.scoring import frozen_prefixes, merged
from common.study.table import FloatArray
from server.study.models import FittedModel, ScoredModel, refusal
from server.study.score_inputs import Scores
from server.study.subject import Finding, estimates, number, result_of

THRESHOLDS = np.arange(1, 20) / 20
"""Risks at which a decision curve is published."""


@dataclass(frozen=True)
class Scored:
    """An analysis on scores: one frame with the scores of all that it names.

    Attributes
    ----------
    names
        The columns of the scores, in the order of `analysis.models`.
    chosen
        By the name of a choice the model that it took.
    models
        Those that are scored, with their `scores`; networks are not among them.
    """

    study: Study
    analysis: Analysis
    recipe: Recipe
    names: tuple[str, ...]
    chosen: Mapping[str, str]
    models: tuple[ScoredModel, ...]

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores of the models."""
        return tuple(model.score for model in self.models if model.score is not None)

    @property
    def endpoint(self) -> str:
        """What is predicted."""
        return self.analysis.endpoint or ""


def scored(study: Study, analysis: Analysis, fitted: Sequence[ScoredModel], known: Scores) -> Scored | FedmviError:
    """The frame of an analysis; why there is none where something that it names has no score."""
    parts, columns, models, chosen = [], [], [], {}
    for name in analysis.models:
        if named_network(study, name) is not None and not candidates(study, name):
            made = known.network_parts(name)
            if isinstance(made, FedmviError):
                return made
            parts.append(made[0])
            columns.append(made[1])
            continue
        model = next((m for m in fitted if m.model.name == known.chosen.get(name, name)), None)
        if model is None or model.score is None or model.parts is None:
            return _unscored(model, name)
        if name in known.chosen:
            chosen[name] = model.model.title
        parts.append(model.parts)
        columns.append(model.score.column)
        models.append(model)
    recipe = merged(parts).recipe(study.endpoint(analysis.endpoint or "").keys)
    return Scored(study, analysis, recipe, tuple(columns), chosen, tuple(models))


def _unscored(model: ScoredModel | None, name: str) -> FedmviError:
    fit = model.fit if isinstance(model, FittedModel) else None
    return fit if isinstance(fit, FedmviError) else FedmviError(659, model=name)


def frozen_with(study: Study, fitted: Sequence[ScoredModel], known: Scores) -> set[str]:
    """Digests of the recipes that analyses of several models use, each up to a score: frozen with the models."""
    digests: set[str] = set()
    for analysis in study.analyses:
        found = scored(study, analysis, fitted, known) if len(analysis.models) > 1 else None
        digests |= frozen_prefixes(found.recipe) if isinstance(found, Scored) else set()
    return digests


def analyse_scores(study: Study, fitted: Sequence[ScoredModel], known: Scores) -> Conclusion[list[Result]]:
    """All analyses on models' scores, in lock-step."""
    chosen = [a for a in study.analyses if ANALYSES[a.statistic].on == "models"]
    found: list[Finding | FedmviError] = yield from together(*(attempt(_one(study, a, fitted, known)) for a in chosen))
    return adjusted(study, [result_of(study, a, finding) for a, finding in zip(chosen, found, strict=True)])


def adjusted(study: Study, results: Sequence[Result]) -> list[Result]:
    """The results with p of all differences of areas on test cohorts adjusted together, as the study declares them."""
    tests = {cohort.name for cohort in study.cohorts if cohort.role in ("internal-test", "external-test")}
    family = [
        (result.id, e.term, e.p)
        for result in results if result.kind == "compare-areas" and result.cohort in tests
        for e in result.estimates if e.name == "auc_difference" and e.p is not None
    ]  # fmt: skip
    p = holm(np.array([one for *_, one in family], dtype=np.float64))
    note = f"p, adjusted for the study's {len(family)} comparison{'' if len(family) == 1 else 's'} (Holm)"
    by_result: dict[str, list[Estimate]] = {}
    for (name, term, _), value in zip(family, p, strict=True):
        by_result.setdefault(name, []).append(Estimate(name="adjusted_p", term=term, value=number(value), note=note))
    return [r.model_copy(update={"estimates": [*r.estimates, *by_result.get(r.id, [])]}) for r in results]


def _one(study: Study, analysis: Analysis, fitted: Sequence[ScoredModel], known: Scores) -> Conclusion[Finding]:
    subject = scored(study, analysis, fitted, known)
    if isinstance(subject, FedmviError):
        raise subject
    return (yield from MAKERS[analysis.statistic](subject))


def _calibration(s: Scored) -> Conclusion[Finding]:
    asked = [calibration_as_far(s.analysis.cohort, s.recipe, s.endpoint, name) for name in s.names]
    told: list[Calibration | tuple[RiskTable, FedmviError]] = yield from together(*asked)
    fits: list[RiskTable] = [one[0] if isinstance(one, tuple) else one for one in told]
    found, curves = [], []
    for score, one, fit in zip(s.scores, told, fits, strict=True):
        if isinstance(one, tuple):
            why = refusal(one[1])[1]
            found += [
                Estimate(name=name.replace(" ", "_"), term=score.model, value=None, note=why) for name in REGRESSIONS
            ]
        found += [
            Estimate(name=str(row["measure"]).replace(" ", "_"), term=score.model, value=number(row["value"]),
                     low=number(row["low"]), high=number(row["high"]))
            for row in fit.summary
        ]  # fmt: skip
        curves += _groups(score.model, fit, s.study.limits.min_cell)
    note = "The expected error is over ten bins of risk."
    return Finding(found, fits[0].n_, fits[0].events_, note, curves=tuple(curves))


def _groups(model: str, fit: RiskTable, cell: int) -> list[Curve]:
    """Observed shares by groups of predicted risk: bins joined until each has `cell` patients of either class.

    Rounded to hundredths, so that no group's counts can be told from its share and subtracted from what a decision
    curve tells. None where fewer than two groups are left.
    """
    bins = np.stack([fit.bin_n_ - fit.bin_events_, fit.bin_events_, fit.bin_expected_]).T
    groups: list[FloatArray] = [np.zeros(3)]
    for one in bins:
        if bool(np.all(groups[-1][:2] >= cell)):
            groups.append(np.zeros(3))
        groups[-1] = groups[-1] + one
    if len(groups) > 1 and not bool(np.all(groups[-1][:2] >= cell)):
        rest = groups.pop()
        groups[-1] = groups[-1] + rest
    if len(groups) < 2:
        return []
    absent, events, expected = np.array(groups).T
    n = absent + events
    low, high = wilson(events, n)
    x, y, low, high = (np.round(values, 2).tolist() for values in (expected / n, events / n, low, high))
    return [Curve(name=model, x=x, y=y, low=low, high=high)]


def _decision_curve(s: Scored) -> Conclusion[Finding]:
    fit = yield from decision_curve(s.analysis.cohort, s.recipe, s.endpoint, s.names, THRESHOLDS)
    cell = s.study.limits.min_cell
    found, curves = [], []
    for i, score in enumerate(s.scores):
        told = _told(fit, i, cell)
        found += [_benefit(f"{score.model} at {THRESHOLDS[j]:.0%}", fit.net_benefit_[i, j]) for j in told]
        curves.append(Curve(name=score.model, x=THRESHOLDS[told].tolist(), y=fit.net_benefit_[i, told].tolist()))
    found += [_benefit(f"{EVERYONE} at {t:.0%}", b) for t, b in zip(THRESHOLDS, fit.treat_all_, strict=True)]
    curves.append(Curve(name=EVERYONE, x=THRESHOLDS.tolist(), y=fit.treat_all_.tolist()))
    note = f"Thresholds that part fewer than {cell} are not told."
    return Finding(found, fit.n_, round(fit.risk_ * fit.n_), note, curves=tuple(curves))


def _benefit(term: str, value: float) -> Estimate:
    return Estimate(name="net_benefit", term=term, value=number(value))


def _told(fit: DecisionCurve, model: int, cell: int) -> list[int]:
    """Thresholds from the highest on whose positives, of either class, differ by no few patients from the last told."""
    positives: FloatArray = np.stack([fit.true_positive_[model], fit.false_positive_[model]]) * fit.n_
    last, ends = np.zeros(2), np.array([fit.risk_ * fit.n_, (1.0 - fit.risk_) * fit.n_])
    told = []
    for j in range(positives.shape[1] - 1, -1, -1):
        steps = np.rint(np.stack([positives[:, j] - last, ends - positives[:, j]]))
        if bool(np.all((steps == 0) | (steps >= cell))):
            told.append(j)
            last = positives[:, j]
    return told[::-1]


def _cut_off(s: Scored) -> Conclusion[Finding]:
    cell = s.study.limits.min_cell
    values = np.array((yield from together(*(_chosen(s, model, score) for model, score in _pairs(s)))))
    fit: ConfusionResult = yield from confusion(s.analysis.cohort, s.recipe, s.endpoint, s.names, values)
    found: list[Estimate] = []
    for i, (score, row) in enumerate(zip(s.scores, fit.summary, strict=True)):
        counts = fit.counts_[i]
        found.append(Estimate(name="cutoff", term=score.model, value=float(values[i])))
        if bool(np.any((counts > 0) & (counts < cell))):
            found.append(
                Estimate(name="sensitivity", term=score.model, value=None, note=f"fewer than {cell} in a cell")
            )
            continue
        rows: list[Mapping[str, Any]] = [{**row, "term": score.model}]
        for share in fit.shares:
            found += estimates(rows, share, share)
    n, events = int(fit.counts_[0].sum()), int(fit.counts_[0, 1].sum())
    return Finding(found, n, events, "Youden's cut-off of the training cohort; Wilson intervals.")


def _pairs(s: Scored) -> list[tuple[ScoredModel, Score]]:
    return list(zip(s.models, s.scores, strict=True))


def _chosen(s: Scored, model: ScoredModel, score: Score) -> Conclusion[float]:
    """The cut-off of a model: the one that was frozen with it, or else chosen now, on its training patients."""
    if isinstance(model.cutoff, float):
        return model.cutoff
    if isinstance(model.cutoff, FedmviError):
        raise model.cutoff
    # A model on scores sees out-of-fold ones in training; any other has one recipe everywhere.
    recipe = model.training if isinstance(model, FittedModel) and model.scores else s.recipe
    cell = s.study.limits.min_cell
    found = yield from cutoffs(
        model.model.cohort, recipe or s.recipe, s.endpoint, (score.column,), Rule.YOUDEN, min_cell=cell
    )
    return found[0].value_


def _compare_areas(s: Scored) -> Conclusion[Finding]:
    fit = yield from compare_areas(s.analysis.cohort, s.recipe, s.endpoint, s.names)
    found = []
    for name, roc in zip(s.analysis.models, fit.rocs_, strict=True):
        low, high = roc.interval
        found.append(Estimate(name="auc", term=name, value=roc.auc_, low=number(low), high=number(high)))
    called = dict(zip(s.names, s.analysis.models, strict=True))
    rows = [{**row, "term": f"{called[row['first']]} less {called[row['second']]}"} for row in fit.summary]
    found += estimates(rows, "auc_difference", "difference")
    took = "".join(f" The model that '{name}' took in training is {title}." for name, title in s.chosen.items())
    note = f"DeLong's paired test on the patients of whom all scores are known.{took}"
    return Finding(found, fit.rocs_[0].n_, fit.rocs_[0].events_, note)


def _bootstrap(s: Scored) -> Conclusion[Finding]:
    """Areas, Brier scores and calibration slopes; the areas' own question costs no round more, and tells n."""
    asked = (s.analysis.cohort, s.recipe, s.endpoint)
    whole, areas, at_thresholds, *lines = yield from together(
        rocs(*asked, s.names),
        bootstrap_areas(*asked, s.names),
        bootstrap_thresholds(*asked, s.names, np.empty((len(s.names), 0))),
        *(bootstrap_slope(*asked, name) for name in s.names),
    )
    n, events = whole[0].n_, whole[0].events_
    if min(events, n - events) < s.study.limits.min_test_class:
        why = f"fewer than {s.study.limits.min_test_class} patients in a class"
        return Finding([Estimate(name="auc", value=None, note=why)], n, events)
    found = []
    for i, score in enumerate(s.scores):
        found += [_interval("auc", score.model, areas, i), _interval("brier", score.model, at_thresholds.brier_, i)]
        found.append(_interval("calibration_slope", score.model, lines[i], (0, 1)))
    note = f"Percentile intervals of {REPLICATES} bootstrap sets, drawn inside hospitals and classes."
    return Finding(found, n, events, note)


def _interval(name: str, term: str, fit: Replicates, place: int | tuple[int, int]) -> Estimate:
    low, high = (float(limits[place]) for limits in fit.interval)
    undefined = int(fit.undefined_[place])
    return Estimate(
        name=name,
        term=term,
        value=number(fit.estimate_[place]),
        low=number(low),
        high=number(high),
        note=f"{undefined} sets without a value" if undefined else "",
    )


MAKERS: Mapping[StatisticName, Callable[[Scored], Conclusion[Finding]]] = MappingProxyType(
    {
        "calibration": _calibration,
        "decision-curve": _decision_curve,
        "cut-off": _cut_off,
        "bootstrap": _bootstrap,
        "compare-areas": _compare_areas,
    }
)
