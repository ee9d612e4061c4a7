"""server/report: what the program knows of a study's patients, data and rules, for the checklists.

Each function finds the answer in this study's results and the section that shows it, or nothing.
"""

from __future__ import annotations

from common.study.features import FEATURE
from server.report.checklists.items import Evidence, Facts
from server.report.contents import PREDICTION_ROLES, all_sites

_EXCLUDED = "excluded by "
_ASIDE = ("internal-test", "calibration")


def shown(facts: Facts, words: str, *anchors: str, lacks: str = "") -> Evidence | None:
    """The answer where all these sections are on the page."""
    return Evidence(words, anchors, lacks) if anchors and all(anchor in facts.titles for anchor in anchors) else None


def has_features(facts: Facts) -> bool:
    """Whether a predictor was computed from images."""
    return any(FEATURE.fullmatch(name) for name in facts.results.variables)


def has_images(facts: Facts) -> bool:
    """Whether images entered the study: by features, or by a network, whatever came of it."""
    return has_features(facts) or any(r.statistic == "network-selection" for r in facts.results.results)


def summary(facts: Facts) -> Evidence | None:
    """The page's own summary."""
    if not facts.of("patient-flow"):
        return None
    return shown(facts, "Patients, sites, how common the endpoint is, and the main results.", "summary")


def sources(facts: Facts) -> Evidence | None:
    """Where the data come from, as the protocol names it."""
    if not facts.results.sources:
        return None
    return shown(facts, "The protocol's sources of data and methods.", "provenance")


def sites(facts: Facts) -> Evidence | None:
    """Which sites took part."""
    if not facts.of("patient-flow"):
        return None
    words = f"The sites are {', '.join(all_sites(facts.results))}; each cohort's are shown with its patients."
    return shown(facts, words, "patients")


def several_sites(facts: Facts) -> Evidence | None:
    """That patients come from more than one hospital."""
    return sites(facts) if len(all_sites(facts.results)) > 1 else None


def eligibility(facts: Facts) -> Evidence | None:
    """The rules by which patients were left out."""
    if not any(step.startswith(_EXCLUDED) for step in _steps(facts)):
        return None
    words = "Each rule with the patients whom it excluded, by site; its wording is in [eligibility] of study.toml."
    return shown(facts, words, "patients")


def flow(facts: Facts) -> Evidence | None:
    """How many patients left at which step."""
    if not facts.of("patient-flow"):
        return None
    return shown(facts, "Patients who left at each step, and why, by cohort and site.", "patients")


def flow_and_classes(facts: Facts) -> Evidence | None:
    """The same with the patients who have the endpoint."""
    if not (facts.of("patient-flow") and facts.of("endpoint-counts")):
        return None
    words = "Patients who left at each step, and those with and without each endpoint, by cohort and site."
    timed = facts.of("survival") and not facts.of("analysis", kind="follow-up")
    return shown(facts, words, "patients", "endpoints", lacks="how long patients were followed." if timed else "")


def outcome(facts: Facts) -> Evidence | None:
    """The endpoints by their names and classes."""
    if not facts.of("endpoint-counts"):
        return None
    words = "Each endpoint with its classes, one definition for all sites: [[endpoints]] of study.toml."
    return shown(facts, words, "endpoints")


def class_shares(facts: Facts) -> Evidence | None:
    """How common the endpoint is in each cohort."""
    if not facts.of("endpoint-counts"):
        return None
    return shown(facts, "Patients in each class, by cohort and site, with their shares.", "endpoints")


def sample_size(facts: Facts) -> Evidence | None:
    """Riley's criteria for each model, and the verdicts on test cohorts."""
    if not facts.of("sample-size"):
        return None
    tests = " and the advised patients of each test cohort" if facts.of("evaluation-size") else ""
    return shown(facts, f"Riley's criteria for each model{tests}, with what there is.", "sample-size")


def test_sample_size(facts: Facts) -> Evidence | None:
    """Whether test cohorts have the advised patients."""
    if not facts.of("evaluation-size"):
        return None
    return shown(facts, "Patients with and without the endpoint in each test cohort, beside the advice.", "sample-size")


def partition(facts: Facts) -> Evidence | None:
    """How patients were parted; a patient has one role."""
    cohorts = [c for c in facts.results.cohorts if c.role in PREDICTION_ROLES]
    parted = {"external-test": "other sites", **dict.fromkeys(_ASIDE, "set aside inside the sites before fitting")}
    named = [f"{c.name} ({parted[c.role]})" for c in cohorts if c.role in parted]
    if not (named and facts.of("patient-flow")):
        return None
    words = f"Parted by patient, each in one of: training, {', '.join(named)}."
    return shown(facts, words, "patients")


def closed_until_frozen(facts: Facts) -> Evidence | None:
    """That outcomes of test cohorts took no part in fitting, where there is such a cohort."""
    tested = facts.of("auc", "network-performance", roles=("internal-test", "external-test"))
    found = partition(facts)
    if not tested or found is None:
        return None
    words = f"{found.words} Models were fitted on training patients alone, and frozen before they were tested."
    return Evidence(words, found.anchors)


def interval(facts: Facts) -> Evidence | None:
    """That patients were left out whose images were old, where the study has that rule."""
    if f"{_EXCLUDED}imaging_to_surgery_days" not in _steps(facts):
        return None
    return shown(
        facts, "Patients whose images were older at surgery than the protocol allows were excluded.", "patients"
    )


def checklists(facts: Facts) -> Evidence | None:
    """The checklists themselves."""
    return shown(facts, "The checklists here.", "checklists", lacks="that the paper follows them.")


def deidentified(facts: Facts) -> Evidence | None:
    """That no record left a hospital."""
    return shown(facts, "No patient's record left its hospital; sums left, small counts hidden.", "left")


def protocol(facts: Facts) -> Evidence | None:
    """The protocol by its fingerprint."""
    return shown(facts, "study.toml of this run, named by its fingerprint.", "provenance")


def acquisition(facts: Facts) -> Evidence | None:
    """Scanners and protocols, as images' headers tell them."""
    if not facts.of("acquisition"):
        return None
    return shown(facts, "Patients by scanner, spacing and contrast timing, in every cohort.", "acquisition")


def preparation(facts: Facts) -> Evidence | None:
    """The settings of image preparation by their fingerprint."""
    if not has_images(facts):
        return None
    words = "Every setting is in [preparation] of study.toml, the same at all sites, named by its fingerprint."
    return shown(facts, words, "provenance")


def features(facts: Facts) -> Evidence | None:
    """The settings of the features' computation, where there are features."""
    return preparation(facts) if has_features(facts) else None


def code(facts: Facts) -> Evidence | None:
    """The code by its fingerprint."""
    return shown(facts, "The fingerprint of the code that all sites ran.", "provenance")


def software(facts: Facts) -> Evidence | None:
    """Versions of the libraries, which only a page with the facts of its run has."""
    return shown(facts, "Versions of the libraries at each site, and the fingerprint of the code.", "run", "provenance")


def _steps(facts: Facts) -> set[str]:
    return {count.name for result in facts.of("patient-flow") for count in result.counts}
