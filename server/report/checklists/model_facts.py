"""server/report: what the program knows of a study's models and of how good they are, for the checklists.

Each function finds the answer in this study's results and the section that shows it, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.published.results import Result, Statistic
from common.study.features import FEATURE
from server.report.checklists.cohort_facts import has_features, shown
from server.report.checklists.items import Evidence, Facts
from server.report.figures import slug

_PERFORMANCE: tuple[Statistic, ...] = ("auc", "network-performance")
_TEST = ("internal-test", "external-test")
_TESTED = {"internal-test": "inside the training sites", "external-test": "at other sites"}


def _parts(results: Iterable[Result]) -> tuple[str, ...]:
    """The sections of the models, networks and analyses that these results are of."""
    anchors = (
        f"analysis-{slug(r.id)}" if r.statistic == "analysis" else "-".join(map(slug, r.id.split(".")[:2]))
        for r in results
    )
    return tuple(dict.fromkeys(anchors))


def _in_parts(facts: Facts, words: str, results: list[Result]) -> Evidence | None:
    return shown(facts, words, *_parts(results))


def predictors(facts: Facts) -> Evidence | None:
    """All predictors of the fitted models with their codings."""
    fitted = [r for r in facts.of("multivariable-logistic") if r.model is not None]
    words = "Each predictor with its unit, coding, cut-off and reference level, beside its odds ratio."
    return _in_parts(facts, words, fitted)


def other_predictors(facts: Facts) -> Evidence | None:
    """Predictors that were not computed from images."""
    return None if all(FEATURE.fullmatch(name) for name in facts.results.variables) else predictors(facts)


def characteristics(facts: Facts) -> Evidence | None:
    """The table of characteristics; without one, means or shares of the predictors in the training cohort."""
    if facts.of("characteristics"):
        words = "Characteristics by cohort, and by endpoint with standardised differences where it is open."
        return shown(facts, words, "characteristics")
    found = _in_parts(facts, "Mean or share of each predictor in the training cohort.", facts.of("moments"))
    return None if found is None else Evidence(found.words, found.anchors, "the other cohorts.")


def missing_values(facts: Facts) -> Evidence | None:
    """How many values are missing, and what models and networks do about it."""
    fitted, pictured = facts.of("multivariable-logistic"), [r for r in facts.of("network-performance") if r.counts]
    if fitted and not facts.of("missing-values"):
        return None
    words = ["Missing values by variable and site, and what each model does about them."] if fitted else []
    words += ["Patients without a sequence that a network needs are left out, and counted."] if pictured else []
    return shown(facts, " ".join(words), *(["missing"] if fitted else []), *_parts([*fitted, *pictured]))


def model_type(facts: Facts) -> Evidence | None:
    """What kinds of models there are, and how they were fitted."""
    fitted = facts.of("multivariable-logistic")
    networks = facts.of("network-selection")
    reduced = {r.id.split(".")[1] for r in facts.of("feature-reduction")}
    given = {r.id.split(".")[1] for r in fitted if r.title.startswith("Formula")}
    plain = {r.id.split(".")[1] for r in fitted} - reduced - given
    kinds = ["logistic regression by maximum likelihood"] if plain else []
    kinds += ["logistic regression with the LASSO, on predictors reduced step after step"] if reduced else []
    kinds += ["a formula from elsewhere, which was not fitted"] if given else []
    kinds += ["a convolutional network, trained over the sites in rounds"] if networks else []
    words = f"{' and '.join(kinds).capitalize()}; nothing but sums over the sites left them."
    return shown(facts, words, *_parts([*fitted, *networks]), lacks="the layers of the network." if networks else "")


def building(facts: Facts) -> Evidence | None:
    """The kinds of models with the way in which their performance was tested inside the study."""
    found, tested = model_type(facts), internal_validation(facts)
    if found is None or tested is None:
        return None
    return Evidence(f"{found.words} {tested.words}", found.anchors, found.lacks)


def internal_validation(facts: Facts) -> Evidence | None:
    """Performance in patients of the training sites who were set aside, or in folds."""
    aside = internal_test(facts)
    if aside is not None:
        return aside
    folds = [r for r in facts.of("network-performance", roles=("train",)) if not r.note.startswith("Selected")]
    folds += facts.of("cross-validated-auc")
    return _in_parts(facts, "Tested out of fold in the training cohort.", folds)


def internal_test(facts: Facts) -> Evidence | None:
    """Performance in patients of the training sites who were set aside."""
    aside = facts.of(*_PERFORMANCE, roles=("internal-test",))
    return _in_parts(facts, "Tested in patients of the training sites who were set aside before fitting.", aside)


def external_validation(facts: Facts) -> Evidence | None:
    """Performance at sites that did not train."""
    found = facts.of(*_PERFORMANCE, roles=("external-test",))
    names = ", ".join(dict.fromkeys(site for r in found for site in r.sites))
    return _in_parts(facts, f"Tested at sites that took no part in training: {names}.", found)


def tested_beyond_training(facts: Facts) -> Evidence | None:
    """Performance in patients who took no part in fitting."""
    found = facts.of(*_PERFORMANCE, roles=_TEST)
    where = [words for role, words in _TESTED.items() if facts.of(*_PERFORMANCE, roles=(role,))]
    return _in_parts(facts, f"Tested in patients who took no part in fitting, {' and '.join(where)}.", found)


def frozen(facts: Facts) -> Evidence | None:
    """That a tested model is the one that was fitted."""
    found = facts.of(*_PERFORMANCE, roles=_TEST)
    return _in_parts(facts, "None: models were tested as they were frozen after fitting.", found)


def performance(facts: Facts) -> Evidence | None:
    """Areas under the curve in test cohorts, with intervals."""
    found = [r for r in facts.of(*_PERFORMANCE, roles=_TEST) if any(e.low is not None for e in r.estimates)]
    return _in_parts(facts, "Area under the curve with its interval, in each test cohort.", found)


def uncertainty(facts: Facts) -> Evidence | None:
    """Intervals of what was estimated."""
    found = [r for r in facts.of(*_PERFORMANCE) if any(e.low is not None for e in r.estimates)]
    return _in_parts(facts, "Confidence intervals beside every area; how each was computed is told with it.", found)


def calibration(facts: Facts) -> Evidence | None:
    """Calibration in a test cohort."""
    return _in_parts(facts, "Calibration of the models.", facts.of("analysis", kind="calibration"))


def clinical_utility(facts: Facts) -> Evidence | None:
    """Net benefit."""
    return _in_parts(facts, "Decision curve.", facts.of("analysis", kind="decision-curve"))


def all_measures(facts: Facts) -> Evidence | None:
    """Discrimination, calibration and clinical utility together; nothing if one of them is not in the study."""
    found = [performance(facts), calibration(facts), clinical_utility(facts)]
    known = [evidence for evidence in found if evidence is not None]
    if len(known) < len(found):
        return None
    anchors = dict.fromkeys(anchor for evidence in known for anchor in evidence.anchors)
    return Evidence(" ".join(evidence.words for evidence in known), tuple(anchors))


def class_measures(facts: Facts) -> Evidence | None:
    """Shares at a cut-off: sensitivity, specificity and the like."""
    found = [*facts.of("analysis", kind="cut-off"), *facts.of("network-performance")]
    words = "Cut-offs of the training cohort, with sensitivity, specificity and the like at them."
    return _in_parts(facts, words, [r for r in found if any(e.value is not None for e in r.estimates)])


def output(facts: Facts) -> Evidence | None:
    """What a model gives, and where classes are made of it."""
    fitted = [*facts.of("multivariable-logistic"), *facts.of("network-selection")]
    classes = class_measures(facts)
    if classes is None:
        return _in_parts(facts, "The probability of the endpoint; no class is made of it.", fitted)
    return Evidence(f"The probability of the endpoint. {classes.words}", classes.anchors)


def no_reweighting(facts: Facts) -> Evidence | None:
    """That classes were not balanced; of networks the results do not tell."""
    if facts.of("network-selection"):
        return None
    words = "None was used: each patient counts once, and predicted risks need no correction for it."
    return _in_parts(facts, words, facts.of("multivariable-logistic"))


def feature_counts(facts: Facts) -> Evidence | None:
    """How many predictors there were, and how many each step left."""
    return _in_parts(facts, "Declared predictors, and those that each step left.", facts.of("feature-reduction"))


def other_methods(facts: Facts) -> Evidence | None:
    """Models of radiomics, of other predictors and of both, side by side, where areas were compared."""
    return comparison_of_models(facts) if facts.of("feature-reduction") and other_predictors(facts) else None


def full_model(facts: Facts) -> Evidence | None:
    """A fitted model that can be used on a patient."""
    usable = [r for r in facts.of("multivariable-logistic") if r.model is not None]
    words = (
        "Coefficients in results.json, with their covariance where they were not shrunk; nomogram.html computes the "
        "probability."
    )
    return _in_parts(facts, words, usable)


def input_checks(facts: Facts) -> Evidence | None:
    """What the calculator does about input that is missing or out of range."""
    usable = [r for r in facts.of("multivariable-logistic") if r.model is not None]
    words = "nomogram.html computes nothing until all is entered, and marks values unlike those of training patients."
    return _in_parts(facts, words, usable)


def between_sites(facts: Facts) -> Evidence | None:
    """How models differ from site to site, where the study has asked."""
    found = facts.of("analysis", kind="random-effects")
    return _in_parts(facts, "Heterogeneity between sites, by a random-effects meta-analysis.", found)


def by_site(facts: Facts) -> Evidence | None:
    """Performance of each site of a test cohort on its own."""
    alone = [r for r in facts.of(*_PERFORMANCE, roles=_TEST) if r.how == "site-alone"]
    if len({site for r in alone for site in r.sites}) < 2:
        return None
    return _in_parts(facts, "Performance at each external site on its own.", alone)


def comparison_of_models(facts: Facts) -> Evidence | None:
    """A test between models on the same patients."""
    found = facts.of("analysis", kind="compare-areas")
    return _in_parts(facts, "Areas of the models compared on the same patients, by DeLong's paired test.", found)


def shrinkage(facts: Facts) -> Evidence | None:
    """Penalties and resampling against overfitting, where the study has them."""
    kinds = ("lasso", "stability-selection", "bootstrap")
    found = [r for kind in kinds for r in facts.of("analysis", kind=kind)]
    named = dict.fromkeys(r.kind for r in found)
    optimism = facts.of("optimism")
    part = any("Not repeated" in estimate.note for r in optimism for estimate in r.estimates)
    whole = "of the steps that stand beside it" if part else "of the whole development"
    named |= {f"Harrell's bootstrap {whole}": None} if optimism else {}
    return _in_parts(facts, f"Examined by {', '.join(named)}.", [*found, *optimism])


def reduction(facts: Facts) -> Evidence | None:
    """How features were reduced."""
    kinds = ("mrmr", "lasso", "stability-selection", "backward-elimination")
    steps = facts.of("feature-reduction")
    if steps:
        words = "Predictors left after each step, in the training cohort alone, and anew inside every fold."
        return _in_parts(facts, words, steps)
    found = [r for kind in kinds for r in facts.of("analysis", kind=kind)] if has_features(facts) else []
    words = f"Reduced in the training cohort alone, by {', '.join(dict.fromkeys(r.kind for r in found))}."
    return _in_parts(facts, words, found)


def training(facts: Facts) -> Evidence | None:
    """Rounds and losses of the networks' trainings."""
    words = "Rounds and losses of each training; every setting is in [[networks]] of study.toml."
    return _in_parts(facts, words, facts.of("network-training"))


