"""server/study: step: the statistics of `[[analyses]]` on times to events, by groups of a training cohort or over all.

What tells of few patients is hidden: if one group has few, so are the numbers of all, which would tell it by their
differences from the cohort's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.published.results import Curve, Estimate, Result
from common.statistics.competing_risks import CAUSES, CumulativeIncidence, competing_risks
from common.statistics.follow_up import follow_up
from common.statistics.log_rank import stratified_log_rank
from common.statistics.restricted_mean import restricted_means
from common.study.analyses import ANALYSES, StatisticName
from common.study.protocol import Analysis, Endpoint, Study
from common.study.recipe import Complete, Group, Recipe
from common.study.table import FloatArray
from server.study.comparisons import YEARLY, group_labels, published_times
from server.study.subject import Finding, Row, number, result_of

ALL = "all patients"


@dataclass(frozen=True)
class Timed:
    """An analysis by groups, with what its conclusion needs; without a group it has one of all patients."""

    study: Study
    analysis: Analysis
    endpoint: Endpoint
    labels: tuple[str, ...]
    recipe: Recipe

    @classmethod
    def of(cls, study: Study, analysis: Analysis) -> Timed:
        """Groups, then patients with group and endpoint known."""
        endpoint = study.endpoint(analysis.endpoint or "")
        if analysis.group is None:
            return cls(study, analysis, endpoint, (ALL,), Recipe().then(Complete((), endpoint.keys)))
        labels = group_labels(study, analysis.group)
        recipe = Recipe().then(Group(analysis.group, labels), Complete(("group",), endpoint.keys))
        return cls(study, analysis, endpoint, labels, recipe)

    @property
    def asked(self) -> tuple[str, Recipe, str, int, float, int]:
        """Cohort, recipe, endpoint, groups, and the grid of times."""
        grid = (self.endpoint.precision, self.endpoint.grid_points)
        return (self.analysis.cohort, self.recipe, self.endpoint.name, len(self.labels), *grid)

    @property
    def unit(self) -> str:
        """Of the endpoint's times."""
        return self.endpoint.unit or ""

    @property
    def until(self) -> str:
        """The horizon, in words."""
        return f"{self.analysis.times[0]:g} {self.unit}"

    def few(self, counts: Sequence[int], of: Sequence[int] = ()) -> bool:
        """Whether a count, or the rest of the patients whom it is of, is too small to be shown."""
        rest = [n - count for n, count in zip(of, counts, strict=True)] if of else []
        return any(0 < count < self.study.limits.min_cell for count in (*counts, *rest))

    def counts(self, name: str, counts: Sequence[int], of: Sequence[int] = ()) -> list[Estimate]:
        """The groups' counts, or that they are hidden."""
        few = self.few(counts, of)
        note = f"hidden: few of a group, fewer than {self.study.limits.min_cell}" if few else ""
        return [
            Estimate(name=name, term=label, value=None if few else float(count), note=note)
            for label, count in zip(self.labels, counts, strict=True)
        ]

    def of_groups(self, name: str, rows: Sequence[Row], value: str, counts: Sequence[int], unit: str) -> list[Estimate]:
        """A number of each group, with limits; not of one with few patients."""
        ends = ("low", "high") if value in ("mean", "median") else (f"{value}_low", f"{value}_high")
        return [self._of_group(name, row, value, ends, counts[row["group"]], unit) for row in rows if value in row]

    def _of_group(self, name: str, row: Row, value: str, ends: tuple[str, str], count: int, unit: str) -> Estimate:
        term = self.labels[row["group"]]
        if count < self.study.limits.min_cell:
            return Estimate(name=name, term=term, value=None, unit=unit, note="few patients")
        shown = {key: number(row[column]) for key, column in zip(("value", "low", "high"), (value, *ends), strict=True)}
        note = "" if shown["value"] is not None else "not reached"
        return Estimate(name=name, term=term, p=number(row.get(f"{value}_p")), unit=unit, note=note, **shown)

    def finding(self, found: list[Estimate], n: Sequence[int], events: Sequence[int] | None, note: str) -> Finding:
        """With the patients and events of all groups, unless a small group would be told by them."""
        if self.few(n) or (events is not None and self.few(events, n)):
            return Finding(found, note=note)
        return Finding(found, sum(n), None if events is None else sum(events), note)


def analyse_times(study: Study) -> Conclusion[list[Result]]:
    """All analyses by groups, in lock-step."""
    chosen = [a for a in study.analyses if ANALYSES[a.statistic].on == "group"]
    found: list[Finding | FedmviError] = yield from together(
        *(attempt(TIME_MAKERS[a.statistic](Timed.of(study, a))) for a in chosen)
    )
    return [result_of(study, a, finding) for a, finding in zip(chosen, found, strict=True)]


def _restricted_mean(s: Timed) -> Conclusion[Finding]:
    fit = yield from restricted_means(*s.asked, s.analysis.times[0])
    patients, events = fit.patients_.tolist(), fit.events_.tolist()
    found = [*s.counts("patients", patients), *s.counts("events", events, patients)]
    found += s.of_groups("restricted_mean", fit.summary, "mean", patients, s.unit)
    # A difference tells the small group's mean where it is the first, too.
    pairs = [min(patients[0], count) for count in patients]
    found += s.of_groups("restricted_mean_difference", fit.summary, "difference", pairs, s.unit)
    found += s.of_groups("restricted_mean_ratio", fit.summary, "ratio", pairs, "")
    note = f"Mean time without the event, of the first {s.until}."
    if len(s.labels) > 1:
        note += f" Differences from, and ratios to, {s.labels[0]}."
    return s.finding(found, patients, events, note)


