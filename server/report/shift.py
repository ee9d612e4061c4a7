"""server/report: the section on differences between hospitals: which, of what kind, what they cost, what was done.

It begins with a sentence for the clinician; every table after it has the numbers behind that sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from server.report import format as fmt
from server.report.blocks import Block, Bullets, Drawing, Paragraph, Row, Section, Table
from server.report.contents import Labels, estimate, of, where
from server.report.explanations import status_words
from server.report.figures import Picture, slug
from server.study.results import Estimate, Result, Results, Statistic

VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        "none-detected": "none detected",
        "covariate": "patients or images differ (covariate shift)",
        "label": "the endpoint is more or less common (label shift)",
        "concept": "the same findings mean another risk (concept shift)",
        "several": "several kinds",
        "cannot-tell": "cannot tell",
    }
)
"""What a verdict is called on the page."""

BY_CENTRE: tuple[Statistic, ...] = ("centres", "leave-one-centre-out")
REMEDIES: tuple[Statistic, ...] = ("harmonisation", "recalibration")


def shift(results: Results, pictures: Mapping[str, Picture]) -> Section:
    """Everything on hospitals that differ; empty in a study that does not look for it."""
    section = Section("shift", "Differences between hospitals")
    found = of(results, "shift")
    if found:
        section.blocks.append(Bullets(tuple(sentences(results))))
        section.blocks.append(_verdicts(results, found))
        section.blocks += _differences(found, Labels(results))
        section.blocks += [Paragraph(_told(r), "note") for r in found if r.note]
    for statistic, anchor, title in (
        ("leave-one-centre-out", "shift-left-out", "Every training hospital left out in turn"),
        ("centres", "shift-centres", "Models by hospital"),
    ):
        blocks = [block for r in results.results if r.statistic == statistic for block in _by_centre(r, pictures)]
        section.parts += [Section(anchor, title, blocks)] if blocks else []
    drops = of(results, "performance-drop")
    if drops:
        section.parts.append(Section("shift-drop", "What a drop is made of", [_drop(r) for r in drops]))
    remedies = [block for result in of(results, *REMEDIES) for block in _remedy(result, Labels(results))]
    section.parts += [Section("shift-remedies", "What was done about it", remedies)] if remedies else []
    return section


# ----------------------------------------------------------------------------------------------- which and what


def sentences(results: Results) -> list[str]:
    """For the clinician: one sentence for each kind of verdict that a hospital got, those that differ first."""
    found = of(results, "shift")
    labels = Labels(results)
    told = [_sentence(r, labels) for r in found if r.verdict in ("covariate", "label", "concept", "several")]
    quiet = [r for r in found if r.verdict == "none-detected"]
    if quiet:
        sizes = [e.value for r in quiet if (e := estimate(r, "smallest_detectable")) and e.value is not None]
        unseen = f", although differences up to {max(sizes):.2f} standard deviations may go unnoticed" if sizes else ""
        told.append(f"No difference from training was detected at {_names(quiet)}{unseen}.")
    unknown = [r for r in found if r.status != "estimated" or r.verdict == "cannot-tell"]
    if unknown:
        told.append(f"Whether {_names(unknown)} differs from training cannot be told.")
    return told


def _names(results: Iterable[Result]) -> str:
    names = list(dict.fromkeys(fmt.plain(site) for result in results for site in result.sites))
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(result: Result, labels: Labels) -> str:
    site = f"{_names([result])} ({fmt.plain(result.cohort)})"
    largest = _largest(result)
    most = ""
    if largest is not None and largest.value is not None:
        most = f", most in {labels.term(largest.term)} by {abs(largest.value):.2f} standard deviations"
    before, there = estimate(result, "reference_prevalence"), estimate(result, "estimated_prevalence")
    prevalence = ""
    if before is not None and there is not None and there.value is not None:
        prevalence = f" ({fmt.share(there.value)}, estimated without outcomes, against {fmt.share(before.value)})"
    words = {
        "covariate": f"its patients or images differ from those of training{most}",
        "label": f"the endpoint is more or less common than in training{prevalence}, which explains what else differs",
        "concept": "the same findings go with another risk than in training, so that the model's risks are not right",
        "several": f"it differs from training in several ways{most}{prevalence}",
    }
    return f"At {site} {words[result.verdict]}."


def _largest(result: Result) -> Estimate | None:
    """The standardised difference farthest from 0."""
    known = [e for e in result.estimates if e.name == "standardised_difference" and e.value is not None]
    return max(known, key=lambda e: abs(e.value or 0.0), default=None)


def _verdicts(results: Results, found: list[Result]) -> Table:
    labels = Labels(results)
    rows = []
    for result in found:
        head = f"{_names([result])} ({fmt.plain(result.cohort)})"
        if result.status != "estimated":
            rows.append(Row(head, (status_words(result), *[fmt.MISSING] * 5), result.id))
            continue
        largest, area = _largest(result), estimate(result, "two_sample_auc")
        smallest = estimate(result, "smallest_detectable")
        rows.append(
            Row(
                head,
                (
                    VERDICTS.get(result.verdict, fmt.plain(result.verdict)),
                    fmt.optional_count(result.n),
                    _difference(largest, f"{labels.term(largest.term)}: ") if largest is not None else fmt.MISSING,
                    _with_p(fmt.area_interval(area.value, area.low, area.high), area) if area else fmt.MISSING,
                    _prevalence(result),
                    _two(smallest),
                ),
                result.id,
            )
        )
    columns = (
        "Hospital", "What differs", "Patients", "Largest difference, in SD", "Told apart from training, AUC",
        "Prevalence: training, here", "Smallest difference found with power 0.8",
    )  # fmt: skip
    notes = (
        "p: adjusted, so that the chance of any false alarm over all hospitals and tests is 5 %. Prevalence here: "
        "estimated from scores, without outcomes. That nothing was detected does not mean that nothing differs.",
    )
    how = tuple(dict.fromkeys(result.how for result in found))
    return Table("Which hospitals differ from training", columns, tuple(rows), notes=notes, how=how)


def _two(found: Estimate | None) -> str:
    return fmt.MISSING if found is None or found.value is None else f"{found.value:.2f}"


def _difference(found: Estimate | None, before: str = "") -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    limits = f" ({found.low:.2f} to {found.high:.2f})" if found.low is not None and found.high is not None else ""
    return _with_p(f"{before}{found.value:.2f}{limits}", found)


def _with_p(text: str, found: Estimate) -> str:
    return text if found.p is None else f"{text}, {fmt.p_words(found.p)}"


def _prevalence(result: Result) -> str:
    before, there = estimate(result, "reference_prevalence"), estimate(result, "estimated_prevalence")
    if before is None or there is None:
        return fmt.MISSING
    told = fmt.share_interval(there.value, there.low, there.high) if there.value is not None else "not told"
    return f"{fmt.share(before.value)}, {told}"


def _differences(found: list[Result], labels: Labels) -> list[Block]:
    """Standardised differences: a row for each predictor, a column for each hospital."""
    known = [r for r in found if any(e.name == "standardised_difference" for e in r.estimates)]
    names = list(dict.fromkeys(e.term for r in known for e in r.estimates if e.name == "standardised_difference"))
    if not known:
        return []
    rows = [
        Row(labels.term(name), tuple(_difference(estimate(r, "standardised_difference", name)) for r in known))
        for name in names
    ]
    columns = ("Predictor", *(f"{_names([r])} ({fmt.plain(r.cohort)})" for r in known))
    caption = "Differences from training, in standard deviations (95 % CI, adjusted p)"
    return [Table(caption, columns, tuple(rows), by_site=True)]


def _told(result: Result) -> str:
    return f"{_names([result])}: {fmt.plain(result.note)}"


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


def _by_centre(result: Result, pictures: Mapping[str, Picture]) -> list[Block]:
    if result.status != "estimated":
        return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)]
    blocks: list[Block] = [Drawing(pictures[slug(result.id)], wide=True)] if slug(result.id) in pictures else []
    centres = list(dict.fromkeys(e.term for e in result.estimates if e.name in _AT_A_CENTRE and e.term))
    shown = [name for name in _AT_A_CENTRE if any(e.name == name for e in result.estimates)]
    rows = [
        Row(fmt.plain(centre), tuple(_cell(name, estimate(result, name, centre)) for name in shown))
        for centre in centres
    ]
    notes = [f"{fmt.plain(e.term)}: {fmt.plain(e.note)}" for e in result.estimates if e.name == "auc" and e.note]
    notes += [_together(result), *([fmt.plain(result.note)] if result.note else [])]
    columns = ("Hospital", *(_AT_A_CENTRE[name] for name in shown))
    notes = [note for note in dict.fromkeys(notes) if note]
    blocks.append(
        Table(fmt.plain(result.title), columns, tuple(rows), result.id, tuple(notes), how=(result.how,))
    )  # fmt: skip
    return blocks


def _cell(name: str, found: Estimate | None) -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    if name in _SHARES:
        return fmt.share_interval(found.value, found.low, found.high)
    return _interval(found, 3 if name in ("auc", "net_benefit") else 2)


def _interval(found: Estimate | None, decimals: int) -> str:
    if found is None or found.value is None:
        return fmt.MISSING
    if found.low is None or found.high is None:
        return f"{found.value:.{decimals}f}"
    return f"{found.value:.{decimals}f} ({found.low:.{decimals}f} to {found.high:.{decimals}f})"


def _together(result: Result) -> str:
    """What the hospitals say together, in one sentence; "" where there is too little for it."""
    mean, predicted = estimate(result, "auc_random_effects"), estimate(result, "auc_prediction")
    plain_mean, worst, gap = (estimate(result, name) for name in ("mean_auc", "worst_auc", "gap"))
    i2, chosen = estimate(result, "i2"), estimate(result, "chosen")
    parts = []
    if plain_mean is not None and plain_mean.value is not None:
        parts.append(f"mean over hospitals {fmt.area(plain_mean.value)}")
    if mean is not None and mean.value is not None:
        parts.append(f"random effects {fmt.area_interval(mean.value, mean.low, mean.high)}")
    if predicted is not None and predicted.low is not None:
        parts.append(f"expected at a new hospital {fmt.area(predicted.low)} to {fmt.area(predicted.high)}")
    if i2 is not None and i2.value is not None:
        parts.append(f"I² {i2.value:.0f} %")
    if worst is not None and worst.value is not None:
        parts.append(f"worst {fmt.area(worst.value)} at {fmt.plain(worst.term)}")
    if gap is not None and gap.value is not None:
        parts.append(f"gap between best and worst {fmt.area(gap.value)}")
    told = f"AUC: {'; '.join(parts)}." if parts else ""
    return told + (f" Chosen before any external outcome was seen: {fmt.plain(chosen.term)}." if chosen else "")


# ------------------------------------------------------------------------------------------------------- drops

_STEPS = ("apparent", "out_of_fold", "expected", "observed")
_PARTS = ("optimism", "case_mix", "remaining")
_METRICS: Mapping[str, str] = MappingProxyType({"auc": "AUC", "balanced_accuracy": "Balanced accuracy"})


def _drop(result: Result) -> Block:
    """From training to a test cohort in three steps, each with its interval."""
    if result.status != "estimated":
        return Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)
    rows = []
    for term, words in _METRICS.items():
        cells = tuple(_interval(estimate(result, name, term), 3) for name in (*_STEPS, *_PARTS))
        if any(cell != fmt.MISSING for cell in cells):
            rows.append(Row(words, cells))
    notes = [
        "Optimism: apparent less out-of-fold. Case mix: out-of-fold less what the model's own risks promise in these "
        "patients. Remaining: promised less observed, which is what other differences between hospitals cost.",
    ]
    majority = estimate(result, "majority_class")
    if majority is not None and majority.value is not None:
        notes.append(f"Always saying the commoner class is right in {fmt.share(majority.value)} of these patients.")
    notes += [fmt.plain(e.note) for e in result.estimates if e.note]
    notes += [fmt.plain(result.note)] if result.note else []
    columns = (
        "", "Apparent (training)", "Out of fold (training)", "Expected for this case mix", "Observed", "Optimism",
        "Case mix", "Remaining",
    )  # fmt: skip
    return Table(
        f"{fmt.plain(result.title)}, {where(result)}", columns, tuple(rows), result.id,
        tuple(dict.fromkeys(notes)), how=(result.how,),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- remedies


def _remedy(result: Result, labels: Labels) -> list[Block]:
    if result.status != "estimated":
        return [Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)]
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
        text = "not estimable" if found.value is None else _with_p(_interval(found, 3), found)
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
    rows = []
    for name, (words, decimals) in _MEASURED.items():
        sides = [estimate(result, name, side) for side in _SIDES]
        if any(side is not None for side in sides):
            rows.append(Row(words, tuple(_interval(side, decimals) for side in sides)))
    notes = (fmt.plain(result.note),) if result.note else ()
    columns = ("", "Without the correction", "With it")
    caption = f"{fmt.plain(result.title)}, {where(result)}"
    return Table(caption, columns, tuple(rows), result.id, notes, how=(result.how,))
