"""server/report: the section on differences between hospitals: which, of what kind, what they cost, what was done.

It begins with a sentence for the clinician; every table after it has the numbers behind that sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from common.published import format as fmt
from common.published.results import Estimate, Result, Results, Statistic
from server.report.blocks import Block, Bullets, Drawing, Paragraph, Row, Section, Table
from server.report.contents import Labels, estimate, interval_words, of, where
from server.report.explanations import status_words
from server.report.figures import Picture, slug
from server.report.shift_words import ALPHA, names_of, sentences

VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        "none-detected": "none detected",
        "covariate": "covariate shift",
        "label": "label shift",
        "concept": "concept shift",
        "several": "several kinds",
        "cannot-tell": "cannot tell",
    }
)
"""What a verdict is called on the page."""

_SENTENCE = re.compile(r"(?<=[.]) (?=[A-Z])")

REMEDIES: tuple[Statistic, ...] = ("harmonisation", "recalibration", "network-adaptation")


def shift(results: Results, pictures: Mapping[str, Picture]) -> Section:
    """Everything on hospitals that differ; empty in a study that does not look for it."""
    section = Section("shift", "Differences between hospitals")
    found = of(results, "shift")
    if found:
        section.blocks.append(Bullets(tuple(sentences(results))))
        section.blocks.append(_verdicts(found))
        section.blocks += _differences(found, Labels(results)) + _otherwise(found, Labels(results))
        notes = _notes(found)
        section.blocks += [Bullets(tuple(notes))] if notes else []
    for statistic, anchor, title in (
        ("leave-one-centre-out", "shift-left-out", "Every training hospital left out in turn"),
        ("centres", "shift-centres", "Models by hospital"),
    ):
        blocks = [block for r in results.results if r.statistic == statistic for block in by_centre(r, pictures)]
        section.parts += [Section(anchor, title, blocks)] if blocks else []
    drops = of(results, "performance-drop")
    if drops:
        section.parts.append(Section("shift-drop", "What a drop is made of", [_drop(r) for r in drops]))
    remedies = [block for result in of(results, *REMEDIES) for block in _remedy(result, Labels(results))]
    section.parts += [Section("shift-remedies", "What was done about it", remedies)] if remedies else []
    return section


# ----------------------------------------------------------------------------------------------- which and what


def _verdicts(found: list[Result]) -> Table:
    # Before anything is trained there is no score, and nothing that one tells of the endpoint's frequency.
    scored = any(estimate(result, "smallest_detectable_prevalence") for result in found)
    columns: tuple[str, ...] = ("Hospital", "Verdict", "Patients", "AUC against training", "Detectable, SD")
    columns += ("Prevalence", "Detectable, prevalence") if scored else ()
    rows = []
    for result in found:
        head = f"{names_of([result])} ({fmt.plain(result.cohort)})"
        if result.status != "estimated":
            rows.append(Row(head, (status_words(result), *[fmt.MISSING] * (len(columns) - 2)), result.id))
            continue
        area, smallest = estimate(result, "two_sample_auc"), estimate(result, "smallest_detectable")
        cells = (
            VERDICTS.get(result.verdict, fmt.plain(result.verdict)),
            fmt.optional_count(result.n),
            _with_p(fmt.area(area.value), area) if area is not None else fmt.MISSING,
            _two(smallest),
        )
        told = (_prevalence(result), _two(estimate(result, "smallest_detectable_prevalence"))) if scored else ()
        rows.append(Row(head, (*cells, *told), result.id))
    notes = (
        "AUC against training: how well a patient of the hospital is told from one of training by the predictors; p is "
        "adjusted, so that the chance of any false alarm over all hospitals and tests without outcomes is 5 %; where "
        "outcomes were used their tests add as much. Detectable: the standardised difference of one predictor"
        + (", and that of the prevalence if nothing else differs, which are" if scored else ", which is")
        + " found with a power of 80 % without outcomes; what is with outcomes is in the notes. That nothing was "
        "detected does not mean that nothing differs."
        + (" Prevalence: estimated from scores, without outcomes." if scored else ""),
        "All numbers here were found before any outcome of a test cohort was used; only a verdict may follow from "
        "outcomes, and the hospital's note says so then."
        if scored
        else "This was looked at before anything was trained, and no outcome of a test cohort was used.",
    )
    how = tuple(dict.fromkeys(result.how for result in found))
    return Table("Which hospitals differ from training", columns, tuple(rows), notes=notes, how=how)


def _two(found: Estimate | None) -> str:
    return fmt.MISSING if found is None or found.value is None else f"{found.value:.2f}"


def _difference(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    return f"{found.value:.2f}{'*' if found.p is not None and found.p < ALPHA else ''}"


def _with_p(text: str, found: Estimate) -> str:
    return text if found.p is None else f"{text}, {fmt.p_words(found.p)}"


def _prevalence(result: Result) -> str:
    there = estimate(result, "estimated_prevalence")
    if there is None or there.value is None:
        return "not told"
    return fmt.share_interval(there.value, there.low, there.high)


def _differences(found: list[Result], labels: Labels) -> list[Block]:
    """Of means, and of distributions: a row for each hospital, a column for each predictor."""
    note = "* adjusted p below 5 %. Intervals and all p values are in tables/shift.csv."
    title = "Differences from training, in standard deviations"
    means = _by_predictor(found, labels, "standardised_difference", title, note)
    note = (
        "Largest distance between the cumulative distributions there and in training (Kolmogorov-Smirnov), over "
        "guarded bins: another spread is seen by it where means are alike. * adjusted p below 5 %."
    )
    return means + _by_predictor(found, labels, "ks", "Distance from training's distributions", note)


def _otherwise(found: list[Result], labels: Labels) -> list[Block]:
    """Tests of each predictor beside the score: a row for each hospital that told some."""
    note = (
        "Above 0: with larger values more patients have the endpoint there than the model says; below 0: fewer. Each "
        "is the deviate of a score test beside the model's risk, after the hospital's own intercept. * p below 5 %, "
        "adjusted over all hospitals and predictors of this table (Holm): this finding means something else there. The "
        "verdicts do not rest on these tests."
    )
    title = "Where a finding goes with another risk than the model says"
    return _by_predictor(found, labels, "residual_test", title, note)


def _by_predictor(found: list[Result], labels: Labels, told: str, title: str, note: str) -> list[Block]:
    """An estimate of each predictor at each hospital that told any; no table where none did."""
    known = [r for r in found if any(e.name == told for e in r.estimates)]
    names = list(dict.fromkeys(e.term for r in known for e in r.estimates if e.name == told))
    if not known:
        return []
    rows = tuple(
        Row(f"{names_of([r])} ({fmt.plain(r.cohort)})", tuple(_difference(estimate(r, told, name)) for name in names))
        for r in known
    )
    return [Table(title, ("Hospital", *(labels.term(name) for name in names)), rows, notes=(note,))]


def _notes(found: list[Result]) -> list[str]:
    """What all hospitals' notes say, once; then what each says of its own."""
    told = {r.id: [part for part in _SENTENCE.split(fmt.plain(r.note)) if part] for r in found if r.note}
    common = [part for part in next(iter(told.values()), []) if all(part in parts for parts in told.values())]
    notes = [" ".join(common)] if common and len(told) > 1 else []
    for result in found:
        own = [part for part in told.get(result.id, []) if part not in common or not notes]
        notes += [f"{names_of([result])} ({fmt.plain(result.cohort)}): {' '.join(own)}"] if own else []
    return notes


