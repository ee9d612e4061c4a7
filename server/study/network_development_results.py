"""server/study: what is published of the development of networks: each training, all combinations, the choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from common.errors import FedmviError
from common.federation.learning import Job, Part
from common.published.results import Curve, Estimate, Result
from common.statistics.roc import RocResult
from common.study.networks import Network
from common.study.protocol import Study
from server.study.evaluation import ROLE_NOTES
from server.study.leave_one_out_results import left_out_result
from server.study.models import refusal
from server.study.network_choice import Combination, Seeds, over_seeds
from server.study.network_development import Areas, Candidate, Developed, used
from server.study.network_scores import INFERENCES, Frozen
from server.study.training import TrainedJob

OUT_OF_FOLD = (
    "Out of fold: every patient was scored by a network that was trained without his outer fold and stopped by another "
    "one; the scores of all folds are taken together. The cut-off was chosen on these scores, so that what depends on "
    "it is apparent."
)
OF_CENTRES = (
    "Out of fold, hospital by hospital: every patient was scored by a network that was trained and stopped without any "
    "of his hospital's patients; the scores of all hospitals are taken together. The cut-off was chosen on these "
    "scores, so that what depends on it is apparent."
)
AT_CENTRES = (
    "Trained anew without each hospital, stopped by a part of the others' patients, and measured there, on the "
    "sequences that were chosen by the out-of-fold area; limits of DeLong. The mean is over hospitals, whatever their "
    "size. Where layers have statistics of their own at each hospital, those of the one left out come from its images, "
    "without labels. Only the weights of classes in the loss are of all hospitals."
)
SELECTED = (
    "Selected and optimistic: the tenth of the patients that is reported here also decided when training stopped, as "
    "published. This is no estimate of performance in new patients."
)


_TRAINED = ("network-selection", "network-training")
"""Statistics that are what training made of the sites, not those of given scores."""


def joined_name(combination: Combination) -> str:
    """A combination in ids and folders."""
    return "+".join(combination)


def result_base(study: Study, network: Network, part: str, statistic: str, title: str, cohort: str) -> dict[str, Any]:
    """What every result of a network says about itself."""
    return {
        "id": f"network.{network.name}.{part}",
        "statistic": statistic,
        "title": f"{title}, {network.title}",
        "cohort": cohort,
        "sites": sorted(study.cohort(cohort).sites),
        "how": "federated" if statistic in _TRAINED else "exact",
    }


def selection(study: Study, found: Developed) -> Result:
    """Which combination was chosen, its cut-offs, and what the losses would have chosen without each outer fold."""
    network, chosen = found.network, found.chosen
    base = result_base(study, network, "selection", "network-selection", "Choice of the sequences", network.cohort)
    if chosen is None:
        error = next((e for e in (*found.areas.values(), *found.trained.values()) if isinstance(e, FedmviError)), None)
        status, why = ("not-estimable", "No combination has an area.") if error is None else refusal(error)
        return Result.model_validate({**base, "status": status, "note": why})
    estimates = [
        Estimate(name="chosen", term=joined_name(s.combination), value=float(s.combination == chosen))
        for s in found.seeds(network.inference)
    ]
    frozen = found.frozen[chosen, 0]
    if isinstance(frozen, Frozen) and frozen.cutoffs is not None:
        estimates += [
            Estimate(name="cutoff", term=name, value=float(value))
            for name, value in zip(INFERENCES, frozen.cutoffs, strict=True)
        ]
    estimates += _nested(found)
    note = (
        ""
        if len(network.combinations) == 1
        else (
            "Chosen: the fewest sequences whose out-of-fold area (mean over seeds) is within one standard error "
            "(DeLong, mean over seeds) of the largest, in training patients only."
        )
    )
    if network.development != "published" and len(network.combinations) > 1:
        note += (
            " Its area is that of a winner, and so a little high. The nested area has no such luck in it: each {part} "
            "is scored by the network on the sequences that had the lowest validation loss without that {part} "
            "(first seed; scores of all of them taken together). That choice is by loss, because areas of out-of-fold "
            "scores know every {part}."
        ).format(part="hospital" if network.by_centre else "outer fold")
    return Result.model_validate(
        {**base, "estimates": estimates, "note": f"{note} {_development_note(network)}".strip()}
    )


def _nested(found: Developed) -> list[Estimate]:
    """What was chosen without each outer fold, and the areas of these choices."""
    if found.network.development == "published" or len(found.network.combinations) == 1:
        return []
    named = [(part, combination) for part, combination in found.by_loss.items() if combination is not None]
    estimates = [
        Estimate(name="lowest_loss", term=f"{_short(part)}, {joined_name(combination)}", value=1)
        for part, combination in named
    ]
    if found.nested is None or isinstance(found.nested, FedmviError):
        why = "not every part has a choice" if found.nested is None else refusal(found.nested)[1]
        return [*estimates, Estimate(name="nested_auc", value=None, note=why)]
    for inference, area in found.nested.items():
        low, high = area.interval
        estimates.append(
            Estimate(name="nested_auc", term=inference, value=area.auc_, low=low, high=high,
                     std_err=_finite(area.std_err_))
        )  # fmt: skip
    return estimates


def _short(part: Part) -> str:
    """A part in tables of parts."""
    return part.without or f"fold {part.fold + 1}"


def at_centres(study: Study, found: Developed) -> list[Result]:
    """The area at each hospital of the network without it; nothing where no hospital is left out."""
    if not found.at_centres or found.chosen is None:
        return []
    network = found.network
    base = result_base(
        study, network, "leave-one-centre-out", "leave-one-centre-out", "At hospitals that it never saw",
        network.cohort,
    )  # fmt: skip
    base["title"] = f"{network.title} on {', '.join(found.chosen).upper()} at hospitals that it never saw"
    return [left_out_result({**base, "how": "site-alone"}, found.at_centres, "", AT_CENTRES)]


def _development_note(network: Network) -> str:
    return SELECTED if network.development == "published" else ""


def training(study: Study, found: Developed, combination: Combination) -> Result:
    """Rounds and losses of the first seed's trainings on one combination."""
    network = found.network
    base = result_base(
        study, network, f"training.{joined_name(combination)}", "network-training",
        f"Training on {', '.join(combination).upper()}", network.cohort,
    )  # fmt: skip
    if network.privacy is not None:
        base["how"] = f"private({network.privacy.epsilon:g})"
    jobs = [Job(network.name, combination, 0, *part) for part in found.by_loss]
    jobs += [job for job in (used(network, (combination, 0)),) if job not in jobs]
    estimates: list[Estimate] = []
    curves: list[Curve] = []
    for job in jobs:
        trained = found.trained.get(job)
        term = job.part.words
        if not isinstance(trained, TrainedJob):
            why = "" if trained is None else refusal(trained)[1]
            estimates.append(Estimate(name="rounds", term=term, value=None, note=why))
            continue
        learned = "" if trained.rounds else "no round lowered the validation loss: the network is not used"
        estimates.append(Estimate(name="rounds", term=term, value=trained.rounds, note=learned))
        if job.stops:
            estimates.append(Estimate(name="validation_loss", term=term, value=trained.validation_loss))
        if network.privacy is not None:
            estimates.append(Estimate(name="epsilon", term=term, value=trained.epsilon_hundredths / 100))
        curves += _losses(trained, term)
    last = found.trained.get(used(network, (combination, 0)))
    n = last.patients if isinstance(last, TrainedJob) else None
    note = f"{_training_words(network)} {_private_words(network)} {_development_note(network)}"
    shown_parts = {"n": n, "estimates": estimates, "curves": curves, "note": " ".join(note.split())}
    status = "estimated" if curves else "not-estimable"
    return Result.model_validate({**base, **shown_parts, "status": status})


