"""common/networks: the model card: what a network is, from whom it learned, how well it does where, and where it ends.

(Its parts are those of Mitchell et al., Model cards for model reporting, FAT* 2019.) Every number is read from
`results.json`, hidden counts stay hidden; a hospital that has not got the file says what is in the protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.networks.architecture import Architecture
from common.networks.bundle import Description
from common.published.format import area_interval, hidden_or, number, plain, share_interval
from common.published.networks import ALWAYS, chosen, not_shown_better
from common.published.results import ALL_SITES, Count, Estimate, Result, Results
from common.study.features import LANDMARKS
from common.study.fingerprint import preparation_fingerprint
from common.study.intended_use import RESEARCH
from common.study.networks import Network
from common.study.protocol import Study

_AREAS = ("auc", "auc_mean_of_seeds")
_SHARES = (
    *ALWAYS, *ALWAYS.values(), "balanced_accuracy", "grade_balanced_accuracy", "precision", "recall", "specificity",
    "f1", "sensitivity",
)  # fmt: skip
_TITLES = {
    "auc": "AUC", "auc_mean_of_seeds": "AUC, mean of seeds", "f1": "F1", "grade_accuracy": "accuracy of grades",
    "majority_class": "accuracy of always saying the commoner class",
    "grade_majority_class": "accuracy of always saying the commonest grade",
    "balanced_accuracy": "balanced accuracy", "grade_balanced_accuracy": "balanced accuracy of grades",
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What is handed on.

    Attributes
    ----------
    study, network
        Of the run.
    results
        What the run published; None where a hospital has not got it.
    architecture
        Of the weights.
    about
        What the bundle says of them.
    seed
        Which of the trainings; None where the weights do not say.
    parameters
        How many shared weights there are.
    """

    study: Study
    network: Network
    results: Results | None
    architecture: Architecture
    about: Description
    seed: int | None
    parameters: int

    @property
    def combination(self) -> str:
        """Its sequences as ids name them."""
        return "+".join(self.architecture.sequences)

    def parts(self, part: str) -> list[Result]:
        """Results of the network whose id goes on with `part`."""
        published = [] if self.results is None else self.results.results
        return [r for r in published if f"{r.id}.".startswith(f"network.{self.network.name}.{part}.")]


