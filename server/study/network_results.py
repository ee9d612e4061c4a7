"""server/study: what is published of networks: their development, and their performance by cohort.

Ids begin with `network.<name>`; a combination is its sequences joined by `+`, as in the folder of the models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import FedmviError
from common.federation.query import HIDDEN
from common.published.results import CrossTable, Curve, Estimate, Result
from common.statistics.grades import Interval, commonest_share
from common.statistics.refinement import Counts
from common.study.networks import Network
from common.study.protocol import Study
from server.study.evaluation import alone_base, own_area
from server.study.models import refusal
from server.study.network_choice import Combination
from server.study.network_development import Areas, Candidate, Developed
from server.study.network_development_results import (
    at_centres,
    cohort_note,
    combinations,
    joined_name,
    result_base,
    selection,
    training,
)
from server.study.network_evaluation import Evaluated
from server.study.network_scores import INFERENCES, Measured, MeasuredAlone
from server.study.network_tables import JOINED, ShownTable, shown, shown_alone, with_joined

GRADES = (
    "M1: up to five sites of invasion, all within 1 cm; M2: more than five, or one farther away. The source leaves "
    "exactly five open; here they are M1."
)
_OF_FOLDS = (
    "The cut-off is that of the folds' networks on training patients; the network on everybody may score on another "
    "scale, and hospitals may differ: look at sensitivity and specificity, not at one of them."
)
BY_CUTOFF = "at the cut-off"
BY_GRADE = "by the likeliest grade"


def publish_all(
    study: Study, developed: Sequence[Developed | FedmviError], evaluated: Sequence[Sequence[Evaluated]]
) -> list[Result]:
    """All results of all networks, in the order of the study."""
    results: list[Result] = []
    for network, found, cohorts in zip(study.networks, developed, evaluated, strict=True):
        if isinstance(found, FedmviError):
            status, why = refusal(found)
            base = result_base(
                study, network, "selection", "network-selection", "Choice of the sequences", network.cohort
            )
            results.append(Result.model_validate({**base, "status": status, "note": why}))
        else:
            results += _publish(study, found, cohorts)
    return results


def _publish(study: Study, found: Developed, cohorts: Sequence[Evaluated]) -> list[Result]:
    network = found.network
    results = [selection(study, found)]
    results += [training(study, found, combination) for combination in network.combinations]
    results += at_centres(study, found)
    everywhere = {cohort: _areas_in(cohorts, cohort) for cohort in network.evaluate}
    for cohort, areas in {network.cohort: found.areas, **everywhere}.items():
        if areas:
            results.append(combinations(study, network, cohort, areas))
    results += [
        _performance(study, found, combination, network.cohort, measured)
        for combination, measured in found.measured.items()
    ]
    for one in cohorts:
        combination, seed = one.candidate
        if seed == 0 and isinstance(one.found, MeasuredAlone):
            results += _alone(study, found, combination, one.cohort, one.found)
        elif seed == 0 and isinstance(one.found, Measured | FedmviError):
            results.append(_performance(study, found, combination, one.cohort, one.found))
    return results


def _areas_in(cohorts: Sequence[Evaluated], cohort: str) -> dict[Candidate, Areas | FedmviError]:
    """The pooled areas of a cohort by candidate; none where its sites answer alone."""
    found: dict[Candidate, Areas | FedmviError] = {}
    for one in cohorts:
        if one.cohort == cohort and not isinstance(one.found, MeasuredAlone):
            found[one.candidate] = one.found.areas if isinstance(one.found, Measured) else one.found
    return found


def _performance_base(study: Study, found: Developed, combination: Combination, cohort: str) -> dict[str, Any]:
    network = found.network
    part = f"performance.{joined_name(combination)}.{cohort}"
    title = f"Performance on {', '.join(combination).upper()}, cohort {cohort}"
    return result_base(study, network, part, "network-performance", title, cohort)


def _performance(
    study: Study, found: Developed, combination: Combination, cohort: str, measured: Measured | FedmviError
) -> Result:
    base = _performance_base(study, found, combination, cohort)
    if isinstance(measured, FedmviError):
        status, why = refusal(measured)
        return Result.model_validate({**base, "status": status, "note": why})
    limits, first = study.limits, measured.areas[INFERENCES[0]]
    smaller = min(first.events_, first.n_ - first.events_)
    counts = {"n": first.n_, "events": first.events_ if smaller >= limits.min_cell else None}
    if smaller < limits.min_test_class:
        why = f"Not estimable: fewer than {limits.min_test_class} patients in a class."
        return Result.model_validate({**base, **counts, "status": "not-estimable", "note": why})
    estimates, curves = [], []
    for name, area in measured.areas.items():
        low, high = area.interval
        estimates.append(Estimate(name="auc", term=name, value=area.auc_, low=low, high=high, std_err=area.std_err_))
        x, y = area.curve(limits.min_cell)
        curves.append(Curve(name=name, x=x.tolist(), y=y.tolist()))
    tables = shown(measured.tables, limits.min_cell)
    estimates += _cutoffs(found, combination) + _shares(study, found.network, tables, base | counts)
    parts = {"estimates": estimates, "curves": curves, "tables": _cross_tables(study, found.network, tables)}
    return Result.model_validate({**base, **counts, **parts, "note": _performance_note(study, found.network, cohort)})


def _performance_note(study: Study, network: Network, cohort: str) -> str:
    parts = [
        cohort_note(study, network, cohort),
        "Areas: DeLong; shares: Wilson; F1: Wilson's interval of the share that it is a function of; balanced accuracy "
        "(the mean of the recalls of all classes): square-and-add of theirs.",
        _OF_FOLDS if network.development != "published" and cohort != network.cohort else "",
        GRADES if network.present is not None else "",
    ]
    return " ".join(part for part in parts if part)


def _cutoffs(found: Developed, combination: Combination) -> list[Estimate]:
    """The cut-offs of the out-of-fold scores, which are frozen with the model."""
    frozen = found.frozen[combination, 0]
    if isinstance(frozen, FedmviError) or frozen.cutoffs is None:
        return []
    named = zip(INFERENCES, frozen.cutoffs, strict=True)
    return [Estimate(name="cutoff", term=name, value=float(value)) for name, value in named]


def _shares(
    study: Study, network: Network, tables: Mapping[str, ShownTable], shown_counts: Mapping[str, Any]
) -> list[Estimate]:
    """Accuracy beside that of saying the commoner class to everybody, precision, recall, specificity and F1 of
    presence, both ways; those of the grades. `shown_counts` has `n` and `events` as they are published."""
    levels = study.endpoint(network.grades).level_names
    n, events = shown_counts["n"], shown_counts["events"]
    commoner = None if n is None or events is None else commonest_share((n - events, events))
    estimates: list[Estimate] = []
    for name in INFERENCES:
        called = {
            BY_CUTOFF: tables.get(name),
            BY_GRADE: tables.get(f"{name}.grade" if len(levels) == 2 else f"{name}.grade.{JOINED}"),
        }
        for words, table in called.items():
            if table is None:
                continue
            term = f"{name}, {words}"
            measures = {
                "accuracy": table.accuracy, "majority_class": commoner, "balanced_accuracy": table.balanced_accuracy,
                "precision": table.precision(1), "recall": table.recall(1), "specificity": table.recall(0),
                "f1": table.f1(1),
            }  # fmt: skip
            estimates += [_share_estimate(study, measure, term, value) for measure, value in measures.items()]
        graded = tables.get(f"{name}.grade")
        if graded is None or len(levels) == 2:
            continue
        whole = {
            "grade_accuracy": graded.accuracy, "grade_majority_class": graded.commonest,
            "grade_balanced_accuracy": graded.balanced_accuracy,
        }  # fmt: skip
        estimates += [_share_estimate(study, measure, name, value) for measure, value in whole.items()]
        for i, level in enumerate(levels):
            own = {"precision": graded.precision(i), "recall": graded.recall(i), "f1": graded.f1(i)}
            estimates += [_share_estimate(study, measure, f"{name}, {level}", value) for measure, value in own.items()]
    return estimates


def _share_estimate(study: Study, name: str, term: str, value: Interval | None) -> Estimate:
    if value is None:
        note = f"a count below {study.limits.min_cell} is hidden"
        return Estimate(name=name, term=term, value=None, note=note)
    if not all(math.isfinite(v) for v in value):
        return Estimate(name=name, term=term, value=None, note="no patient to be a share of")
    return Estimate(name=name, term=term, value=value[0], low=value[1], high=value[2])


def _cross_tables(study: Study, network: Network, tables: Mapping[str, ShownTable]) -> list[CrossTable]:
    """The tables of the likeliest grades, and those of presence at the cut-off."""
    levels = list(study.endpoint(network.grades).level_names)
    binary = list(study.endpoint(network.binary).level_names)
    found = []
    for name, table in tables.items():
        if name.endswith(f".{JOINED}"):
            continue
        graded = name.endswith(".grade")
        labels, words = (levels, BY_GRADE) if graded else (binary, BY_CUTOFF)
        cells = [list(row) for row in table.cells]
        title = f"{name.removesuffix('.grade')}, {words}"
        found.append(CrossTable(name=title, rows=labels, columns=labels, cells=cells))
    return found


def _alone(
    study: Study, found: Developed, combination: Combination, cohort: str, measured: MeasuredAlone
) -> list[Result]:
    """A result for each site of a cohort that is answered alone."""
    results = []
    base = {
        **_performance_base(study, found, combination, cohort),
        "note": _performance_note(study, found.network, cohort),
    }
    for site in sorted(measured.tables):
        own = {name: by_site[site] for name, by_site in measured.areas.items()}
        tables = measured.tables[site]
        failed = next((part for part in (*own.values(), tables) if isinstance(part, FedmviError)), None)
        if failed is not None or isinstance(tables, FedmviError):
            status, why = refusal(failed) if failed is not None else ("refused", "")
            results.append(Result.model_validate({**alone_base(base, site), "status": status, "note": why}))
            continue
        results.append(_one_site(study, found, combination, alone_base(base, site), own, tables))
    return results


def _one_site(
    study: Study,
    found: Developed,
    combination: Combination,
    base: dict[str, Any],
    areas: Mapping[str, Any],
    tables: Mapping[str, Counts],
) -> Result:
    absent, present, _ = (int(v) for v in areas[INFERENCES[0]]["classes"])
    base["n"] = None if HIDDEN in (absent, present) else absent + present
    base["events"] = None if present == HIDDEN else present
    if not int(areas[INFERENCES[0]]["estimable"]):
        why = f"Not estimable: fewer than {study.limits.min_test_class} patients in a class."
        return Result.model_validate({**base, "status": "not-estimable", "note": why})
    estimates, curves = [], []
    for name, summary in areas.items():
        estimate, curve = own_area(summary, name)
        estimates.append(estimate.model_copy(update={"term": name}))
        curves.append(curve)
    own = {name: shown_alone(table) for name, table in with_joined(tables).items()}
    estimates += _cutoffs(found, combination) + _shares(study, found.network, own, base)
    parts = {"estimates": estimates, "curves": curves, "tables": _cross_tables(study, found.network, own)}
    return Result.model_validate({**base, **parts})