def sequences(facts: Facts) -> Evidence | None:
    """How combinations of sequences do."""
    found = facts.of("network-combinations")
    return _in_parts(facts, "The combinations of sequences beside one another.", found)


def selection(facts: Facts) -> Evidence | None:
    """How a network was chosen."""
    found, choices = facts.of("network-selection"), facts.of("choice")
    words = ["How the sequences were chosen, and the frozen cut-offs."] if found else []
    how = "Which of several models or networks was taken, by training patients whom none of them had seen."
    words += [how] if choices else []
    return shown(facts, " ".join(words), *_parts(found), *(["choices"] if choices else []))


def explanations(facts: Facts) -> Evidence | None:
    """Odds ratios and, of networks, pictures that stay at the sites."""
    fitted, pictures = facts.of("multivariable-logistic"), facts.of("network-pictures")
    kinds = ["odds ratios of every predictor"] if fitted else []
    kinds += ["pictures of what the network looks at, which stay at the sites"] if pictures else []
    return _in_parts(facts, f"{' and '.join(kinds).capitalize()}.", [*fitted, *pictures])


def participants_by_analysis(facts: Facts) -> Evidence | None:
    """Patients and endpoints that entered each fit and each test."""
    found = [r for r in facts.of("multivariable-logistic", *_PERFORMANCE) if r.n is not None]
    return _in_parts(facts, "Patients and endpoints of each fit and of each test.", found)
