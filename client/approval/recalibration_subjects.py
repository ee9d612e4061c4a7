"""client/approval: what recalibrations ask about: a frozen score where it is corrected, and both where it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from client.approval.subject import Subject
from client.release.recalibration_scope import opens_endpoints
from common.federation.query import Mode
from common.study.correcting import Correction
from common.study.protocol import Model, Study
from common.study.shifting import Recalibration


def recalibration_subjects(study: Study, one: Recalibration, base: Subject) -> Iterator[Subject]:
    """Every part of a recalibration.

    Parameters
    ----------
    base
        About the frozen score of its model, with example numbers.
    """
    model = next(m for m in study.models if m.name == one.model)
    part, alone = f"recalibration {one.name}", not _poolable(study, one.cohort)
    here = replace(base, part=part, cohort=one.cohort)
    asked = {"query.guaranteed_alone" if alone else "query.threshold_counts"} if one.sensitivity is not None else set()
    if one.method != "prior":
        asked.add("query.recalibration_alone" if alone else "query.recalibration")
    if opens_endpoints(one):
        yield replace(here, questions=frozenset(asked), target=one.sensitivity or 0.0, rule=one.method)
    if one.method == "closed-testing" and not alone:
        yield from _refitted(here)
    if one.method == "prior":
        mode = Mode.EACH if alone else Mode.TOTAL
        yield replace(here, questions=frozenset({"query.predicted_positives"}), endpoint="", modes=(mode,))
        yield replace(here, cohort=model.cohort, questions=frozenset({"query.threshold_counts"}))
    yield from _evaluated(study, one, model, base)


def _refitted(here: Subject) -> Iterator[Subject]:
    """A regression on the model's own columns, beside the frozen score."""
    score = Correction("", here.recipe, 0.0, 1.0).frozen
    names = score.names if score is not None else ()
    ranges = ((0.0, 1.0),) * len(names)
    yield replace(here, questions=frozenset({"query.deviations"}), columns=names, ranges=ranges, endpoint="")
    yield replace(here, questions=frozenset({"query.logistic"}), columns=names, ranges=ranges)


def _evaluated(study: Study, one: Recalibration, model: Model, base: Subject) -> Iterator[Subject]:
    corrected = Correction(one.name, base.recipe, 0.0, 1.0)
    for cohort in model.evaluate:
        measures = {"query.recalibration", "query.binned_risks", "query.threshold_counts", "query.score_counts"}
        asked = frozenset(measures if _poolable(study, cohort) else {"query.risk_quality_alone"})
        for column in (f"score.{one.model}", corrected.score.column):
            yield replace(
                base, part=f"recalibration {one.name}", cohort=cohort, questions=asked, recipe=corrected.corrected,
                columns=(column,),
            )  # fmt: skip


def _poolable(study: Study, cohort: str) -> bool:
    return len(study.cohort(cohort).sites) >= study.limits.min_sites