# -------------------------------------------------------------------------------------------------- by hospital


_AT_A_CENTRE: Mapping[str, str] = MappingProxyType(
    {
        "auc": "AUC",
        "calibration_intercept": "Calibration in the large",
        "calibration_slope": "Calibration slope",
        "observed_expected": "Observed / expected",
        "sensitivity": "Sensitivity",
        "specificity": "Specificity",
        "balanced_accuracy": "Balanced accuracy",
        "accuracy": "Accuracy",
        "majority_class": "Accuracy of always saying the commoner class",
        "net_benefit": "Net benefit",
    }
)
_SHARES = frozenset({"sensitivity", "specificity", "balanced_accuracy", "accuracy", "majority_class"})


def by_centre(result: Result, pictures: Mapping[str, Picture]) -> list[Block]:
    """A score at each hospital, its picture where there is one, and what the hospitals say together."""
    if result.status != "estimated":
        words = f"{fmt.plain(result.title)}. {status_words(result)}{_together(result)}"
        return [Paragraph(words, "warning", result.id)]
    blocks: list[Block] = [Drawing(pictures[slug(result.id)], wide=True)] if slug(result.id) in pictures else []
    centres = list(dict.fromkeys(e.term for e in result.estimates if e.name in _AT_A_CENTRE and e.term))
    rows = [
        Row(words, tuple(_cell(name, estimate(result, name, centre)) for centre in centres))
        for name, words in _AT_A_CENTRE.items()
        if any(e.name == name for e in result.estimates)
    ]
    notes = [f"{fmt.plain(e.term)}: {fmt.plain(e.note)}" for e in result.estimates if e.name == "auc" and e.note]
    notes += [_together(result), *([fmt.plain(result.note)] if result.note else [])]
    notes = [note for note in dict.fromkeys(notes) if note]
    columns = ("", *map(fmt.plain, centres))
    blocks.append(
        Table(fmt.plain(result.title), columns, tuple(rows), result.id, tuple(notes), by_site=True, how=(result.how,))
    )
    return blocks


