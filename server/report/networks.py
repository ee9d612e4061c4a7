"""server/report: the section on networks: the choice, all combinations by cohort, trainings, performance, tables."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.networks import ALWAYS, chosen, not_shown_better
from common.published.results import CrossTable, Estimate, Result, Results
from server.report.adaptations import adaptations
from server.report.blocks import Block, Drawing, Paragraph, Row, Section, Table
from server.report.contents import estimate, of, where
from server.report.explanations import hidden_note, status_words
from server.report.figures import Picture, slug
from server.report.projections import projections
from server.report.shift import by_centre

Pictures = Mapping[str, Picture]
_SHARES = ("accuracy", "majority_class", "balanced_accuracy", "precision", "recall", "specificity", "f1")
_WORDS = {
    "majority_class": "Accuracy of always saying the commoner class", "balanced_accuracy": "Balanced accuracy",
    "recall": "Recall (sensitivity)",
}  # fmt: skip

_TRAINING = ("Sequences", "Rounds kept, by training", "Validation loss, by fold", "Patients")
_INFERENCES = ("mean", "first")


def networks(results: Results, pictures: Pictures) -> Section:
    """All networks, in the order of the study."""
    section = Section("networks", "Networks")
    for choice in of(results, "network-selection"):
        name = choice.id.split(".")[1]
        title = fmt.plain(choice.title.rpartition(", ")[2])
        part = Section(f"network-{slug(name)}", title, _choice(choice))
        mine = [r for r in of(results, "network-combinations", "network-performance", "network-training")
                if r.id.split(".")[1] == name]  # fmt: skip
        for result in mine:
            if result.statistic == "network-combinations":
                part.blocks += _combinations(result)
        part.blocks += _trainings([r for r in mine if r.statistic == "network-training"], pictures)
        combination = chosen(choice)
        for result in mine:
            if result.statistic == "network-performance":
                detailed = result.id.split(".")[3] == combination
                part.blocks += _performance(results, result, pictures, detailed=detailed)
        part.blocks += [block for r in of(results, "network-centres") if r.id.split(".")[1] == name
                        for block in by_centre(r, pictures)]  # fmt: skip
        seen = [r for r in of(results, "network-projection") if r.id.split(".")[1] == name]
        part.blocks += projections(seen, pictures)
        part.blocks += adaptations([r for r in of(results, "network-adaptation") if r.id.split(".")[1] == name])
        part.blocks += [block for r in of(results, "network-pictures") if r.id.split(".")[1] == name
                        for block in _site_pictures(r)]  # fmt: skip
        section.parts.append(part)
    return section


def _sequences(combination: str | None) -> str:
    return fmt.plain((combination or "").replace("+", ", ").upper())


def _choice(choice: Result) -> list[Block]:
    if choice.status != "estimated":
        return [Paragraph(status_words(choice), "warning", choice.id)]
    cuts = [f"{fmt.number(e.value)} ({e.term})" for e in choice.estimates if e.name == "cutoff"]
    told = f"Frozen cut-offs of the probability that it is present: {', '.join(cuts)}." if cuts else ""
    nested = [f"{_area(e)} ({e.term})" for e in choice.estimates if e.name == "nested_auc" and e.value is not None]
    told += f" Nested AUC, sequences chosen by validation loss in each fold: {', '.join(nested)}." if nested else ""
    words = f"Chosen sequences: {_sequences(chosen(choice))}. {told} {fmt.plain(choice.note)}"
    blocks: list[Block] = [Paragraph(" ".join(words.split()), anchor=choice.id, how=(choice.how,))]
    folds = [e.term.partition(", ") for e in choice.estimates if e.name == "lowest_loss"]
    if folds:
        rows = tuple(Row(fmt.plain(fold), (_sequences(combination),)) for fold, _, combination in folds)
        blocks.append(Table("Sequences with the lowest validation loss without each fold", ("Fold", "Sequences"), rows))
    return blocks


def _combinations(result: Result) -> list[Block]:
    rows = []
    for term in dict.fromkeys(e.term for e in result.estimates):
        combination, _, inference = term.rpartition(", ")
        first, mean, spread = (estimate(result, f"auc{part}", term) for part in ("", "_mean_of_seeds", "_sd_of_seeds"))
        cells = (fmt.plain(inference), _area(first), *(fmt.area(e.value if e else None) for e in (mean, spread)))
        rows.append(Row(_sequences(combination), cells))
    columns = ("Sequences", "Inference", "AUC, first seed (95 % CI)", "Mean over seeds", "SD over seeds")
    notes = tuple(dict.fromkeys(fmt.plain(e.note) for e in result.estimates if e.note))
    notes = (fmt.plain(result.note), *notes, "Intervals: DeLong. Inference: the mean over slices, or the first slices.")
    caption = f"All combinations of sequences, cohort {where(result)}"
    return [Table(caption, columns, tuple(rows), result.id, tuple(n for n in notes if n), how=(result.how,))]


def _area(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return "not estimable"
    return fmt.area_interval(found.value, found.low, found.high)


def _trainings(trainings: list[Result], pictures: Pictures) -> list[Block]:
    blocks: list[Block] = []
    rows = []
    private = any(e.name == "epsilon" for result in trainings for e in result.estimates)
    for result in trainings:
        if slug(result.id) in pictures:
            blocks.append(Drawing(pictures[slug(result.id)]))
        rounds = [fmt.number(e.value) for e in result.estimates if e.name == "rounds"]
        losses = [fmt.number(e.value) for e in result.estimates if e.name == "validation_loss"]
        spent = [fmt.number(e.value) for e in result.estimates if e.name == "epsilon"]
        last = (", ".join(spent),) if private else ()
        cells = (", ".join(rounds), ", ".join(losses), fmt.optional_count(result.n), *last)
        rows.append(Row(_sequences(result.id.split(".")[3]), cells, result.id))
    if rows:
        columns = (*_TRAINING, "Epsilon spent, by training") if private else _TRAINING
        notes = tuple(dict.fromkeys(fmt.plain(result.note) for result in trainings))
        how = tuple(dict.fromkeys(result.how for result in trainings))
        blocks.append(Table("Trainings of the first seed", columns, tuple(rows), notes=notes, how=how))
    return blocks


def _site_pictures(result: Result) -> list[Block]:
    """Who made pictures; they are not here."""
    made = [f"cohort {e.term}: {fmt.number(e.value)} site(s)" for e in result.estimates if e.value is not None]
    told = [f"cohort {e.term}: {e.note}" for e in result.estimates if e.value is None]
    words = f"{fmt.plain(result.note)} Made: {', '.join(map(fmt.plain, made)) or 'nowhere'}."
    blocks: list[Block] = [Paragraph(words, anchor=result.id, how=(result.how,))]
    return [*blocks, *(Paragraph(fmt.plain(note), "warning") for note in told)]


def _performance(results: Results, result: Result, pictures: Pictures, *, detailed: bool) -> list[Block]:
    """Shares of presence; of the chosen combination also the cross tables and each grade's own shares."""
    head = f"{_sequences(result.id.split('.')[3])}, cohort {where(result)}"
    if result.status != "estimated":
        return [Paragraph(f"{head}. {status_words(result)}", "warning", result.id)]
    terms = dict.fromkeys(e.term for e in result.estimates if e.name == "accuracy")
    areas = tuple(_area(estimate(result, "auc", term.partition(", ")[0])) for term in terms)
    rows = [Row("AUC", areas)]
    rows += [
        Row(_WORDS.get(name, name.capitalize()), tuple(_share(estimate(result, name, term)) for term in terms))
        for name in _SHARES
    ]
    columns = ("Measure (95 % CI)", *map(fmt.plain, terms))
    facts = [f"{result.n} patients"] if result.n is not None else []
    facts += [f"{result.events} with the endpoint"] if result.events is not None else []
    if result.counts and result.counts[1].pooled != 0:
        facts.append(f"{fmt.count(result.counts[1].pooled, results.min_cell)} {result.counts[1].name}")
    notes = [f"{', '.join(facts)}." if facts else "", _no_better(result, "accuracy"), fmt.plain(result.note)]
    blocks: list[Block] = [
        Table(
            f"Present or absent: {head}",
            columns,
            tuple(rows),
            result.id,
            tuple(n for n in notes if n),
            how=(result.how,),
        )
    ]
    if detailed:
        name = f"roc-{slug(result.id)}"
        blocks += [Drawing(pictures[name])] if name in pictures else []
        blocks += [_cross_table(results, head, table) for table in result.tables]
        blocks += _grades(result, head)
    return blocks


