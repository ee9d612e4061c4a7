"""server/export: a network of a run whose score is an input of a model that is handed on, with its weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from common.models.network import FrozenNetwork
from common.published.results import Results
from common.study.fingerprint import digest
from common.study.networks import Network
from common.study.protocol import Study
from common.terminal import need
from server.export.trained import trained_weights


def frozen_network(folder: Path, study: Study, results: Results, network: Network) -> tuple[FrozenNetwork, bytes]:
    """The network on the sequences that the run chose, and the file of its weights (safetensors).

    The weights are those of the run, written anew: the same weights are the same bytes, and nothing else is with them.

    Raises
    ------
    FedmviError
        As `trained_weights`; 804 a library is not installed.
    """
    need("server", "torch", "safetensors")
    # Loaded here: most models have no network.
    from common.networks.weights import save_weights

    classes = len(study.endpoint(network.grades).level_names)
    architecture, vector = trained_weights(folder, network, results, classes)
    with TemporaryDirectory(prefix="fedmvi-weights-") as place:
        path = Path(place, "weights.safetensors")
        save_weights(path, architecture, vector)
        content = path.read_bytes()
    described = FrozenNetwork(
        title=network.title,
        endpoint=study.endpoint(network.binary).title,
        network=network,
        sequences=architecture.sequences,
        classes=3 if architecture.classes == 3 else 2,
        weights=digest(content),
    )
    return described, content
