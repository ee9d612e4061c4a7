"""server/report: the results in a few plain sentences, for the report's first lines and the command line."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.results import Result, Results
from server.report.adaptations import adaptation_sentence
from server.report.contents import (
    ModelParts,
    all_sites,
    estimate,
    groups,
    models,
    of,
    prediction_cohorts,
    role,
    short_groups,
    where,
)
from server.report.explanations import status_words
from server.report.expression import sentences as expressed
from server.report.shift_words import sentences

_MODELS = 4
_COMPARISONS = 4


def headlines(results: Results) -> list[str]:
    """Patients and sites; how common the endpoint is; discrimination by model; survival; warnings and refusals."""
    told = [_patients(results), *_left_out(results), *_prevalence(results)]
    titles = {model.name: model.title for model in models(results)}
    told += [_choice(choice, titles) for choice in of(results, "choice")]
    found = [model for model in models(results) if model.aucs and model.name not in _passed_over(results)]
    told += [_discrimination(results, model) for model in found[:_MODELS]]
    told += [sentence for result in of(results, "network-selection") for sentence in _network(results, result)]
    told += [words for result in of(results, "network-adaptation") if (words := adaptation_sentence(result))]
    told += sentences(results)
    told += [_survival(results, result) for result in of(results, "survival")[:_COMPARISONS]]
    told += expressed(results)[:_COMPARISONS]
    told += [fmt.plain(r.note) for r in of(results, "univariable-logistic") if r.note]
    refused = dict.fromkeys(fmt.plain(r.note) for r in results.results if r.status == "refused")
    return told + [f"Refused: {note}" for note in refused]


def _patients(results: Results) -> str:
    wanted = prediction_cohorts(results) or [c.name for c in results.cohorts[:1]]
    sizes = [result.n for result in of(results, "patient-flow") if result.cohort in wanted]
    known = [n for n in sizes if n is not None]
    at_least = "At least " if len(known) < len(sizes) else ""
    kind = "simulated patients" if results.simulated else "patients"
    sites = fmt.plural(len(all_sites(results)), "site")
    return f"{at_least}{sum(known)} {kind} of {sites} took part; no patient's record left its site."


def _left_out(results: Results) -> list[str]:
    """Who is not in it although the protocol has them: readers of the protocol would think that they are."""
    if not results.left_out:
        return []
    named = ", ".join(results.left_out)
    return [f"The study went on without {named}, which stayed away, as its protocol allows: no number includes them."]


def _prevalence(results: Results) -> list[str]:
    """How common the first binary endpoint is, over all cohorts that share no patient and show their counts."""
    binary = [r for r in of(results, "endpoint-counts") if len(r.counts) > 1 and r.counts[1].name.endswith(" present")]
    if not binary:
        return []
    endpoint = binary[0].id.rpartition(".")[2]
    title = fmt.plain(binary[0].counts[1].name.removesuffix(" present"))
    cohorts = prediction_cohorts(results)
    pairs = [
        (r.events, r.n)
        for r in binary
        if r.cohort in cohorts and r.id.rpartition(".")[2] == endpoint and r.events is not None and r.n
    ]
    events, n = sum(e for e, _ in pairs if e is not None), sum(n for _, n in pairs)
    return [f"{title} was present in {events} of {n} patients ({fmt.share(events / n)})."] if n else []


def _passed_over(results: Results) -> set[str]:
    """Models that a choice did not take: their section tells of them."""
    return {e.term for choice in of(results, "choice") for e in choice.estimates if e.note != "chosen"}


def _choice(choice: Result, titles: Mapping[str, str]) -> str:
    """Which of several models was taken."""
    title = fmt.plain(choice.title.rpartition(", ")[2])
    taken = next((e for e in choice.estimates if e.note == "chosen"), None)
    if taken is None:
        return f"{title}: {_lower(status_words(choice))}"
    area = fmt.area_interval(taken.value, taken.low, taken.high)
    several = sum(e.name == "auc" for e in choice.estimates)
    model = fmt.plain(titles.get(taken.term, taken.term))
    worst = estimate(choice, "worst_auc", taken.term)
    if worst is not None:
        return (
            f"{title}: of {several} networks '{model}' was taken, with a mean AUC of {area} at training hospitals that "
            f"it never saw, {fmt.area(worst.value)} at the worst of them."
        )
    return f"{title}: of {several} models '{model}' was taken, with a cross-validated AUC of {area}."


def _discrimination(results: Results, model: ModelParts) -> str:
    parts = []
    for result in model.aucs:
        auc = estimate(result, "auc")
        apparent = " (apparent)" if role(results, result.cohort) == "train" else ""
        if auc is None or auc.value is None:
            word = "refused" if result.status == "refused" else "not estimable"
            parts.append(f"{word} in {where(result)}{apparent}")
        else:
            limits = f" (95 % CI {fmt.area(auc.low)} to {fmt.area(auc.high)})" if auc.low is not None else ""
            parts.append(f"{fmt.area(auc.value)}{limits} in {where(result)}{apparent}")
    return f"{model.title}: AUC {'; '.join(parts)}."


def _network(results: Results, choice: Result) -> list[str]:
    """The chosen sequences of a network, and their areas by cohort with the study's way of inference first."""
    chosen = next((e.term for e in choice.estimates if e.name == "chosen" and e.value == 1.0), None)
    name, title = choice.id.split(".")[1], fmt.plain(choice.title.rpartition(", ")[2])
    if chosen is None:
        return [f"{title}: {_lower(status_words(choice))}"]
    parts = []
    for result in of(results, "network-performance"):
        if result.id.split(".")[1:4] == [name, "performance", chosen]:
            auc = estimate(result, "auc", "mean")
            told = fmt.area_interval(auc.value, auc.low, auc.high) if auc is not None else "not estimable"
            kind = ""
            if role(results, result.cohort) == "train":
                kind = " (selected and optimistic)" if result.note.startswith("Selected") else " (out of fold)"
            parts.append(f"{told} in {where(result)}{kind}")
    sequences = fmt.plain(chosen.replace("+", ", ").upper())
    return [f"{title}: {sequences} chosen; AUC, mean over slices, {'; '.join(parts)}."]


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def _survival(results: Results, result: Result) -> str:
    title = fmt.plain(result.title)
    if result.status != "estimated":
        return f"{title}: {'refused' if result.status == 'refused' else 'not estimable'}."
    test = estimate(result, "log_rank_chi2")
    tested = f"log-rank {fmt.p_words(test.p)}" if test is not None else "log-rank test not estimable"
    medians = []
    for name, short in zip(groups(result), short_groups(result)[1], strict=True):
        median = estimate(result, "median", name)
        if median is not None:
            medians.append(f"{fmt.time(median.value, median.unit)} ({short})")
    patients = f" ({result.n} patients, {result.events} events)" if None not in (result.n, result.events) else ""
    return f"{title}{patients}: {tested}{_hazards(results, result)}; median {' v '.join(medians)}."


def _hazards(results: Results, result: Result) -> str:
    """The hazard ratio of the last group over the first, alone and beside covariates, where the comparison has them."""
    names, short = groups(result), short_groups(result)[1]
    told: list[str] = []
    for kind, word in (("univariable", ""), ("multivariable", "adjusted ")):
        regression = next((r for r in of(results, "cox-regression") if r.id == f"{result.id}.cox-{kind}"), None)
        found = estimate(regression, "hazard_ratio", names[-1]) if names else None
        if found is not None and found.value is not None:
            what = "" if told else f"hazard ratio of {short[-1]} over {short[0]} "
            interval = fmt.ratio_interval(found.value, found.low, found.high).replace("(", "(95 % CI ")
            told.append(f", {word}{what}{interval}")
    return "".join(told)
