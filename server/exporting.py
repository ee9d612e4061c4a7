"""server: the command `fedmvi-server export`: hand a trained network on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.study.networks import Network, in_order
from common.terminal import need, out
from server.study.results import Results, read_results
from server.study.run_directory import RunDirectory

STATISTICS = {
    "group": "Its normalisation layers use nothing but the slice itself (group normalisation).",
    "batch": "Its normalisation layers use means and variances averaged over the hospitals.",
}
"""Where the statistics of normalisation layers come from, where the server has all of them."""


def export(
    folder: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    network: Annotated[str, typer.Option(help="A network of the study.")],
    out_: Annotated[Path, typer.Option("--out", help="A new folder for the bundle.")],
    combination: Annotated[
        str, typer.Option(help="Sequences joined by +, such as t1+t1v; by default those that the run chose.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Which of the trainings; 0 is the one that was measured.")] = 0,
) -> None:
    """Write a trained network as a MONAI bundle with ONNX graph and model card.

    The weights tell what the sum over all hospitals told. What belongs to one hospital, such as the statistics of
    FedBN and SiloBN, is not here: such a network is exported at a hospital.
    """
    need("server", "torch", "safetensors", "onnx", "onnxscript")
    written = write_export(folder, network, out_, combination, seed)
    out.print(f"Bundle, ONNX graph and model card: {escape(str(written))}")


def write_export(folder: Path, name: str, to: Path, combination: str = "", seed: int = 0) -> Path:
    """Write the bundle of a run's network.

    Parameters
    ----------
    folder
        The run's.
    name
        Of the network.
    to
        A new folder.
    combination
        Sequences joined by `+`; "" for those that the run chose.
    seed
        Which of the trainings.

    Raises
    ------
    FedmviError
        213 `to` holds something, 686 or 687 the weights are not whole or of another network, 688 the statistics of
        its normalisation never left the sites, 689 there is no such network, 702 no results.
    """
    from common.networks.architecture import architecture_of
    from common.networks.bundle import describe, write_bundle
    from common.networks.network import build
    from common.networks.normalisation import MIN_ESTIMATED
    from common.networks.weights import load_vector, read_weights
    from server.export.model_card import Exported, model_card
    from server.export.onnx import write_onnx

    run = RunDirectory(folder)
    study, results = run.study(), read_results(run.results_file)
    network = next((n for n in study.networks if n.name == name), None)
    if network is None:
        raise FedmviError(689, network=name)
    if network.normalisation not in STATISTICS:
        raise FedmviError(688, normalisation=network.normalisation, patients=MIN_ESTIMATED)
    sequences = _sequences(network, results, combination)
    architecture, vector = read_weights(weights_file(folder, network, sequences, seed))
    if architecture != architecture_of(network, sequences, len(study.endpoint(network.grades).level_names)):
        raise FedmviError(686, architecture.text)
    net = build(architecture, seed=0)
    load_vector(net, vector)
    net.eval()
    about = describe(study, network, architecture, STATISTICS[network.normalisation])
    exported = Exported(study, network, results, architecture, about, seed, vector.size)
    masked = network.missing == "mask"
    graph = Path("models", "model.onnx")
    write_bundle(
        to,
        net,
        about,
        model_card(exported),
        add=lambda new: write_onnx(new / graph, net, about.size, about.slices, masked=masked),
    )
    return to


def weights_file(folder: Path, network: Network, sequences: tuple[str, ...], seed: int) -> Path:
    """Where a run keeps the weights that are used; error 689 if there are none."""
    path = RunDirectory(folder).models / network.name / "+".join(sequences) / f"seed{seed}.safetensors"
    if not path.exists():
        raise FedmviError(689, str(path), network=network.name)
    return path


def _sequences(network: Network, results: Results, combination: str) -> tuple[str, ...]:
    """The combination that is asked for, or that the run chose, or the only one; error 689 if there is none."""
    from server.export.model_card import chosen

    selection = next((r for r in results.results if r.id == f"network.{network.name}.selection"), None)
    only = "+".join(network.combinations[0]) if len(network.combinations) == 1 else ""
    wanted = combination or (chosen(selection) if selection is not None else None) or only
    try:
        sequences = in_order(tuple(wanted.split("+")))
    except ValueError:
        sequences = ()
    if sequences not in network.combinations:
        raise FedmviError(689, f"combination {wanted or 'not chosen'}", network=network.name)
    return sequences
