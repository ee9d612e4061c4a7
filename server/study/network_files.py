"""server/study: the files of the networks that a run has trained, for whoever exports or uses them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import FedmviError
from server.study.checkpoints import Checkpoints, finished_weights
from server.study.network_development import Developed, candidates, used
from server.study.network_development_results import joined_name


def write_models(developed: Sequence[Developed | FedmviError], checkpoints: Checkpoints, folder: Path) -> None:
    """Write `<network>/<sequences joined by +>/seed<k>.safetensors` of every network that was frozen."""
    for found in developed:
        if isinstance(found, FedmviError):
            continue
        network = found.network
        for combination, seed in candidates(network):
            if isinstance(found.frozen[combination, seed], FedmviError):
                continue
            from common.networks.architecture import architecture_of
            from common.networks.weights import save_weights  # torch is slow to import, and most runs have no network

            path = folder / network.name / joined_name(combination) / f"seed{seed}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            job = used(network, (combination, seed))
            trained = found.trained[job]
            local = "" if isinstance(trained, FedmviError) else trained.local
            architecture = architecture_of(network, combination, found.levels.size)
            save_weights(path, architecture, finished_weights(checkpoints, job), local)
