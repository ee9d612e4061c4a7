"""server/export: the page for people in the file of a frozen logistic model, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from common.models.logistic import FrozenModel, Input, Measure, Performance
from common.models.network import FrozenNetwork
from common.published.format import area_interval, number, optional_count, plain
from common.study.modelling import is_score

_MISSING = {
    "complete-case": "A patient with a missing input gets no probability.",
    "mean": "A missing input is filled with the mean of the training patients.",
    "median": "A missing input is filled with the median of the training patients, if it is of yes and no with the "
    "mean.",
    "chained": "A missing input is filled by regressions on the others, as in the training patients.",
}

_SCALES = {"log": ", as its logarithm", "asinh": ", as its inverse hyperbolic sine"}


def model_readme(model: FrozenModel) -> str:
    """What the model is, what it needs, how well it did and how it is used."""
    lines = [f"# {plain(model.title)}: probability of {plain(model.endpoint)}", "", f"**{model.intended_use}**", ""]
    for title, part in (
        ("Inputs", _inputs(model)),
        *((f"The score {name}", _score(model, name)) for name in model.scores),
        ("Use", _use(model)),
        ("Performance, as published", map(_performance, model.performance)),
        ("Origin", _origin(model)),
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _inputs(model: FrozenModel) -> Iterator[str]:
    yield from map(_input, model.inputs)
    yield ""
    if model.scores:
        yield "A score is computed first and enters with four decimals. A patient without one gets no probability."
        yield ""
    if model.preparation is not None:
        yield "What is computed from images is prepared as `preparation` in model.json says."
        yield ""
    yield f"{_MISSING[model.missing]} The numbers are in model.json."


def _input(one: Input) -> str:
    return f"- `{one.variable.name}`: {plain(one.variable.title)}, {_coded(one)}"


def _score(model: FrozenModel, name: str) -> Iterator[str]:
    """What computes a score that is an input."""
    part = model.scores[name]
    if isinstance(part, FrozenNetwork):
        by = "the mean over all combinations of slices" if part.network.inference == "mean" else "the first slices"
        yield f"The network {plain(part.title)} on {', '.join(part.sequences)}: the probability of"
        yield f"{plain(part.endpoint)} by {by}."
        yield f"Its weights are `{part.member}`, SHA-256 {part.weights}: numbers only, which execute nothing."
    else:
        yield f"The model {plain(part.title)}: the probability of {plain(part.endpoint)}, from"
        yield ""
        yield from map(_input, part.inputs)


def _coded(one: Input) -> str:
    if is_score(one.variable.name):
        return "from 0 to 1" if one.coding != "above" else f"counted as {one.cutoff:.6g} or more, or below"
    unit = one.variable.unit
    if one.coding == "levels":
        return "one of " + ", ".join(map(plain, one.variable.level_names))
    measured = f"in {unit}" if unit else "a plain number"
    if one.coding == "above":
        return f"{measured}; counted as above {number(one.columns[0].cutoff)} or not"
    usual = "" if one.usual is None else f"; most training patients: {number(one.usual[0])} to {number(one.usual[1])}"
    return f"{measured}{_SCALES.get(one.coding, '')}{usual}"


def _use(model: FrozenModel) -> Iterator[str]:
    patients = "TABLE" if model.preparation is None else "FOLDER"
    yield f"    fedmvi-site predict --model FILE --patients {patients} --out predictions.csv --site DIR"
    yield ""
    if model.preparation is not None:
        yield "The folder has the patients' images and masks as a site has them, and a table of the other inputs."
        yield ""
    if model.cutoff is None:
        yield "No cut-off was chosen in the study."
    else:
        yield f"From {model.cutoff:.6g} on a patient is called high: {plain(model.cutoff_rule)}."
    yield ""
    if model.covariance is None:
        yield "There is no interval: the coefficients were shrunk, or are from elsewhere."
    else:
        yield "The 95 % interval is of the model's estimate, not of the single patient; scores are taken for known."


def _performance(found: Performance) -> str:
    alone = f", {plain(found.sites[0])}" if found.how == "site-alone" and len(found.sites) == 1 else ""
    told = ", ".join(map(_measure, found.measures)) or found.status
    size = f"{optional_count(found.n)} patients, {optional_count(found.events)} with the endpoint"
    statistic = "" if found.statistic == "auc" else f", {found.statistic}"
    return f"- {plain(found.cohort)}{alone}{statistic} ({size}): {told}. {plain(found.note)}".rstrip()


def _measure(found: Measure) -> str:
    if found.name == "auc":
        return f"AUC {area_interval(found.value, found.low, found.high)}"
    limits = "" if found.low is None else f" ({number(found.low)} to {number(found.high)})"
    return f"{found.name.replace('_', ' ')} {number(found.value)}{limits}"


def _origin(model: FrozenModel) -> Iterator[str]:
    origin = model.origin
    yield f"- study: {plain(origin.title)}; SHA-256 of its protocol {origin.study_fingerprint}"
    yield f"- code: SHA-256 {origin.code_fingerprint}"
    size = f"{optional_count(origin.n)} patients, {optional_count(origin.events)} with the endpoint"
    yield f"- trained in the cohort {plain(origin.cohort)} ({size}) of {', '.join(map(plain, origin.sites))}"
    if origin.left_out:
        yield f"- without {', '.join(map(plain, origin.left_out))}, who stayed away"
    yield from (f"- source: {plain(source)}" for source in origin.sources)
