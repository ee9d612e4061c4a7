"""client/approval: what a network does at a hospital, in words."""

from __future__ import annotations

from common.federation.learning import left_out_parts
from common.study.networks import Network
from common.study.protocol import Study


def network_training(study: Study, network: Network) -> str:
    """How often, how long and how privately a network is trained."""
    parts = left_out_parts(network, study.cohort(network.cohort).sites)
    jobs = len(network.combinations) * network.seeds * (len(parts) + 1)
    epsilon = "" if network.privacy is None else f"{network.privacy.epsilon:g}"
    private = f"differentially private, epsilon {epsilon} a training" if epsilon else "without differential privacy"
    adapted = "; adapted to a site's own images, whose statistics stay" if network.adaptation is not None else ""
    return f"trained here in at most {network.federation.rounds} rounds, {jobs} trainings or fewer, {private}{adapted}"
