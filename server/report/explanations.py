"""server/report: the report's standing words: how a number was computed, and what left the hospitals for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from common.published.format import MARK, p_value
from common.published.results import AFTER_SELECTION, Estimate, Result, Results, Statistic

_HOW: Mapping[str, str] = MappingProxyType(
    {
        "exact": "Sums over all sites of the cohort. The result is that of the pooled patients, digit for digit up to "
        "rounding, although no patient's record was sent.",
        "exact-masked": "As exact, and every site's sums were masked, so that only their total could be read.",
        "federated": "Made by training over the sites, in rounds; every sum over them is exact, but a training is not "
        "what it would be on pooled patients.",
        "federated-masked": "As federated, and every site's sums were masked, so that only their total could be read.",
        "binned": "Computed from counts in that many bins, because finer ranks would tell more than is allowed; close "
        "to the pooled result, not equal to it.",
        "guarded": "A curve or table joined until every step holds at least that many patients.",
        "site-alone": "The cohort has too few sites to hide one among the others. Each site computed its own result "
        "and released it, with small counts hidden; nothing was pooled.",
        "private": "Random noise was added for differential privacy with this epsilon.",
        "simulated": "Computed from the rows of all patients, which only a simulation has.",
    }
)

_LEFT: Mapping[Statistic, str] = MappingProxyType(
    {
        "patient-flow": "Patient flow: the number of patients at each step.",
        "endpoint-counts": "Endpoints: the number of patients in each class.",
        "missing-values": "Missing values: the number of patients without a value, by variable.",
        "moments": "Predictors: the number of known values, their sum and their sum of squares.",
        "univariable-logistic": "Regression: at each round of Newton's method the score vector, the information matrix "
        "and the log-likelihood, each summed over a site's patients.",
        "multivariable-logistic": "Regression: at each round of Newton's method the score vector, the information "
        "matrix and the log-likelihood, each summed over a site's patients.",
        "auc": "Discrimination: the number of patients of each class in ranges of the score; scores are not sent.",
        "characteristics": "Characteristics: sums and sums of squares of measured variables, and the number of "
        "patients of each level, of all patients and by class of the endpoint where it is open.",
        "acquisition": "Acquisition of images: the number of patients by scanner, spacing and contrast timing, each as "
        "a level of a public list, and the number of those of whom it is not known.",
        "subgroups": "Subgroups: the number of patients of each class in bins of the score, for each level.",
        "survival": "Survival: the number of events and of censored patients at each recorded time, by group.",
        "cox-regression": "Survival beside covariates: at each round of Newton's method the score vector, the "
        "information matrix and the log-likelihood of a Cox regression inside each hospital, and its residuals' sums.",
        "analysis": "Further analyses: the sums that each of them needs, in rounds over all sites together; what each "
        "question was is in every site's ledger.",
        "differential-expression": "Gene expression: of each gene sums over patients of its logarithm, of products "
        "with the group and covariates, and of squared residuals, and how many patients have it; sums of logarithms "
        "of library sizes. A patient's expression is not sent, and gene sets are looked for in the results.",
        "performance-drop": "What a drop is made of: the number of patients in hundredths of a score, without their "
        "outcomes.",
        "network-selection": "Networks: the sums over patients of each weight's change in a round and of the loss; "
        "images, scores and pictures are not sent.",
        "network-combinations": "Networks: the number of patients of each class in ranges of the score.",
        "network-performance": "Networks: the number of patients by true and predicted grade.",
        "network-adaptation": "Adapted networks: the number of patients of each class in ranges of the scores with and "
        "without adaptation, and the sums of both calibrations; statistics of layers and scores are not sent.",
        "network-projection": "Networks, cohort against cohort: of a few random projections of the vectors of each "
        "sequence the sums by grade, and the sums and products over either half of the patients; then how many of them "
        "fall into bins of a linear score. Vectors and projections are not sent.",
    }
)

_ALONE: Mapping[Statistic, str] = MappingProxyType(
    {
        "patient-flow": _LEFT["patient-flow"],
        "endpoint-counts": _LEFT["endpoint-counts"],
        "acquisition": "A site alone: its own patients by scanner, spacing and contrast timing, small counts hidden.",
        "auc": "A site alone: its own area under the curve with its standard error, and a coarse curve.",
        "shift": "A site alone, where hospitals are compared: means, spreads and histograms of its own columns, small "
        "bins put together, and, of a frozen score whose outcomes are open, its calibration; over all training sites "
        "sums of columns and of their products by class, and sums over hospitals that patients were dealt to.",
        "performance-drop": "A site alone, what a drop is made of: the area and the balanced accuracy that a score's "
        "own risks promise in its patients, with their errors, without outcomes.",
        "network-performance": "A site alone: areas of a network's scores with their errors and coarse curves, and "
        "its patients by true and predicted grade, small counts hidden.",
        "network-centres": "A site alone: the area and the calibration line of a network's scores with their errors, "
        "and its patients by class and by the frozen cut-off, small counts hidden.",
        "network-adaptation": "A site alone: areas and calibration lines of a network's scores with and without "
        "adaptation, with their errors and that of the areas' difference, and whether it was adapted.",
        "differential-expression": "A site alone: its own genes' changes with their errors, t and p values.",
        "expression-by-site": "A site alone: the mean level of at most 500 genes over its patients, of at most 50 by "
        "group, in hundredths; and of each gene DESeq2's change, its error and p value.",
        "survival": "A site alone: its own survival curves by the month, rounded numbers at risk, medians and test.",
    }
)


def hows(results: Results) -> list[tuple[str, str]]:
    """Each way of computing that the study used, and what it means."""
    used = dict.fromkeys(result.how for result in results.results)
    return [(how, _HOW.get(how.partition("(")[0], "See the documentation.")) for how in used]


def what_left(results: Results) -> list[str]:
    """The kinds of sums that sites sent for these results."""
    words = [(_ALONE if r.how == "site-alone" else _LEFT).get(r.statistic) for r in results.results]
    return list(dict.fromkeys(word for word in words if word))


AFTER = "†"

_AFTER_NOTE = (
    f"{AFTER} After selection: what stands in the table, or a score in it, was chosen by these patients' outcomes; "
    "this p takes no account of that, and is too small rather than too large."
)


def p_of(found: Estimate) -> str:
    """A p value for a cell, marked where it is one after selection."""
    shown = p_value(found.p)
    return f"{shown} {AFTER}" if found.p is not None and found.note == AFTER_SELECTION else shown


def after_selection(result: Result | None) -> tuple[str, ...]:
    """What the mark says, for the notes of a table that has it."""
    marked = result is not None and any(e.p is not None and e.note == AFTER_SELECTION for e in result.estimates)
    return (_AFTER_NOTE,) if marked else ()


def hidden_note(min_cell: int) -> str:
    """Explains the mark of a hidden count."""
    return (
        f"{MARK} 1 to {min_cell - 1} patients, or another count that is hidden together with such a count, because "
        "the difference of the shown numbers would give the small one away (complementary suppression)."
    )


def status_words(result: Result) -> str:
    """Why a result has no estimate."""
    word = "Refused by a site" if result.status == "refused" else "Not estimable"
    note = result.note.removeprefix("Not estimable: ")
    return f"{word}: {note}" if note else f"{word}."
