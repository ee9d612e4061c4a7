"""server: the command `fedmvi-server export`: hand on a trained network, or a frozen logistic model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.terminal import need, out


def export(
    folder: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    out_: Annotated[Path, typer.Option("--out", help="A new folder for a network's bundle, a new file for a model.")],
    network: Annotated[str, typer.Option(help="A network of the study.")] = "",
    model: Annotated[str, typer.Option(help="A logistic model of the study.")] = "",
    combination: Annotated[
        str, typer.Option(help="Sequences joined by + or commas, such as t1+t1v; by default those that the run chose.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Which of the trainings; 0 is the one that was measured.")] = 0,
    hub: Annotated[
        Path | None,
        typer.Option(help="The hub whose key signs a model; by default the one that the run lies in, if it does."),
    ] = None,
) -> None:
    """Write a trained network as a MONAI bundle, or a logistic model as a signed file for `fedmvi-site predict`.

    Weights and coefficients tell what sums over all hospitals told. What belongs to one hospital, such as the
    statistics of FedBN and SiloBN, is not here: such a network is exported at a hospital.
    """
    if bool(network) == bool(model):
        raise typer.BadParameter("name one network or one model", param_hint="--network or --model")
    if model:
        _export_model(folder, model, out_, hub)
        return
    need("server", "torch", "safetensors", "onnx", "onnxscript")
    written = write_export(folder, network, out_, combination, seed)
    out.print(f"Bundle, ONNX graph and model card: {escape(str(written))}")


def _export_model(folder: Path, name: str, to: Path, hub: Path | None) -> None:
    # Loaded here: it needs what reports are made with.
    from common.models.archive import read_model
    from server.export.logistic import write_model

    written = write_model(folder, name, to, hub)
    handed = read_model(to)
    out.print(f"{escape(written.title)}: {escape(str(to))}, SHA-256 {handed.digest}")
    unsigned = "Unsigned: the run lies in no hub, and none was named with --hub."
    out.print(unsigned if handed.signed_by is None else f"Signed with the key {handed.signed_by}.")
    out.print(escape(written.intended_use))


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
        Sequences joined by `+` or commas; "" for those that the run chose.
    seed
        Which of the trainings.

    Raises
    ------
    FedmviError
        213 `to` holds something, 684 the study has no such network or sequences, 686 or 687 the weights are not whole
        or of another network, 688 the statistics of its normalisation never left the sites, 689 the run trained none,
        or not with that seed, 702 no results.
    """
    from common.networks.bundle import describe
    from common.networks.exporting import hand_on
    from common.networks.model_card import Exported
    from common.networks.network import build
    from common.networks.weights import load_vector
    from common.published.networks import frozen_cutoffs
    from common.published.results import read_results
    from server.export.trained import STATISTICS, trained_weights, unknown
    from server.study.run_directory import RunDirectory

    run = RunDirectory(folder)
    study, results = run.study(), read_results(run.results_file)
    network = next((n for n in study.networks if n.name == name), None)
    if network is None:
        raise unknown(name, [n.name for n in study.networks])
    classes = len(study.endpoint(network.grades).level_names)
    architecture, vector = trained_weights(folder, network, results, classes, combination, seed)
    net = build(architecture, seed=0)
    load_vector(net, vector)
    cutoffs = frozen_cutoffs(network, results, architecture.sequences)
    about = describe(study, network, architecture, STATISTICS[network.normalisation], cutoffs)
    hand_on(to, net.eval(), Exported(study, network, results, architecture, about, seed, vector.size))
    return to