def _losses(trained: TrainedJob, term: str) -> list[Curve]:
    rounds = [float(r) for r in range(len(trained.history))]
    curves = [Curve(name=f"{term}, training", x=rounds, y=[m.training for m in trained.history], unit="rounds")]
    known = [m.validation for m in trained.history if m.validation is not None]
    if len(known) == len(rounds):
        curves.append(Curve(name=f"{term}, validation", x=rounds, y=known, unit="rounds"))
    return curves


def _training_words(network: Network) -> str:
    federation = network.federation
    words = (
        f"First of {network.seeds} seeds; {federation.strategy}, at most {federation.rounds} rounds of "
        f"{federation.epochs_per_round} local epoch(s)."
    )
    if network.development != "published":
        of = "those without one hospital" if network.by_centre else "the folds'"
        words += f" Rounds on everybody: the median of {of}."
    if federation.strategy == "trimmed-mean":
        words += " The server saw each site's update by itself."
    return words


def _private_words(network: Network) -> str:
    if network.privacy is None:
        return ""
    return (
        f"Each training alone spends at most epsilon {network.privacy.epsilon:g} (delta {network.privacy.delta:g}) of "
        "each of its patients, and has spent what stands here: the most at any site, by Opacus' accountant there, "
        "rounded up. All trainings of the study together spend up to the sum. Losses, and what is measured on "
        "scores, have no noise and are not private."
    )


