"""common/study: what `[[networks]]` says against itself and against the rest of a protocol."""

from __future__ import annotations

from collections.abc import Iterator

from common.spelling import nearest
from common.study.networks import MAX_SEQUENCES, SEQUENCES, Network
from common.study.protocol import Study

_Found = tuple[tuple[str | int, ...], str]


def network_contradictions(study: Study) -> list[_Found]:
    """(place, sentence) pairs, empty where all fits together."""
    found: list[_Found] = []
    names = [network.name for network in study.networks]
    taken = {model.name for model in study.models}
    for i, network in enumerate(study.networks):
        if network.name in names[:i] or network.name in taken:
            found.append((("networks", i, "name"), f"'{network.name}' is declared twice"))
        found += ((("networks", i, field), sentence) for field, sentence in _of(study, network))
    return found


def _of(study: Study, network: Network) -> Iterator[tuple[str, str]]:
    yield from _endpoints(study, network)
    yield from _combinations(network)
    yield from _choices(network)
    yield from _cohorts(study, network)
    yield from _projection(study, network)
    yield from _adaptation(study, network)
    preparation = study.preparation
    if preparation is None or preparation.stacks is None:
        yield "name", "a network needs ROI stacks: [preparation] with [preparation.stacks]"
        return
    if network.size > preparation.stacks.size:
        yield "size", f"the stacks of [preparation] have {preparation.stacks.size} rows only"
    for absent in (s for s in network.sequences if s not in preparation.phases):
        yield "sequences", f"'{absent}' is none of the phases of [preparation]: {', '.join(preparation.phases)}"


def _combinations(network: Network) -> Iterator[tuple[str, str]]:
    if not all(0 < len(combination) <= MAX_SEQUENCES for combination in network.combinations):
        yield "combinations", f"a combination has 1 to {MAX_SEQUENCES} sequences"
    for name in dict.fromkeys(s for c in network.combinations for s in c if s not in network.sequences):
        hint = "" if name in SEQUENCES else nearest(name, network.sequences)
        yield "combinations", f"'{name}' is none of `sequences`{hint}"


def _choices(network: Network) -> Iterator[tuple[str, str]]:
    """Choices that exclude each other."""
    training, privacy = network.training, network.privacy
    if privacy is not None and network.normalisation != "group":
        yield "privacy", 'it needs `normalisation = "group"`: other layers mix patients'
    if privacy is not None and network.federation.strategy == "scaffold":
        yield "privacy", "it cannot go with scaffold, whose variates are made of gradients without noise"
    if network.development == "published" and training.preset != "published":
        yield "development", "`published` belongs to the preset `published` of `training`"
    if network.by_centre and network.federation.strategy == "trimmed-mean":
        yield "development", "it cannot go with trimmed-mean, by which every site's own update is asked for"
    augmentation = training.augmentation
    if augmentation is not None:
        for name, (low, high) in (("crop", augmentation.crop), ("scale", augmentation.scale)):
            if not 0 < low <= high:
                yield "training", f"`{name}` of `augmentation` has its lower limit first, above 0"


def _cohorts(study: Study, network: Network) -> Iterator[tuple[str, str]]:
    cohorts = {cohort.name: cohort for cohort in study.cohorts}
    training = cohorts.get(network.cohort)
    if training is None or training.role != "train":
        yield "cohort", f"'{network.cohort}' is not a cohort with the role train"
    elif len(training.sites) < study.limits.min_sites:
        yield "cohort", f"'{network.cohort}' has fewer than {study.limits.min_sites} sites: nothing can be summed"
    elif network.by_centre and len(training.sites) <= study.limits.min_sites:
        least = f"no more than {study.limits.min_sites} sites"
        yield "development", f"'{network.cohort}' has {least}: without one of them nothing can be summed"
    elif network.federation.strategy == "trimmed-mean" and int(network.federation.trim * len(training.sites)) < 1:
        enough = f"1 / {len(training.sites)}"
        yield "federation", f"`trim` of {len(training.sites)} sites leaves out nobody: it needs {enough} or more"
    for i, name in enumerate(network.evaluate):
        if name in network.evaluate[:i]:
            yield "evaluate", f"'{name}' is named twice"
        if name not in cohorts or cohorts[name].role not in ("internal-test", "external-test", "outcome"):
            yield "evaluate", f"'{name}' is not an internal-test, external-test or outcome cohort"


def _projection(study: Study, network: Network) -> Iterator[tuple[str, str]]:
    if network.projection is None:
        return
    compared = network.projection.cohorts
    for i, name in enumerate(compared):
        if name in compared[:i]:
            yield "projection", f"'{name}' is named twice"
        if name == network.cohort:
            yield "projection", f"'{name}' is the training cohort: the network has seen its patients"
        elif name not in network.evaluate:
            yield "projection", f"'{name}' is no cohort in which the network is evaluated"
    summed = [c.name for c in study.cohorts if c.name in compared and len(c.sites) >= study.limits.min_sites]
    if not summed:
        yield "projection", f"none of its cohorts has {study.limits.min_sites} sites: nothing can be summed"


def _adaptation(study: Study, network: Network) -> Iterator[tuple[str, str]]:
    if network.adaptation is None:
        return
    if network.normalisation != "batch":
        kept = "has no statistics" if network.normalisation == "group" else "estimates them at every hospital anyway"
        yield "adaptation", f'it needs `normalisation = "batch"`: {network.normalisation} {kept}'
    if network.development == "published":
        yield "adaptation", "it needs out-of-fold scores of all training patients, by which hospitals are judged"
    roles = {cohort.name: cohort.role for cohort in study.cohorts}
    for i, name in enumerate(network.adaptation.cohorts):
        if name in network.adaptation.cohorts[:i]:
            yield "adaptation", f"'{name}' is named twice"
        if name not in network.evaluate or roles.get(name) != "external-test":
            yield "adaptation", f"'{name}' is no external-test cohort in which the network is evaluated"


def _endpoints(study: Study, network: Network) -> Iterator[tuple[str, str]]:
    endpoints = {endpoint.name: endpoint for endpoint in study.endpoints}
    graded = endpoints.get(network.endpoint)
    if graded is None or graded.kind not in ("binary", "ordinal"):
        yield "endpoint", f"'{network.endpoint}' is not a binary or ordinal endpoint of the study"
        return
    if graded.kind == "binary":
        if network.present is not None:
            yield "present", "`present` belongs to an ordinal endpoint"
        return
    if len(graded.levels) != 3:
        yield "endpoint", f"'{network.endpoint}' has {len(graded.levels)} levels: a network grades M0, M1 and M2"
    if network.present is None or endpoints.get(network.present) is None:
        yield "present", "the binary endpoint that is present above the lowest level is needed"
    elif endpoints[network.present].kind != "binary":
        yield "present", f"'{network.present}' is not a binary endpoint"