def _no_better(result: Result, name: str) -> str:
    """Which accuracies are not shown to be worth more than no network at all."""
    named = [fmt.plain(e.term) for e, _ in not_shown_better(result) if e.name == name]
    return f"Not shown to be more accurate than always saying the commonest class: {'; '.join(named)}." if named else ""


def _share(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    return fmt.share_interval(found.value, found.low, found.high)


def _cross_table(results: Results, head: str, table: CrossTable) -> Table:
    rows = tuple(
        Row(f"true: {fmt.plain(level)}", tuple(fmt.hidden_or(n, results.min_cell, large=True) for n in cells))
        for level, cells in zip(table.rows, table.cells, strict=True)
    )
    hidden = any(n is None for cells in table.cells for n in cells)
    columns = ("", *(f"predicted: {fmt.plain(level)}" for level in table.columns))
    notes = (hidden_note(results.min_cell),) if hidden else ()
    return Table(f"Confusion matrix, {fmt.plain(table.name)}: {head}", columns, rows, notes=notes)


def _grades(result: Result, head: str) -> list[Block]:
    """Precision, recall and F1 of each grade, where there are more than two."""
    rows, whole_words = [], []
    for inference in _INFERENCES:
        whole = estimate(result, "grade_accuracy", inference)
        if whole is None:
            continue
        always = estimate(result, ALWAYS["grade_accuracy"], inference)
        balanced = estimate(result, "grade_balanced_accuracy", inference)
        whole_words.append(
            f"{inference}: {_share(whole)}, of always saying the commonest grade {_share(always)}, "
            f"balanced {_share(balanced)}"
        )
        named = dict.fromkeys(
            e.term for e in result.estimates if e.name == "f1" and e.term.startswith(f"{inference}, ")
        )
        for term in named:
            if estimate(result, "accuracy", term) is None:
                cells = tuple(_share(estimate(result, name, term)) for name in ("precision", "recall", "f1"))
                rows.append(Row(fmt.plain(term), cells))
    if not rows:
        return []
    notes = (f"Accuracy over the grades. {'; '.join(whole_words)}.", _no_better(result, "grade_accuracy"))
    columns = ("Inference and grade", "Precision", "Recall", "F1")
    return [Table(f"Grades: {head}", columns, tuple(rows), notes=tuple(n for n in notes if n))]