def _cell(name: str, found: Estimate | None) -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    if name in _SHARES:
        return fmt.share_interval(found.value, found.low, found.high)
    return interval_words(found, 3 if name in ("auc", "net_benefit") else 2)


def _together(result: Result) -> str:
    """What the hospitals say together, in one sentence; "" where there is too little for it."""
    mean, predicted = estimate(result, "auc_random_effects"), estimate(result, "auc_prediction")
    plain_mean, worst, gap = (estimate(result, name) for name in ("mean_auc", "worst_auc", "gap"))
    i2, chosen = estimate(result, "i2"), estimate(result, "chosen")
    parts = []
    if plain_mean is not None and plain_mean.value is not None:
        parts.append(f"mean over hospitals {fmt.area_interval(plain_mean.value, plain_mean.low, plain_mean.high)}")
    if mean is not None and mean.value is not None:
        parts.append(f"random effects {fmt.area_interval(mean.value, mean.low, mean.high)}")
    if predicted is not None and predicted.low is not None:
        parts.append(f"expected at a new hospital {fmt.area(predicted.low)} to {fmt.area(predicted.high)}")
    if i2 is not None and i2.value is not None:
        around = "" if i2.low is None or i2.high is None else f" ({i2.low:.0f} to {i2.high:.0f})"
        parts.append(f"I² {i2.value:.0f} %{around}")
    if worst is not None and worst.value is not None:
        parts.append(f"worst {fmt.area_interval(worst.value, worst.low, worst.high)} at {fmt.plain(worst.term)}")
    if gap is not None and gap.value is not None:
        parts.append(f"gap between best and worst {fmt.area_interval(gap.value, gap.low, gap.high)}")
    told = f"AUC: {'; '.join(parts)}." if parts else ""
    return told + (f" Chosen before any external outcome was seen: {fmt.plain(chosen.term)}." if chosen else "")


# ------------------------------------------------------------------------------------------------------- drops

_STEPS: Mapping[str, str] = {
    "apparent": "Apparent, in training",
    "out_of_fold": "Out of fold, in training",
    "expected": "Expected for this case mix",
    "observed": "Observed",
}
_PARTS: Mapping[str, str] = {"optimism": "Optimism", "case_mix": "Case mix", "remaining": "Remaining"}
_METRICS: Mapping[str, str] = MappingProxyType({"auc": "AUC", "balanced_accuracy": "Balanced accuracy"})


def _drop(result: Result) -> Block:
    """From training to a test cohort in three steps, each with its interval."""
    if result.status != "estimated":
        return Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)
    metrics = [term for term in _METRICS if any(e.term == term for e in result.estimates)]
    rows = [
        Row(words, tuple(interval_words(estimate(result, name, term), 3) for term in metrics), strong=name in _PARTS)
        for name, words in ({**_STEPS, **_PARTS}).items()
    ]
    notes = [
        "Optimism: apparent less out-of-fold. Case mix: out-of-fold less what the score's own risks promise in these "
        "patients. Remaining: promised less observed, which is what other differences between hospitals cost.",
    ]
    notes += _beside_the_commoner(result) + _lacking(result)
    notes += [fmt.plain(result.note)] if result.note else []
    columns = ("", *(_METRICS[term] for term in metrics))
    return Table(fmt.plain(result.title), columns, tuple(rows), result.id, tuple(notes), how=(result.how,))


