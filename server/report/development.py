"""server/report: how models were developed: what each step left, formulas, cross-validation, optimism, choices."""

from __future__ import annotations

from dataclasses import replace

from common.published import format as fmt
from common.published.results import Result, Results
from server.report.blocks import Block, Paragraph, Row, Section, Table
from server.report.contents import Labels, ModelParts, estimate, models, of
from server.report.explanations import status_words


def development(model: ModelParts, labels: Labels) -> list[Block]:
    """What a model with a reduction went through; of other models their optimism, or the formula that is given."""
    blocks: list[Block] = []
    if model.reduction is not None:
        blocks += _steps(model.reduction)
    if model.coefficients is not None and not any(e.name == "odds_ratio" for e in model.coefficients.estimates):
        blocks += _formula(model, model.coefficients, labels)
    return blocks + _corrected(model)


def _unfit(result: Result) -> list[Block]:
    return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)]


def _steps(result: Result) -> list[Block]:
    """How many predictors each step left."""
    if result.status != "estimated":
        return _unfit(result)
    left = [e for e in result.estimates if e.name == "left"]
    rows = [Row(fmt.plain(e.term[:1].upper() + e.term[1:]), (fmt.number(e.value),)) for e in left]
    notes = (fmt.plain(result.note),) if result.note else ()
    return [
        Table(fmt.plain(result.title), ("Step", "Predictors left"), tuple(rows), result.id, notes, how=(result.how,))
    ]


def _formula(model: ModelParts, result: Result, labels: Labels) -> list[Block]:
    """Coefficients that have no intervals: of a LASSO, or of a formula from elsewhere."""
    if result.status != "estimated":
        return []  # said among the odds ratios
    rows = []
    twice = model.reduction is not None and any(e.name == "icc" for e in model.reduction.estimates)
    for found in (e for e in result.estimates if e.name == "coef"):
        cells = [_coefficient(found.value)]
        if model.reduction is not None:
            share = estimate(model.reduction, "selected_in_folds", found.term)
            cells.append(fmt.share(share.value) if share is not None else fmt.MISSING)
        if model.reduction is not None and twice:
            icc = estimate(model.reduction, "icc", found.term)
            cells.append(fmt.area_interval(icc.value, icc.low, icc.high) if icc is not None else fmt.MISSING)
        head = "Intercept" if found.term == "intercept" else labels.term(found.term)
        rows.append(Row(head, tuple(cells)))
    columns = ["Predictor", "Coefficient", *(("Selected in folds",) if model.reduction is not None else ())]
    columns += ["Agreement of readers, ICC (95 % CI)"] if twice else []
    notes = [fmt.plain(result.note)]
    cutoff = estimate(result, "cutoff")
    if cutoff is not None:
        notes.append(f"Frozen cut-off: {fmt.number(cutoff.value)} ({fmt.plain(cutoff.note)}).")
    return [Table(fmt.plain(result.title), tuple(columns), tuple(rows), notes=tuple(notes), how=(result.how,))]


def _coefficient(value: float | None) -> str:
    return fmt.MISSING if value is None else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def _corrected(model: ModelParts) -> list[Block]:
    """The area of the training patients, honestly: out of fold, and corrected for optimism."""
    rows, notes = [], []
    fair, optimism = model.cross_validated, model.optimism
    for result in (fair, optimism):
        if result is not None and result.status != "estimated":
            return _unfit(result)
    if fair is not None:
        auc = estimate(fair, "auc")
        if auc is not None:
            rows.append(Row("Out of fold", (fmt.area_interval(auc.value, auc.low, auc.high), ""), fair.id))
            notes.append(fmt.plain(fair.note))
    if optimism is not None:
        words = {"apparent_auc": "Apparent", "optimism": "Optimism", "corrected_auc": "Corrected for optimism"}
        for name, head in words.items():
            found = estimate(optimism, name)
            anchor = optimism.id if name == "apparent_auc" else ""
            shown = (fmt.MISSING, "") if found is None else (fmt.area(found.value), fmt.plain(found.note))
            rows.append(Row(head, shown, anchor))
        sets = estimate(optimism, "bootstrap_sets")
        notes.append(f"{fmt.plain(optimism.note)} Bootstrap sets: {fmt.number(sets.value if sets else None)}.")
    if not rows:
        return []
    how = tuple(dict.fromkeys(r.how for r in (fair, optimism) if r is not None))
    caption = f"Area in the training cohort, {model.title}"
    heads: tuple[str, ...] = ("Measured", "AUC", "What the bootstrap repeats")
    if optimism is None:
        heads, rows = heads[:2], [replace(row, cells=row.cells[:1]) for row in rows]
    return [Table(caption, heads, tuple(rows), notes=tuple(notes), listing=optimism is not None, how=how)]


def choices(results: Results) -> Section:
    """Which of several models was taken, and why."""
    section = Section("choices", "Choice of models")
    titles = {model.name: model.title for model in models(results)}
    for result in of(results, "choice"):
        rows = [
            Row(
                fmt.plain(titles.get(e.term, e.term)),
                (
                    fmt.area_interval(e.value, e.low, e.high) if e.value is not None else "not estimable",
                    fmt.plain(e.note) if e.value is not None else "",
                ),
                strong=e.note == "chosen",
            )
            for e in result.estimates
            if e.name == "auc"
        ]
        missing = (fmt.plain(e.note) for e in result.estimates if e.value is None)
        worst = [f"{fmt.plain(e.term)} {fmt.area(e.value)}" for e in result.estimates if e.name == "worst_auc"]
        at_worst = [f"At its worst hospital: {', '.join(worst)}."] if worst else []
        notes = tuple(dict.fromkeys([fmt.plain(result.note), *at_worst, *missing]))
        measured = "Mean AUC at hospitals left out" if worst else "Cross-validated AUC"
        columns = ("Network" if worst else "Model", f"{measured} (95 % CI)", "")
        section.blocks.append(Table(fmt.plain(result.title), columns, tuple(rows), result.id, notes, how=(result.how,)))
    return section
