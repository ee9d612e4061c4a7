"""server/report: `tables/*.csv`: one table a kind of statistic, one row a number, with every digit that there is.

Numbers are the shortest text that gives the same float again, as in `results.json`. A hidden count is the words
`<5 or hidden`: below the study's `min_cell`, or hidden so that such a count cannot be worked out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from common.files import write_whole
from common.published.results import ALL_SITES, Result, Results, Statistic
from server.report.contents import of
from server.report.gene_tables import gene_tables

FILES: Mapping[Statistic, str] = MappingProxyType(
    {
        "patient-flow": "flow",
        "endpoint-counts": "endpoints",
        "sample-size": "sample_size",
        "evaluation-size": "evaluation_size",
        "missing-values": "missing",
        "moments": "predictors",
        "univariable-logistic": "univariable",
        "multivariable-logistic": "multivariable",
        "feature-reduction": "feature_reduction",
        "cross-validated-auc": "cross_validated_auc",
        "optimism": "optimism",
        "choice": "choice",
        "auc": "auc",
        "pooled-and-alone": "pooled_and_alone",
        "survival": "survival",
        "cox-regression": "cox",
        "analysis": "analyses",
        "characteristics": "characteristics",
        "subgroups": "subgroups",
        "shift": "shift",
        "centres": "centres",
        "leave-one-centre-out": "leave_one_centre_out",
        "performance-drop": "performance_drop",
        "recalibration": "recalibration",
        "harmonisation": "harmonisation",
        "acquisition": "acquisition",
        "differential-expression": "expression",
        "expression-by-site": "expression_by_site",
        "gene-sets": "gene_sets",
        "network-selection": "network_selection",
        "network-combinations": "network_combinations",
        "network-training": "network_training",
        "network-performance": "network_performance",
        "network-centres": "network_centres",
        "network-projection": "network_projection",
        "network-adaptation": "network_adaptation",
        "network-pictures": "network_pictures",
    }
)
"""The file of each kind of statistic, without `.csv`."""

COUNTED: tuple[Statistic, ...] = ("patient-flow", "endpoint-counts", "missing-values", "acquisition")
"""Kinds whose tables are of counts; counts that others have beside their estimates are in counts.csv."""
_RESULT = ("id", "title", "cohort", "sites", "n", "events", "how", "status", "result_note")
_COUNT = ("count", "site", "patients")
_ESTIMATE = ("estimate", "term", "value", "low", "high", "std_err", "p", "unit", "note")
_CURVE = ("id", "cohort", "sites", "curve", "x", "y", "low", "high", "at_risk", "unit")
_CELL = ("id", "cohort", "sites", "table", "true", "predicted", "patients")
_CURVES: tuple[Statistic, ...] = ("auc", "survival", "analysis", "gene-sets", "network-training", "network-performance")
"""Kinds whose curves have a file even where a study has none; any other kind has one where it has curves."""
_NUMBERS_OF_PATIENTS = ("patients", "events", "patients_absent", "patients_present")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write the tables into `folder` (made if need be): one a kind of statistic, of curves, and of cross tables."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in tables(results).items():
        path = folder / f"{name}.csv"
        write_whole(path, text.encode())
        paths.append(path)
    return paths


def tables(results: Results) -> dict[str, str]:
    """Every table as CSV text, by name."""
    texts = {}
    for statistic, name in FILES.items():
        counted = statistic in COUNTED
        rows = [row for r in of(results, statistic) for row in (_counts if counted else _estimates)(r, results)]
        texts[name] = csv_text((*_RESULT, *(_COUNT if counted else _ESTIMATE)), rows)
    for statistic, name in FILES.items():
        rows = [row for r in of(results, statistic) for row in _points(r)]
        if rows or statistic in _CURVES:
            texts[f"{name}_curves"] = csv_text(_CURVE, rows)
    beside = [row for r in results.results if r.statistic not in COUNTED and r.counts for row in _counts(r, results)]
    texts["counts"] = csv_text((*_RESULT, *_COUNT), beside)
    cells = [row for r in results.results for row in _cells(r, results)]
    texts["network_confusion"] = csv_text(_CELL, cells)
    texts |= {name: csv_text(header, rows) for name, header, rows in gene_tables(results)}
    return texts


def _result(result: Result) -> tuple[object, ...]:
    sites = " ".join(result.sites)
    return (
        result.id, result.title, result.cohort, sites, result.n, result.events, result.how, result.status, result.note
    )  # fmt: skip


def _hidden(results: Results) -> str:
    return f"<{results.min_cell} or hidden"


def _counts(result: Result, results: Results) -> Iterator[tuple[object, ...]]:
    hidden = _hidden(results)
    for row in result.counts:
        for site, value in (*sorted(row.by_site.items()), (ALL_SITES, row.pooled)):
            yield (*_result(result), row.name, site, hidden if value is None else value)
    if not result.counts:
        yield (*_result(result), *[None] * len(_COUNT))


def _estimates(result: Result, results: Results) -> Iterator[tuple[object, ...]]:
    for e in result.estimates:
        of_patients = e.name in _NUMBERS_OF_PATIENTS
        value = _hidden(results) if of_patients and e.value is None else e.value
        yield (*_result(result), e.name, e.term, value, e.low, e.high, e.std_err, e.p, e.unit, e.note)
    if not result.estimates:
        yield (*_result(result), *[None] * len(_ESTIMATE))


def _points(result: Result) -> Iterator[tuple[object, ...]]:
    head = (result.id, result.cohort, " ".join(result.sites))
    for curve in result.curves:
        for i, (x, y) in enumerate(zip(curve.x, curve.y, strict=True)):
            low, high = (band[i] if i < len(band) else None for band in (curve.low, curve.high))
            at_risk = curve.at_risk[i] if i < len(curve.at_risk) else None
            yield (*head, curve.name, x, y, low, high, at_risk, curve.unit)


def _cells(result: Result, results: Results) -> Iterator[tuple[object, ...]]:
    """Cross tables, one row a cell."""
    for table in result.tables:
        for true, cells in zip(table.rows, table.cells, strict=True):
            for predicted, value in zip(table.columns, cells, strict=True):
                shown = _hidden(results) if value is None else value
                yield (result.id, result.cohort, " ".join(result.sites), table.name, true, predicted, shown)


def csv_text(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    """Rows as CSV text; no cell starts like a formula of a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # A spreadsheet would run a text that starts like a formula.
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value)