def _beside_the_commoner(result: Result) -> list[str]:
    """Accuracy, which says little without that of saying the commoner class to everybody."""
    accuracy, majority = (estimate(result, name) for name in ("accuracy", "majority_class"))
    if majority is None or majority.value is None:
        return []
    commoner = f"lways saying the commoner class is right in {fmt.share(majority.value)} of these patients."
    if accuracy is None or accuracy.value is None:
        return [f"A{commoner}"]
    told = fmt.share_interval(accuracy.value, accuracy.low, accuracy.high)
    return [f"Accuracy at the frozen cut-off: {told}; a{commoner}"]


def _lacking(result: Result) -> list[str]:
    """Why a step is not there, or what its number rests on: each reason once, with the steps that it is for."""
    words, reasons = {**_STEPS, **_PARTS}, dict[str, dict[str, None]]()
    for found in result.estimates:
        if found.name in words and found.note:
            reasons.setdefault(fmt.plain(found.note), {})[words[found.name].lower()] = None
    return [f"{_first_upper('; '.join(names))}: {why.rstrip('.')}." for why, names in reasons.items()]


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]


# ----------------------------------------------------------------------------------------------------- remedies


def _remedy(result: Result, labels: Labels) -> list[Block]:
    if result.status != "estimated":
        return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", _anchor(result))]
    if any(e.term in ("before", "after") for e in result.estimates):
        return [_before_after(result)]
    if result.statistic == "harmonisation":
        return [_harmonised(result, labels)]
    return [_corrected(result)]


def _harmonised(result: Result, labels: Labels) -> Table:
    names = list(dict.fromkeys(e.term for e in result.estimates if e.name == "grand_mean"))
    rows = []
    for name in names:
        mean, std = estimate(result, "grand_mean", name), estimate(result, "pooled_std", name)
        rows.append(
            Row(labels.term(name), (fmt.moment(mean.value if mean else None), fmt.moment(std.value if std else None)))
        )
    columns = ("Feature", "Mean over training", "Standard deviation within hospitals")
    notes = (fmt.plain(result.note),) if result.note else ()
    return Table(fmt.plain(result.title), columns, tuple(rows), result.id, notes, how=(result.how,))


_TESTS: Mapping[str, str] = MappingProxyType(
    {
        "intercept": "Intercept of the correction",
        "slope": "Slope of the correction",
        "guaranteed_sensitivity": "Cut-off with the guaranteed sensitivity",
    }
)


def _corrected(result: Result) -> Table:
    """The tests that chose the correction, and the correction itself."""
    rows = []
    for found in result.estimates:
        head = _TESTS.get(found.name, fmt.plain(f"{found.name} {found.term}").replace("_", " ").strip())
        text = "not estimable" if found.value is None else _with_p(interval_words(found, 3), found)
        rows.append(Row(head[:1].upper() + head[1:], (text, fmt.plain(found.note))))
    notes = [fmt.plain(result.note)] if result.note else []
    patients = [f"{result.n} patients" if result.n is not None else "", f"{result.events} with the endpoint"
                if result.events is not None else ""]  # fmt: skip
    told = ", ".join(part for part in patients if part)
    notes.insert(0, f"Cohort {where(result)}{': ' + told if told else ''}. Taken: {fmt.plain(result.verdict)}.")
    return Table(fmt.plain(result.title), ("", "Value", ""), tuple(rows), result.id, tuple(notes), how=(result.how,))


_SIDES = ("before", "after")
_MEASURED: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "calibration_intercept": ("Calibration in the large", 2),
        "calibration_slope": ("Calibration slope", 2),
        "observed_expected": ("Observed / expected", 2),
        "brier": ("Brier score", 3),
        "net_benefit": ("Net benefit", 3),
        "auc": ("AUC", 3),
    }
)


def _before_after(result: Result) -> Table:
    """A cohort with the model as it was and as corrected, side by side."""
    sides = {name: [estimate(result, name, side) for side in _SIDES] for name in _MEASURED}
    known = [name for name, both in sides.items() if any(side is not None for side in both)]
    rows = [Row(_MEASURED[n][0], tuple(interval_words(side, _MEASURED[n][1]) for side in sides[n])) for n in known]
    notes = (fmt.plain(result.note),) if result.note else ()
    network = result.statistic == "network-adaptation"
    columns = ("", "As trained", "As adapted") if network else ("", "Without the correction", "With it")
    return Table(fmt.plain(result.title), columns, tuple(rows), _anchor(result), notes, how=(result.how,))


def _anchor(result: Result) -> str:
    return "" if result.statistic == "network-adaptation" else result.id
