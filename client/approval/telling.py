"""client/approval: a study in words, for the people of a hospital who decide: what it asks, and what leaves and stays.

The same words are printed by `fedmvi-site approve` and stand on the sheet, so that both can be held side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from client.approval.expression_words import expression_told, expression_used
from client.approval.network_words import network_training
from client.approval.preview import Preview, Release, preview
from client.approval.records import Record, read_record
from client.approval.shift_words import shift_told
from client.cohort.site import Policy, Site
from client.release.gate import Gate
from common.errors import FedmviError
from common.federation.query import Mode
from common.study.acquisition import acquisition_facts
from common.study.drafting import MIN_READ_TWICE
from common.study.fingerprint import study_fingerprint
from common.study.protocol import Limits, Study

RISKS: Mapping[str, str] = MappingProxyType(
    {
        "SUM": "sums",
        "CELLS": "counts",
        "RANK": "order of scores",
        "PROFILE": "events over time",
        "MODEL": "weights of a network",
    }
)
_PLURAL = {"model": "models", "analysis": "analyses", "comparison": "comparisons", "network": "networks"}
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "train": "models are trained on it",
        "internal-test": "models are tested on it",
        "calibration": "models are recalibrated on it",
        "external-test": "frozen models are tested on it",
        "outcome": "survival is compared in it",
        "genomics": "expression is compared in it",
    }
)


@dataclass(frozen=True)
class Line:
    """A kind of answer in one cohort, whichever parts of the study ask it.

    Attributes
    ----------
    words, kind, how
        What it is, the kind of knowledge, and in what form it leaves.
    cohorts, parts
        Of which cohorts, and which parts of the study ask it.
    size
        Of one answer.
    refused
        Error code with which the site would refuse it now, or "".
    """

    words: str
    kind: str
    how: str
    cohorts: str
    parts: str
    size: str
    refused: str


@dataclass(frozen=True)
class CohortLines:
    """A cohort here, and what leaves of it; `also` is what any study may ask and this one does not need."""

    name: str
    role: str
    sites: int
    patients: str
    closed: bool
    lines: tuple[Line, ...]
    also: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """A study in words for one site; every text is a sentence or a part of one.

    `kinds` has every kind of answer once, whatever its cohorts; `also` what any study may ask and this one does not.
    """

    site: str
    name: str
    title: str
    purpose: str
    simulated: bool
    fingerprint: str
    statements: tuple[tuple[str, str], ...]
    consortium: Mapping[str, str]
    cohorts: tuple[CohortLines, ...]
    kinds: tuple[Line, ...]
    also: tuple[str, ...]
    uses: tuple[tuple[str, str], ...]
    leaves: tuple[str, ...]
    stays: tuple[str, ...]
    limits: tuple[tuple[str, str], ...]
    policy: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    unprepared: str
    decisions: tuple[str, ...]
    foreseen: Preview


def tell(site: Site, study: Study) -> Told:
    """Say what a study would ask of a site, under the policy and over the data of this moment; error 209."""
    foreseen = preview(site, study)
    fingerprint = study_fingerprint(study)
    head = study.study
    return Told(
        site=site.name,
        name=head.name,
        title=head.title,
        purpose=" ".join(head.description.split()),
        simulated=head.simulated or site.site.simulated,
        fingerprint=fingerprint,
        statements=tuple(_statements(site, study)),
        consortium=_consortium(site),
        cohorts=tuple(_cohorts(site, foreseen)),
        kinds=tuple(_kinds(site, foreseen)),
        also=tuple(sorted({release.words for release in foreseen.releases if not release.declared})),
        uses=tuple(_uses(site, study)),
        leaves=tuple(_leaves(site, study)),
        stays=tuple(_stays(study)),
        limits=tuple(_limits(Gate.of(site.policy, study).limits)),
        policy=tuple(_policy(site.policy)),
        refusals=tuple(_refusals(foreseen)),
        unprepared=foreseen.unprepared,
        decisions=tuple(_decisions(read_record(site, fingerprint))),
        foreseen=foreseen,
    )


def _statements(site: Site, study: Study) -> Iterable[tuple[str, str]]:
    """What the authors state in [reporting] that a hospital asks before it agrees; nothing of what they left open."""
    told = study.reporting
    ethics = " ".join(filter(None, (told.ethics, told.site_ethics.get(site.name, ""))))
    pairs = (
        ("Registration", told.registration),
        ("Ethics", ethics),
        ("Funding", told.funding),
        ("Intended use", told.intended_use),
        ("Who can have the data", told.data_availability),
    )
    return ((name, text) for name, text in pairs if text)


def _consortium(site: Site) -> dict[str, str]:
    """Who runs the study, as far as the site is enrolled; a study may also be read before."""
    from client.node.enrolment import load_enrolment

    try:
        enrolled = load_enrolment(site)
    except FedmviError as error:
        return {"Consortium": f"not known here: {error.what}"}
    return {
        "Consortium": enrolled.consortium,
        "Contact": enrolled.contact,
        "Coordinator": f"{enrolled.host}, port {enrolled.port}; signs with key {enrolled.coordinator[:16]}...",
        "Keys of this site": f"valid to {enrolled.expires.isoformat()}",
    }


def _cohorts(site: Site, foreseen: Preview) -> Iterable[CohortLines]:
    for cohort in foreseen.cohorts:
        here = [release for release in foreseen.releases if release.cohort == cohort.name]
        patients = "not prepared yet" if cohort.patients is None else str(cohort.patients)
        also = sorted({release.words for release in here if not release.declared})
        yield CohortLines(
            cohort.name,
            f"{ROLES[cohort.role]} (role {cohort.role})",
            cohort.sites,
            patients,
            cohort.closed,
            tuple(_lines([release for release in here if release.declared], cohort.sites, site.policy)),
            tuple(also),
        )


def _lines(releases: list[Release], sites: int, policy: Policy) -> Iterable[Line]:
    grouped: dict[tuple[str, str], list[Release]] = {}
    for release in releases:
        grouped.setdefault((release.query, release.mode), []).append(release)
    for group in grouped.values():
        yield _line(group, (_how(group[0], str(sites), policy),))


def _kinds(site: Site, foreseen: Preview) -> Iterable[Line]:
    """Every kind of answer once."""
    sites = {cohort.name: cohort.sites for cohort in foreseen.cohorts}
    grouped: dict[str, list[Release]] = {}
    for release in foreseen.releases:
        if release.declared:
            grouped.setdefault(release.query, []).append(release)
    for group in grouped.values():
        summed = sorted({sites[release.cohort] for release in group if release.mode == Mode.TOTAL})
        several = " or ".join(str(n) for n in summed)
        yield _line(group, dict.fromkeys(_how(release, several, site.policy) for release in group))


def _line(group: list[Release], hows: Iterable[str]) -> Line:
    largest = max(group, key=lambda release: release.numbers)
    alike = len({_anywhere(release) for release in group}) - 1
    return Line(
        _anywhere(largest) + (f", and {alike} more of this kind" if alike else ""),
        RISKS[largest.risk],
        "; ".join(hows),
        ", ".join(dict.fromkeys(release.cohort for release in group)),
        _parts(group),
        _size(largest),
        _refused(group),
    )


def _anywhere(release: Release) -> str:
    """What an answer is, whichever cohort it is of."""
    return re.sub(rf",? (?:in |of )?cohort {re.escape(release.cohort)}\b", "", release.words)


def _parts(group: list[Release]) -> str:
    """ "models a, b; analysis c" of "model a", "model b" and "analysis c"."""
    named: dict[str, list[str]] = {}
    for part in dict.fromkeys(release.part for release in group):
        kind, _, name = part.partition(" ")
        named.setdefault(kind, []).append(name)
    words = {kind: kind if len(names) == 1 else _PLURAL.get(kind, kind) for kind, names in named.items()}
    return "; ".join(f"{words[kind]} {', '.join(names)}" for kind, names in named.items())


def _how(release: Release, sites: str, policy: Policy) -> str:
    """In what form an answer leaves."""
    if release.mode == Mode.PERFORM:
        return "stays here; a receipt leaves"
    if release.mode == Mode.EACH:
        return "of this site alone, small counts hidden"
    if policy.masks == "required":
        return f"in the sum of {sites} sites only, under masks"
    return f"as a part of the sum of {sites} sites that the coordinator can read"


def _size(release: Release) -> str:
    if not release.numbers:
        return ""
    nbytes = f"{release.nbytes} bytes" if release.nbytes < 10_000 else f"{release.nbytes / 1e6:.2g} MB"
    return f"{release.numbers} numbers, {nbytes}" + (", or more at once" if release.grows else "")


def _refused(group: list[Release]) -> str:
    numbers = sorted({release.refused for release in group if release.refused})
    codes = ", ".join(f"FEDMVI-{number}" for number in numbers)
    return codes if not codes or all(release.refused for release in group) else f"some: {codes}"


def _refusals(foreseen: Preview) -> Iterable[str]:
    """What the site would not answer now, once for each reason."""
    found: dict[tuple[str, int], str] = {}
    for release in foreseen.releases:
        if release.refused and release.declared:
            found.setdefault((release.cohort, release.refused), release.why)
    for (cohort, number), why in sorted(found.items()):
        parts = dict.fromkeys(r.part for r in foreseen.releases if (r.cohort, r.refused) == (cohort, number))
        yield f"{cohort}: FEDMVI-{number} {why} ({', '.join(parts)})"


def _uses(site: Site, study: Study) -> Iterable[tuple[str, str]]:
    """What of the patients is read, at this site."""
    variables = [study.variable(name) for name in study.variable_names()]
    facts = acquisition_facts(study.preparation)
    measured = [v.title for v in variables if v.name not in (*study.features(), *facts)]
    if measured:
        yield "Variables", ", ".join(measured)
    yield "Endpoints", ", ".join(f"{endpoint.title} ({endpoint.kind})" for endpoint in study.endpoints)
    rules = [name.replace("_", " ") for name, _ in study.eligibility.rules()]
    if rules:
        yield "Who is eligible", ", ".join(rules)
    if study.preparation is not None:
        yield "Images", f"{study.preparation.modality.upper()}: {', '.join(study.preparation.phases)}; they stay"
    if facts:
        yield "How images were acquired", f"as levels: {', '.join(study.variable(name).title for name in facts)}"
    if study.features():
        yield "Features of images", f"{len(study.features())} computed here; they stay"
    yield from expression_used(site, study)
    for network in study.networks:
        yield f"Network {network.title}", network_training(study, network)


def _leaves(site: Site, study: Study) -> Iterable[str]:
    yield (
        "Sums over all sites of a cohort: counts, sums of values and of products, and steps of regressions. "
        + (
            "This site's part leaves under masks that cancel in the sum: neither the coordinator nor another hospital "
            "sees it."
            if site.policy.masks == "required"
            else "This site's policy has the masks off: the coordinator can see this site's part."
        )
    )
    yield f"Counts of this site, with counts of 1 to {Gate.of(site.policy, study).limits.min_cell - 1} hidden."
    alone = [c.name for c in study.cohorts if site.name in c.sites and len(c.sites) < study.limits.min_sites]
    if alone:
        allowed = "allowed" if site.policy.release_alone else "not allowed, and will be refused (FEDMVI-408)"
        adapts = any(n.adaptation is not None and set(n.adaptation.cohorts) & set(alone) for n in study.networks)
        both = "; of a network that is adapted here, areas and calibration lines before and after" if adapts else ""
        yield (
            f"Finished results of this site alone, in the cohort(s) {', '.join(alone)}, which have too few sites for a "
            f"sum: an area under the curve with a coarse curve, survival by the month{both}. By this site's policy "
            f"that is {allowed}."
        )
    if study.preparation is not None:
        allowed = "allowed" if site.policy.release_alone else "not allowed, and will be refused (FEDMVI-408)"
        yield (
            "How many patients of this site alone have which scanner, spacing and contrast timing, small counts "
            f"hidden. By this site's policy that is {allowed}."
        )
    yield from shift_told(site, study)
    if study.read_twice():
        yield (
            f"How well both readers agree on {len(study.read_twice())} features, if both have read {MIN_READ_TWICE} "
            "patients or more of this site. Where no other site has two readers, that is a coefficient of this site "
            "alone for each feature, of all its patients and of random parts."
        )
    if study.traits_read_twice():
        yield (
            f"How often both readers agree on {len(study.traits_read_twice())} traits, as one table over the sites; "
            f"this site's own is in it if both have read {MIN_READ_TWICE} of its patients or more."
        )
    yield from expression_told(site, study)
    if study.networks:
        yield "Changes of a network's weights in each round, summed over the sites; a network can tell of its patients."
    if any(network.by_centre and site.name in study.cohort(network.cohort).sites for network in study.networks):
        allowed = "allowed" if site.policy.may_be_left_out else "not allowed, and will be refused (FEDMVI-432)"
        yield (
            "The same sums over all hospitals but one, in turn: less those over all hospitals they are what this site "
            f"alone has added, and no mask hides it. By this site's policy (`may_be_left_out`) that is {allowed}."
        )
    if study.federation.missing_site == "leave-out":
        allowed = "allowed" if site.policy.may_be_left_out else "not allowed, and the study stops"
        yield (
            f"What this site alone had added to sums, if it stays away for {study.federation.wait_hours:g} hours or "
            "does not answer: then the study begins anew without it, and who has both sums has their difference. By "
            f"this site's policy (`may_be_left_out`) that is {allowed}. Before any sum was told it may begin without "
            "sites, so that sums may be over this one and few others; never over fewer than a sum needs."
        )
    yield "Names of variables, the versions of programs, and numbers of errors. A refusal tells that a limit was met."
    closed = [c.name for c in study.cohorts if site.name in c.sites and c.role in study.closed_roles]
    if closed:
        yield (
            f"The endpoints of {', '.join(closed)} stay closed until all models are frozen, but for how many patients "
            "have them. Afterwards they are answered beside the frozen scores and groups. This site counts the runs "
            f"that have frozen models, {_openings(site)} so far, and the report prints the number."
        )
    beside = [c.name for c in study.comparisons if c.cox and c.cohort in closed]
    if beside:
        yield (
            f"In Cox regressions of {', '.join(beside)} they are answered beside the covariates that these name, too: "
            "sums over all sites, of patients of whom all covariates are known."
        )
    corrected = [one.title for one in study.recalibrations]
    if closed and corrected:
        yield (
            f"Risks are corrected ({', '.join(corrected)}): the endpoints of calibration cohorts open when the models "
            "are frozen, beside their scores, and beside their predictors where all coefficients may be fitted anew; "
            "those of the other closed cohorts only when the corrections are frozen too."
        )


def _openings(site: Site) -> int:
    """Runs that have frozen models here: each may have looked at closed cohorts."""
    return sum(1 for _ in (site.store / "runs").glob("*/frozen.npz"))


def _stays(study: Study) -> Iterable[str]:
    yield "Every patient's row: no cell of the table is ever sent, and no date."
    yield "Patients' ids, and anything by which a patient could be named."
    if study.preparation is not None or study.networks:
        yield "Images, masks, pictures made of them, and the features of single patients."
    if study.genomics is not None:
        yield "Gene expression of single patients, and the size of their libraries."
    yield "Scores of single patients, and who is in which cohort or fold."
    yield "The site's secret, its keys, and the files of this hospital."
    yield "Code: this site runs the program that it installed, and none that arrives."


def _limits(limits: Limits) -> Iterable[tuple[str, str]]:
    yield "Patients of a cohort here, at least", str(limits.min_patients)
    yield "Patients in each class of an endpoint here, at least", str(limits.min_class)
    yield "Smallest count that is shown of this site", str(limits.min_cell)
    yield "Sites in a sum, at least", str(limits.min_sites)
    yield "Parameters of a model, at most, as a share of patients", f"{limits.max_parameters:g}"
    yield "Patients per class for an area of this site alone, at least", str(limits.min_test_class)


def _policy(policy: Policy) -> Iterable[tuple[str, str]]:
    """Every value of [policy] but the list of studies, as site.toml has it."""
    for name in type(policy).model_fields:
        value = getattr(policy, name)
        if name == "approved_studies":
            continue
        if isinstance(value, tuple):
            yield name, ", ".join(str(one) for one in value) or "none"
        else:
            yield name, "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _decisions(record: Record | None) -> Iterable[str]:
    for taken in record.decisions if record is not None else ():
        words = "approved" if taken["decision"] == "approved" else "approval withdrawn"
        yield f"{words} {taken['time']}" + (f" by {taken['by']}" if taken["by"] else "")
