"""server/report: the sections on what was found: each model's predictors, odds ratios and discrimination; survival."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.results import Estimate, Result, Results
from server.report.blocks import Block, Drawing, Paragraph, Row, Section, Table
from server.report.contents import Labels, ModelParts, estimate, groups, models, of, role, short_groups, terms, where
from server.report.development import development
from server.report.explanations import after_selection, hidden_note, p_of, status_words
from server.report.figures import Picture, slug
from server.report.hazards import hazard_ratios

Pictures = Mapping[str, Picture]
_FIT_WORDS = {
    "log_likelihood": "log-likelihood {value}",
    "likelihood_ratio_chi2": "likelihood-ratio chi-square {value} ({term}), {p}",
    "aic": "AIC {value}",
    "events_per_parameter": "{value} events per parameter",
}


def model_sections(results: Results, pictures: Pictures) -> Section:
    """All models."""
    section = Section("models", "Models")
    labels = Labels(results)
    for model in models(results):
        part = Section(f"model-{slug(model.name)}", model.title)
        part.blocks += _moments(model, labels)
        part.blocks += development(model, labels)
        part.blocks += _odds_ratios(model, labels, pictures)
        part.blocks += _discrimination(results, model, pictures)
        part.blocks += _nomogram(model, pictures)
        if part.blocks:
            section.parts.append(part)
    return section


def _failed(result: Result) -> list[Block]:
    return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)]


def _moments(model: ModelParts, labels: Labels) -> list[Block]:
    result = model.moments
    if result is None:
        return []
    if result.status != "estimated":
        return _failed(result)
    rows = []
    for term in terms(result):
        known, mean, std = (estimate(result, name, term) for name in ("known", "mean", "std"))
        rows.append(Row(labels.term(term), (_value(known), _mean(labels, term, mean, std))))
    caption = f"Predictors of the {_lower(model.title)}, cohort {fmt.plain(result.cohort)}"
    columns = ("Predictor", "Known values", "Mean (SD) or share")
    return [Table(caption, columns, tuple(rows), result.id, how=(result.how,))]


def _value(found: Estimate | None) -> str:
    return fmt.MISSING if found is None else fmt.number(found.value)


def _mean(labels: Labels, term: str, mean: Estimate | None, std: Estimate | None) -> str:
    if mean is None or labels.is_share(term):
        return fmt.share(None if mean is None else mean.value)
    return f"{fmt.moment(mean.value)} ({fmt.moment(std.value if std else None)}) {fmt.unit(mean.unit)}".strip()


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _odds_ratios(model: ModelParts, labels: Labels, pictures: Pictures) -> list[Block]:
    blocks: list[Block] = []
    anchored: set[str] = set()
    for fit in model.fits:
        if fit is not None and fit.status != "estimated":
            blocks += _failed(fit)
            anchored.add(fit.id)
        elif fit is not None and not any(e.name == "odds_ratio" for e in fit.estimates):
            anchored.add(fit.id)  # a formula without odds ratios has a table of its own
        elif fit is not None and (fit.note or fit.statistic == "multivariable-logistic"):
            blocks.append(_fit_words(fit))
            anchored.add(fit.id)
    name = f"forest-{slug(model.name)}"
    if name in pictures:
        blocks.append(Drawing(pictures[name], wide=True))
    rows = []
    for term in terms(*model.fits):
        cells = [cell for fit in model.fits for cell in _odds_ratio(fit, term)]
        auc = estimate(model.univariable, "auc", term)
        cells.insert(2, fmt.area(auc.value if auc else None))
        rows.append(Row(labels.effect(term), tuple(cells)))
    if rows:
        columns = ("Predictor", "Alone: OR (95 % CI)", "p", "AUC", "Together: OR (95 % CI)", "p")
        alone = model.univariable.id if model.univariable is not None and model.univariable.id not in anchored else ""
        how = tuple(dict.fromkeys(fit.how for fit in model.fits if fit is not None))
        caption = f"Odds ratios of the {_lower(model.title)}"
        marks = tuple(dict.fromkeys(mark for fit in model.fits for mark in after_selection(fit)))
        blocks.append(Table(caption, columns, tuple(rows), alone, (*_why(model), *marks), how=how))
    return blocks


def _odds_ratio(fit: Result | None, term: str) -> tuple[str, str]:
    found = estimate(fit, "odds_ratio", term)
    if found is None:
        return "not estimable", fmt.MISSING
    return fmt.ratio_interval(found.value, found.low, found.high), p_of(found)


def _why(model: ModelParts) -> tuple[str, ...]:
    """Why a predictor has no estimate, each reason once; and what the columns are."""
    notes = {
        fmt.plain(e.note): None
        for fit in model.fits
        if fit
        for e in fit.estimates
        if e.name == "odds_ratio" and e.value is None and e.note
    }
    head = (
        "OR: odds ratio with 95 % Wald interval and p. AUC: of the predictor alone; below 0.5, higher values are rarer "
    )
    return (f"{head}in patients with the endpoint.", *(f"Not estimable: {note}" for note in notes))


def _fit_words(fit: Result) -> Paragraph:
    """A regression in a sentence."""
    together = fit.statistic == "multivariable-logistic"
    head = "All predictors together" if together else "Each predictor alone"
    facts = [f"{fit.n} patients, {fit.events} with the endpoint"] if None not in (fit.n, fit.events) else []
    for name, words in _FIT_WORDS.items():
        found = estimate(fit, name)
        if found is not None:
            value = (fmt.per_parameter if name == "events_per_parameter" else fmt.number)(found.value)
            facts.append(words.format(value=value, term=fmt.plain(found.term), p=fmt.p_words(found.p)))
    if fit.counts and fit.counts[1].pooled:
        facts.append(f"{fit.counts[1].pooled} more lack a predictor")
    if fit.note:
        facts.append(fmt.plain(fit.note).rstrip("."))
    kind = "warning" if fit.note.startswith("Suspected leak") else "plain"
    return Paragraph(f"{head}: {'; '.join(facts)}.", kind, fit.id, (fit.how,))


def _discrimination(results: Results, model: ModelParts, pictures: Pictures) -> list[Block]:
    blocks: list[Block] = []
    name = f"roc-{slug(model.name)}"
    if name in pictures:
        blocks.append(Drawing(pictures[name]))
    rows, notes = [], {}
    for result in model.aucs:
        auc = estimate(result, "auc")
        without = result.n - result.events if result.n is not None and result.events is not None else None
        numbers = tuple(fmt.optional_count(n) for n in (result.events, without))
        if auc is None or auc.value is None:
            text = "refused" if result.status == "refused" else "not estimable"
            notes[f"{where(result)}: {status_words(result)}"] = text
        else:
            text = fmt.area_interval(auc.value, auc.low, auc.high)
            notes[f"{_role(results, result)}: {fmt.plain(result.note)}"] = result.note
        less = fmt.count(result.counts[1].pooled, results.min_cell) if result.counts else fmt.MISSING
        rows.append(Row(where(result), (text, *numbers, less, _role(results, result), result.how), result.id))
    if rows:
        columns = ("Cohort", "AUC (95 % CI)", "With endpoint", "Without", "Left out", "Role", "Computed")
        notes["Left out: patients of the cohort who lack a predictor."] = "note"
        if any(fmt.MARK in cell for row in rows for cell in row.cells):
            notes[hidden_note(results.min_cell)] = "note"
        shown = tuple(words for words, note in notes.items() if note)
        caption = f"Discrimination of the {_lower(model.title)}"
        blocks.append(Table(caption, columns, tuple(rows), notes=(*shown, "Intervals: DeLong.")))
    return blocks


def _nomogram(model: ModelParts, pictures: Pictures) -> list[Block]:
    name = f"nomogram-{slug(model.name)}"
    if name not in pictures:
        return []
    note = "nomogram.html beside this page is a calculator of this model."
    return [Drawing(pictures[name], wide=True), Paragraph(note, "note")]


def _role(results: Results, result: Result) -> str:
    found = role(results, result.cohort)
    return "train (apparent)" if found == "train" else found


# ---------------------------------------------------------------------------------------------------- survival


def survival(results: Results, pictures: Pictures) -> Section:
    """All comparisons of survival."""
    section = Section("survival", "Survival")
    for result in of(results, "survival"):
        part = Section(f"survival-{slug(result.id)}", fmt.plain(result.title))
        if result.status != "estimated":
            part.blocks.append(Paragraph(status_words(result), "warning", result.id))
        else:
            part.blocks.append(_test(result))
            name = f"km-{slug(result.id)}"
            if name in pictures:
                part.blocks.append(Drawing(pictures[name]))
            part.blocks.append(_times(results, result))
        part.blocks += hazard_ratios(results, result)
        section.parts.append(part)
    return section


def _test(result: Result) -> Paragraph:
    test = estimate(result, "log_rank_chi2")
    patients = [f"{result.n} patients"] if result.n is not None else []
    events = [f"{result.events} events"] if result.events is not None else []
    words = "log-rank test not estimable"
    if test is not None:
        words = f"log-rank chi-square {fmt.number(test.value)} ({fmt.plain(test.term)}), {fmt.p_words(test.p)}"
    head = ", ".join([f"Cohort {where(result)}", *patients, *events])
    return Paragraph(f"{head}; {words}. {fmt.plain(result.note)}".strip(), anchor=result.id, how=(result.how,))


def _times(results: Results, result: Result) -> Table:
    names = groups(result)
    common, short = short_groups(result)
    rows = []
    for key, words in (("patients", "Patients"), ("events", "Events")):
        found = [estimate(result, key, name) for name in names]
        rows.append(Row(words, tuple(fmt.count(e.value if e else None, results.min_cell) for e in found)))
    medians = [estimate(result, "median", name) for name in names]
    rows.append(Row("Median time", tuple(fmt.time(m.value, m.unit) if m else fmt.MISSING for m in medians)))
    limits = (fmt.time_limits(m.low, m.high, m.unit) if m else fmt.MISSING for m in medians)
    rows.append(Row("Median: 95 % CI", tuple(limits)))
    for time in _asked(result, names):
        at = [estimate(result, "survival", f"{name} at {time}") for name in names]
        rows.append(Row(f"Without event at {fmt.plain(time)}", tuple(_survival(e) for e in at)))
    hidden = any(fmt.MARK in cell for row in rows for cell in row.cells)
    notes = ("Survival with log-log 95 % interval.", *([hidden_note(results.min_cell)] if hidden else []))
    return Table(f"{fmt.plain(result.title)}: numbers", (common, *short), tuple(rows), notes=notes)


def _asked(result: Result, names: list[str]) -> list[str]:
    """The times at which survival is given, in order."""
    found = (e.term.removeprefix(f"{n} at ") for e in result.estimates if e.name == "survival"
             for n in names if e.term.startswith(f"{n} at "))  # fmt: skip
    return list(dict.fromkeys(found))


def _survival(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return fmt.plain(found.note) if found is not None and found.note else fmt.MISSING
    return fmt.share_interval(found.value, found.low, found.high)
