"""server/export: the weights of a network as a run froze them, and what the run says of that network."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import FedmviError
from common.published.networks import chosen
from common.published.results import Result, Results
from common.study.networks import Network, in_order
from server.study.run_directory import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from common.networks.architecture import Architecture

STATISTICS = {
    "group": "Its normalisation layers use nothing but the slice itself (group normalisation).",
    "batch": "Its normalisation layers use means and variances averaged over the hospitals.",
}
"""Where the statistics of normalisation layers come from, where the server has all of them."""


def trained_weights(
    folder: Path, network: Network, results: Results, classes: int, combination: str = "", seed: int = 0
) -> tuple[Architecture, NDArray[np.float32]]:
    """The architecture of a run's network and its shared weights, (p,).

    Parameters
    ----------
    folder
        The run's.
    classes
        Levels of the endpoint that it gives probabilities of.
    combination
        Sequences joined by `+` or commas; "" for those that the run chose.
    seed
        Which of the trainings.

    Raises
    ------
    FedmviError
        684 the network has no such sequences, 686 or 687 the weights are not whole or of another network, 688 the
        statistics of its normalisation never left the sites, 689 the run trained none, or not with that seed.
    """
    from common.networks.architecture import architecture_of
    from common.networks.normalisation import MIN_ESTIMATED
    from common.networks.weights import read_weights

    if network.normalisation not in STATISTICS:
        raise FedmviError(688, normalisation=network.normalisation, patients=MIN_ESTIMATED)
    sequences = _sequences(network, results, combination)
    architecture, vector = read_weights(_weights_file(folder, network, sequences, seed, _why(network, results)))
    if architecture != architecture_of(network, sequences, classes):
        raise FedmviError(686, architecture.text)
    return architecture, vector


def unknown(wanted: str, there: Sequence[str]) -> FedmviError:
    """Error 684 with the nearest of what there is first."""
    near = get_close_matches(wanted, there, n=1)
    return FedmviError(684, wanted=wanted, there=", ".join(dict.fromkeys([*near, *there])))


def _why(network: Network, results: Results) -> str:
    """Why a run has no network, in the words of its results."""
    selection = _selection(network, results)
    return "" if selection is None or selection.status == "estimated" else selection.note


def _selection(network: Network, results: Results) -> Result | None:
    return next((r for r in results.results if r.id == f"network.{network.name}.selection"), None)


def _weights_file(folder: Path, network: Network, sequences: tuple[str, ...], seed: int, why: str) -> Path:
    """Where a run keeps the weights that are used; error 689, with `why`, if there are none."""
    path = RunDirectory(folder).models / network.name / "+".join(sequences) / f"seed{seed}.safetensors"
    if not path.exists():
        raise FedmviError(689, why or str(path), network=network.name)
    return path


def _sequences(network: Network, results: Results, combination: str) -> tuple[str, ...]:
    """The combination that is asked for, or that the run chose, or the only one; error 689 if there is none."""
    selection = _selection(network, results)
    only = "+".join(network.combinations[0]) if len(network.combinations) == 1 else ""
    wanted = combination or (chosen(selection) if selection is not None else None) or only
    try:
        sequences = in_order(tuple(part.strip() for part in wanted.lower().replace(",", "+").split("+")))
    except ValueError:
        sequences = ()
    if not wanted:
        raise FedmviError(689, _why(network, results) or "no sequences were chosen", network=network.name)
    if sequences not in network.combinations:
        raise unknown(wanted, ["+".join(combination) for combination in network.combinations])
    return sequences