def model_card(exported: Exported) -> str:
    """The card as Markdown."""
    study = exported.study
    lines = [f"# {plain(exported.about.title)}", ""]
    if study.study.simulated:
        lines += [
            "**Simulated: these weights were learned from invented patients and say nothing about real ones.**",
            "",
        ]
    lines += [f"**{RESEARCH}**", ""]
    for title, part in (
        ("What it is", _what(exported)),
        ("How it is used", _use(exported)),
        ("Patients", _patients(exported)),
        ("How it was trained", _training(exported)),
        ("Performance", _performance(exported)),
        ("Limits", _limits(exported)),
        ("Where it is from", _origin(exported)),
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _what(exported: Exported) -> Iterator[str]:
    shape, network = exported.architecture, exported.network
    yield (
        f"A convolutional network that gives the probabilities of {', '.join(map(plain, exported.about.levels))} of "
        f"{plain(exported.study.endpoint(network.grades).title)} from {exported.about.slices} slice(s) of each of "
        f"{len(shape.sequences)} sequence(s). {exported.parameters} shared weights; width {shape.width}, "
        f"2 x {shape.blocks} bottlenecks, {shape.normalisation} normalisation. {exported.about.statistics}"
    )
    yield ""
    yield "MVI is called present where the probabilities of all classes above the lowest add up to the cut-off or more."
    for inference, cutoff in exported.about.cutoffs:
        used = " (the one that is reported)" if inference == exported.network.inference else ""
        yield f"- frozen cut-off by `{inference}`{used}: {number(cutoff)}"
    if not exported.about.cutoffs:
        yield "- cut-off not given: " + ("see the report." if exported.results is None else "none was frozen.")


def _use(exported: Exported) -> Iterator[str]:
    sequences, size, slices = exported.architecture.sequences, exported.network.size, exported.about.slices
    k = len(sequences)
    yield (
        f"Prepare the patients with `fedmvi-site prepare` and the study's own `[preparation]`. Of each sequence the "
        f"network takes the {slices} slice(s) of the stack, resized to {size} x {size}, with intensities as acquired "
        f"(`pixels.npy`), and the body's percentiles {', '.join(map(str, LANDMARKS))} (`percentiles` in "
        "`result.json`), by which it makes intensities comparable. Sequences in this order: "
        + ", ".join(f"`{s}`" for s in sequences)
        + ". "
        + (
            "The branch of a sequence that a patient lacks is masked."
            if exported.network.missing == "mask"
            else "A patient who lacks one of them cannot be scored."
        )
    )
    yield ""
    yield "- `models/model.safetensors`: all weights; `common.networks.weights.read_network` reads them."
    yield "- `configs/inference.json`: for MONAI's ConfigParser; `inferer` scores what `models/model.onnx` scores."
    yield (
        f"- `models/model.onnx`: takes `stacks`, (patients, {k}, {slices}, {size}, {size}) float32, and `body`, "
        f"(patients, {k}, {len(LANDMARKS)}) float32"
        + (f", and `present`, (patients, {k}) bool" if exported.network.missing == "mask" else "")
        + f"; gives `mean_over_combinations` and `by_first_slices`, (patients, {len(exported.about.levels)}) "
        "probabilities each."
    )


def _patients(exported: Exported) -> Iterator[str]:
    results = exported.results
    used = (exported.network.cohort, *exported.network.evaluate)
    yield "| cohort | role | hospitals |"
    yield "|---|---|---|"
    for cohort in exported.study.cohorts if results is None else results.cohorts:
        if cohort.name in used:
            yield f"| {cohort.name} | {cohort.role} | {', '.join(map(plain, cohort.sites))} |"
    if results is None:
        yield ""
        yield "As the protocol has them. Numbers of patients not given: exported without the study's results."
        return
    for result in (r for r in results.results if r.statistic == "patient-flow" and r.cohort in used):
        yield ""
        yield (
            f"Patient flow, cohort {result.cohort} (†: below {results.min_cell}, or hidden because such a count "
            "could be worked out from it):"
        )
        yield ""
        yield from _counts(result.counts, result.sites, results.min_cell)


def _counts(rows: Sequence[Count], sites: Sequence[str], min_cell: int) -> Iterator[str]:
    yield "| | " + " | ".join(map(plain, sites)) + " | all |"
    yield "|---" * (len(sites) + 2) + "|"
    for row in rows:
        shown = [hidden_or(row.by_site.get(site), min_cell, large=site in row.large) for site in sites]
        pooled = hidden_or(row.pooled, min_cell, large=ALL_SITES in row.large)
        yield f"| {plain(row.name)} | {' | '.join(shown)} | {pooled} |"


def _training(exported: Exported) -> Iterator[str]:
    network, training, federation = exported.network, exported.network.training, exported.network.federation
    yield (
        f"Federated: patients did not leave their hospitals; sums of the weights' changes did. {federation.strategy}, "
        f"{federation.epochs_per_round} local epoch(s) a round, {training.optimiser} at {training.learning_rate:g}, "
        f"batches of {training.batch}, class weights {training.class_weights}; "
        + (f"one of {network.seeds} seed(s)." if exported.seed is None else f"seed {exported.seed} of {network.seeds}.")
    )
    yield ""
    privacy = network.privacy
    if privacy is None:
        yield "Privacy: no differential privacy. Weights may tell something of single patients to whoever has them."
    else:
        yield (
            f"Privacy: each training was differentially private for each patient, epsilon {privacy.epsilon:g}, delta "
            f"{privacy.delta:g} (DP-SGD); the study's trainings together spend up to the sum."
        )
    for result in exported.parts(f"training.{exported.combination}"):
        rounds = [e for e in result.estimates if e.name == "rounds"]
        yield ""
        yield f"{_n(result)}; {result.how}. {plain(result.note)}"
        yield ""
        yield from (f"- {e.term}: {number(e.value)} rounds" for e in rounds)


def _performance(exported: Exported) -> Iterator[str]:
    found = exported.parts(f"performance.{exported.combination}")
    if exported.results is None:
        yield "Performance not given: exported without the study's results; it is in the report of the study."
        return
    if exported.network.statistics_stay:
        yield "What follows was measured with seed 0 and every hospital's own statistics, not with those exported here."
        yield ""
    elif exported.seed:
        yield "What follows was measured with seed 0, not with the one that is exported here."
        yield ""
    if not found:
        yield "None is reported."
        return
    for result in found:
        yield f"### Cohort {result.cohort}, {'all hospitals together' if len(result.sites) > 1 else result.sites[0]}"
        yield ""
        yield f"{_n(result)}; {result.how}. {plain(result.note)}"
        yield ""
        yield from _measures(result)
        for row in result.counts:
            yield f"- {plain(row.name)}: {hidden_or(row.pooled, exported.results.min_cell, large=False)}"
        yield ""
    yield from _by_hospital(exported)


_AT_A_HOSPITAL = {
    "auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity", "accuracy": "accuracy",
    "majority_class": "always saying the commoner class", "calibration_intercept": "calibration in the large",
    "calibration_slope": "calibration slope",
}  # fmt: skip


def _by_hospital(exported: Exported) -> Iterator[str]:
    """The network at each hospital that tells its own, at the frozen cut-off; nothing of sequences not chosen."""
    if not any(chosen(selection) == exported.combination for selection in exported.parts("selection")):
        return
    for result in exported.parts("by-centre"):
        yield f"### Cohort {result.cohort}, by hospital"
        yield ""
        if result.status == "estimated":
            yield "| hospital | " + " | ".join(_AT_A_HOSPITAL.values()) + " |"
            yield "|---" * (len(_AT_A_HOSPITAL) + 1) + "|"
            for site in (e.term for e in result.estimates if e.name == "auc"):
                own = {e.name: e for e in result.estimates if e.term == site}
                cells = [_value(own[name]) if name in own else "not told" for name in _AT_A_HOSPITAL]
                yield f"| {plain(site)} | {' | '.join(cells)} |"
            yield ""
        yield plain(result.note)
        yield ""


def _measures(result: Result) -> Iterator[str]:
    if result.status != "estimated":
        return
    yield "| measure | of | estimate (95 % interval) |"
    yield "|---|---|---|"
    for estimate in result.estimates:
        title = _TITLES.get(estimate.name, estimate.name)
        yield f"| {title} | {plain(estimate.term)} | {_value(estimate)} |"


def _value(estimate: Estimate) -> str:
    if estimate.value is None:
        return plain(estimate.note) or "not estimable"
    if estimate.name in _AREAS:
        return area_interval(estimate.value, estimate.low, estimate.high)
    if estimate.name in _SHARES:
        return share_interval(estimate.value, estimate.low, estimate.high)
    return number(estimate.value)


def _n(result: Result) -> str:
    n = "a hidden number of" if result.n is None else result.n
    return f"{n} patients" + ("" if result.events is None else f", {result.events} with MVI")


def _limits(exported: Exported) -> Iterator[str]:
    network = exported.network
    yield "- It knows scanners and protocols of the hospitals above; elsewhere it may fail without a sign of it."
    if network.statistics_stay:
        yield "- It is made for images of the hospital whose statistics it has; at another, estimate them there."
    yield "- It presumes a resectable tumour, outlined by a reader: rectangles and slices follow the outline."
    yield f"- Probabilities are at the prevalence of {network.cohort}, for others not calibrated, nor is the cut-off."
    if network.development == "published":
        yield "- Its development was the published 9:1 split: performance there is selected and optimistic."
    if network.training.class_weights == "balanced":
        yield (
            "- Classes were weighted in training, so that rare grades count as much as common ones. The weighting was "
            "taken back in the last layer's biases: it does not raise the probabilities of rare grades."
        )
    for found in exported.parts(f"performance.{exported.combination}"):
        for one, always in not_shown_better(found):
            yield (
                f"- In {found.cohort} ({', '.join(map(plain, found.sites))}) its {_TITLES.get(one.name, one.name)} "
                f"({plain(one.term)}) is not shown to be above that of saying the commonest class to everybody: "
                f"{_value(one)} against {_value(always)}."
            )
    refused = [r for r in exported.parts(f"performance.{exported.combination}") if r.status != "estimated"]
    yield from (f"- Not known in {r.cohort} ({', '.join(map(plain, r.sites))}): {plain(r.note)}" for r in refused)


def _origin(exported: Exported) -> Iterator[str]:
    study, results = exported.study, exported.results
    fingerprint, preparation = exported.about.study_fingerprint, preparation_fingerprint(study)
    yield f"- study: {plain(study.study.title)} (`{study.study.name}`), fingerprint `{fingerprint}`"
    code = "code not given" if results is None else f"code `{results.code_fingerprint}`"
    yield f"- {code}, preparation `{preparation}`"
    yield from (f"- {plain(source)}" for source in study.study.sources)