def combinations(study: Study, network: Network, cohort: str, areas: Mapping[Candidate, Areas | FedmviError]) -> Result:
    """The table of all combinations in one cohort: area of the first seed, and mean and spread over seeds."""
    base = result_base(
        study, network, f"combinations.{cohort}", "network-combinations", f"All combinations, cohort {cohort}", cohort
    )
    estimates: list[Estimate] = []
    for combination in network.combinations:
        own = [areas.get((combination, seed)) for seed in range(network.seeds)]
        failed = next((a for a in own if isinstance(a, FedmviError)), None)
        known = [a for a in own if a is not None and not isinstance(a, FedmviError)]
        for inference in INFERENCES:
            term = f"{joined_name(combination)}, {inference}"
            if failed is not None or len(known) < network.seeds:
                why = refusal(failed)[1] if failed is not None else "not scored"
                estimates.append(Estimate(name="auc", term=term, value=None, note=why))
            else:
                mine = [a[inference] for a in known]
                estimates += _of_seeds(study, term, mine[0], over_seeds(combination, mine))
    base |= {"estimates": estimates, "note": cohort_note(study, network, cohort)}
    if any(e.value is not None for e in estimates):
        return Result.model_validate(base)
    met = [refusal(area)[0] for area in areas.values() if isinstance(area, FedmviError)]
    return Result.model_validate({**base, "status": "refused" if "refused" in met else "not-estimable"})


def _of_seeds(study: Study, term: str, first: RocResult, seeds: Seeds) -> list[Estimate]:
    if min(first.events_, first.n_ - first.events_) < study.limits.min_test_class:
        why = f"fewer than {study.limits.min_test_class} patients in a class"
        return [Estimate(name="auc", term=term, value=None, note=why)]
    low, high = first.interval
    found = [Estimate(name="auc", term=term, value=first.auc_, low=low, high=high, std_err=_finite(first.std_err_))]
    found.append(Estimate(name="auc_mean_of_seeds", term=term, value=seeds.mean_))
    if math.isfinite(seeds.std_):
        found.append(Estimate(name="auc_sd_of_seeds", term=term, value=seeds.std_))
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def cohort_note(study: Study, network: Network, cohort: str) -> str:
    """What a reader must know of the patients of a cohort."""
    if cohort == network.cohort:
        out_of_fold = OF_CENTRES if network.by_centre else OUT_OF_FOLD
        return SELECTED if network.development == "published" else out_of_fold
    return ROLE_NOTES.get(study.cohort(cohort).role, "")
