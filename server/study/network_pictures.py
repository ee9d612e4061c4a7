"""server/study: step: pictures of what the chosen network looks at; they are made at the sites and stay there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from common.errors import FedmviError
from common.federation.learning import WHOLE, ExplainPatients, Job, Member
from common.federation.query import Receipt, perform
from common.federation.runner import Conclusion
from common.published.results import Estimate, Result
from common.study.networks import Network
from common.study.protocol import Study
from server.study.checkpoints import Checkpoints, finished_weights
from server.study.models import refusal
from server.study.network_choice import Combination
from server.study.network_development import Developed, used
from server.study.network_development_results import joined_name, result_base
from server.study.network_scores import in_batches
from server.study.steps import pictures
from server.study.training import TrainedJob

Pictured = Mapping[str, int | FedmviError]
"""By cohort how many sites made pictures, or the error that one of them met."""

STAY = (
    "Grad-CAM of the chosen network, first seed, in the patients with the highest and the lowest scores of each site, "
    "of the training cohort those of one outer fold by the network that was trained without it. The pictures show "
    "patients: each site keeps its own (`fedmvi-site` stores them as `explained.html`), and only that they are made is "
    "told. They say where the network looked, not why."
)


def explain_all(
    developed: Sequence[Developed | FedmviError],
    checkpoints: Checkpoints,
    progress: Callable[[str], None],
) -> Conclusion[list[Pictured]]:
    """Let the sites make pictures by the chosen combination of every network; what one meets stops no study."""
    found: list[Pictured] = []
    for network in developed:
        chosen = None if isinstance(network, FedmviError) else network.chosen
        if isinstance(network, FedmviError) or chosen is None:
            found.append({})
            continue
        progress(pictures(network.network))
        # Where hospitals are left out, one of them alone would have something to see of the training cohort.
        own = () if network.network.by_centre else (network.network.cohort,)
        cohorts = (*own, *network.network.evaluate)
        makers = [partial(_explain, network, chosen, cohort, checkpoints) for cohort in cohorts]
        pictured = yield from in_batches(makers, network.network.federation.lock_step, stops=False)
        found.append(dict(zip(cohorts, pictured, strict=True)))
    return found


def _explain(developed: Developed, chosen: Combination, cohort: str, checkpoints: Checkpoints) -> Conclusion[int]:
    """Pictures in one cohort; how many sites made them."""
    network = developed.network
    fold = network.held_out[0]
    training = cohort == network.cohort
    job = developed.trained[Job(network.name, chosen, 0, fold) if training else used(network, (chosen, 0))]
    if not isinstance(job, TrainedJob):
        raise job
    weights = finished_weights(checkpoints, job.job)
    member = Member(fold if training else WHOLE, weights, job.local)
    receipts: Mapping[str, Receipt] = yield perform(ExplainPatients(cohort, network.name, chosen, 0, member))
    return len(receipts)


def publish_pictures(
    study: Study, developed: Sequence[Developed | FedmviError], found: Sequence[Pictured]
) -> list[Result]:
    """That pictures were made, and by how many sites of which cohort; a result for each network that has some."""
    results = []
    for network, pictured in zip(developed, found, strict=True):
        if pictured and isinstance(network, Developed) and network.chosen is not None:
            results.append(_published(study, network.network, network.chosen, pictured))
    return results


def _published(study: Study, network: Network, chosen: Combination, pictured: Pictured) -> Result:
    title = f"Pictures on {', '.join(chosen)}"
    base = result_base(study, network, f"pictures.{joined_name(chosen)}", "network-pictures", title, network.cohort)
    estimates = [
        Estimate(name="sites_with_pictures", term=cohort, value=None, note=refusal(made)[1])
        if isinstance(made, FedmviError)
        else Estimate(name="sites_with_pictures", term=cohort, value=made)
        for cohort, made in pictured.items()
    ]
    failed = [made for made in pictured.values() if isinstance(made, FedmviError)]
    status = refusal(failed[0])[0] if len(failed) == len(pictured) else "estimated"
    return Result.model_validate({**base, "how": "site-alone", "status": status, "estimates": estimates, "note": STAY})