def _follow_up(s: Timed) -> Conclusion[Finding]:
    fit = yield from follow_up(*s.asked, s.analysis.times[0])
    patients, complete = fit.patients_.tolist(), fit.complete_.tolist()
    found = s.counts("patients", patients)
    found += s.of_groups("median_follow_up", fit.summary, "median", patients, s.unit)
    # A share of few patients, or of all but few, tells how many they are.
    told = [0 if s.few([c], [n]) else n for c, n in zip(complete, patients, strict=True)]
    found += s.of_groups("complete_follow_up", fit.summary, "share", told, "")
    note = f"Median by the reverse Kaplan-Meier method; complete: with the event or followed for {s.until}."
    return s.finding(found, patients, None, note)


def _stratified_log_rank(s: Timed) -> Conclusion[Finding]:
    fit = yield from stratified_log_rank(*s.asked)
    patients, observed = fit.patients_.tolist(), np.rint(fit.observed_).astype(int).tolist()
    found = [*s.counts("patients", patients), *s.counts("events", observed, patients)]
    if not s.few(observed, patients):
        expected = zip(s.labels, fit.expected_.tolist(), strict=True)
        found += [Estimate(name="expected_events", term=label, value=value) for label, value in expected]
    chi2, p = number(fit.chi2_), number(fit.p_)
    found.append(Estimate(name="log_rank_chi2", term=f"df={fit.degrees_}", value=chi2, p=p))
    return s.finding(found, patients, observed, "Groups are compared inside hospitals, whose survival may differ.")


def _competing_risks(s: Timed) -> Conclusion[Finding]:
    fit = yield from competing_risks(*s.asked)
    patients = [curve.n_ for curve in fit.curves_]
    events = [curve.n_events_ for curve in fit.curves_]
    found = s.counts("patients", patients)
    curves: list[Curve] = []
    hide = s.few([*patients, *(count for pair in events for count in pair)])
    hide = hide or any(s.few([sum(pair)], [n]) for pair, n in zip(events, patients, strict=True))
    for i, (cause, title) in enumerate(zip(CAUSES, ("event of interest", "competing event"), strict=True)):
        of_cause = [pair[i] for pair in events]
        found += s.counts(("events_of_interest", "competing_events")[i], of_cause, patients)
        for label, curve, count in zip(s.labels, fit.curves_, of_cause, strict=True):
            # Next to the patients, a curve of few events tells how many they are.
            if s.few([curve.n_, count]):
                continue
            found += _incidences(s, f"{label}, {title}", curve, i)
            curves.append(_curve(s, f"{label}, {title}", curve, i, hide=hide))
        if len(s.labels) > 1:
            chi2, p = number(fit.chi2_[cause - 1]), number(fit.p_[cause - 1])
            found.append(Estimate(name="gray_chi2", term=f"{title}, df={fit.degrees_}", value=chi2, p=p))
    note = "Cumulative incidence of either event (Aalen-Johansen). Events counted are those of interest."
    n, of_interest = (None, None) if hide else (sum(patients), sum(pair[0] for pair in events))
    return Finding(found, n, of_interest, note, curves=tuple(curves))


def _incidences(s: Timed, label: str, curve: CumulativeIncidence, cause: int) -> list[Estimate]:
    """At the declared times, while enough patients are at risk."""
    cell, found = s.study.limits.min_cell, []
    for time, at in zip(s.analysis.times, curve.at(np.array(s.analysis.times))[cause].T, strict=True):
        term = f"{label} at {time:g} {s.unit}"
        if at[3] < cell:
            note = f"fewer than {cell} patients at risk"
            found.append(Estimate(name="cumulative_incidence", term=term, value=None, note=note))
        else:
            share, low, high = at[:3].tolist()
            found.append(Estimate(name="cumulative_incidence", term=term, value=share, low=low, high=high))
    return found


def _curve(s: Timed, label: str, curve: CumulativeIncidence, cause: int, *, hide: bool) -> Curve:
    """By the month, until few patients are at risk; these are told once a year, if at all."""
    times: FloatArray = published_times(s.endpoint)
    at = curve.at(times)[cause]
    few = np.flatnonzero(at[3] < s.study.limits.min_cell)
    end = int(few[0]) if few.size else times.size
    return Curve(
        name=label,
        x=times[:end].tolist(),
        y=at[0, :end].tolist(),
        low=at[1, :end].tolist(),
        high=at[2, :end].tolist(),
        at_risk=[None if hide or i % YEARLY else int(v) for i, v in enumerate(at[3, :end])],
        unit=s.unit,
    )


TimeMaker = Callable[[Timed], Conclusion[Finding]]

TIME_MAKERS: Mapping[StatisticName, TimeMaker] = MappingProxyType(
    {
        "competing-risks": _competing_risks,
        "restricted-mean": _restricted_mean,
        "follow-up": _follow_up,
        "stratified-log-rank": _stratified_log_rank,
    }
)
