"""server: the command `fedmvi-server export`: hand on a trained network, or a frozen logistic model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.study.networks import Network, in_order
from common.terminal import need, out
from server.study.results import Result, Results, read_results
from server.study.run_directory import RunDirectory

if TYPE_CHECKING:
    from common.networks.bundle import Description

STATISTICS = {
    "group": "Its normalisation layers use nothing but the slice itself (group normalisation).",
    "batch": "Its normalisation layers use means and variances averaged over the hospitals.",
}
"""Where the statistics of normalisation layers come from, where the server has all of them."""


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
        raise _unknown(name, [n.name for n in study.networks])
    if network.normalisation not in STATISTICS:
        raise FedmviError(688, normalisation=network.normalisation, patients=MIN_ESTIMATED)
    sequences = _sequences(network, results, combination)
    architecture, vector = read_weights(weights_file(folder, network, sequences, seed, _why(network, results)))
    if architecture != architecture_of(network, sequences, len(study.endpoint(network.grades).level_names)):
        raise FedmviError(686, architecture.text)
    net = build(architecture, seed=0)
    load_vector(net, vector)
    net.eval()
    cutoffs = frozen_cutoffs(network, results, sequences)
    about = describe(study, network, architecture, STATISTICS[network.normalisation], cutoffs)
    exported = Exported(study, network, results, architecture, about, seed, vector.size)
    masked = network.missing == "mask"
    graph = Path("models", "model.onnx")
    write_bundle(
        to,
        net,
        about,
        model_card(exported),
        add=lambda new: write_onnx(new / graph, net, about.size, about.slices, masked=masked, told=_told(about)),
    )
    return to


def _told(about: Description) -> dict[str, str]:
    """What the graph says of itself to whoever has nothing but the graph."""
    return {
        "name": about.name,
        "title": about.title,
        "intended_use": about.intended_use,
        "levels": json.dumps(about.levels, ensure_ascii=False),
        "cutoffs": json.dumps(dict(about.cutoffs)),
        "study_fingerprint": about.study_fingerprint,
    }


def _unknown(wanted: str, there: Sequence[str]) -> FedmviError:
    """Error 684 with the nearest of what there is first."""
    near = get_close_matches(wanted, there, n=1)
    return FedmviError(684, wanted=wanted, there=", ".join(dict.fromkeys([*near, *there])))


def frozen_cutoffs(network: Network, results: Results, sequences: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """By way of inference the cut-off that was frozen with the network on these sequences."""
    head = f"network.{network.name}.performance.{'+'.join(sequences)}."
    found = [
        e
        for r in results.results
        if r.id.startswith(head) or (r.id == f"network.{network.name}.selection" and _chose(r, sequences))
        for e in r.estimates
        if e.name == "cutoff"
    ]
    return tuple({e.term: e.value for e in found if e.value is not None}.items())


def _chose(selection: Result, sequences: tuple[str, ...]) -> bool:
    from server.export.model_card import chosen

    return chosen(selection) == "+".join(sequences)


def _why(network: Network, results: Results) -> str:
    """Why a run has no network, in the words of its results."""
    selection = next((r for r in results.results if r.id == f"network.{network.name}.selection"), None)
    return "" if selection is None or selection.status == "estimated" else selection.note


def weights_file(folder: Path, network: Network, sequences: tuple[str, ...], seed: int, why: str = "") -> Path:
    """Where a run keeps the weights that are used; error 689, with `why`, if there are none."""
    path = RunDirectory(folder).models / network.name / "+".join(sequences) / f"seed{seed}.safetensors"
    if not path.exists():
        raise FedmviError(689, why or str(path), network=network.name)
    return path


def _sequences(network: Network, results: Results, combination: str) -> tuple[str, ...]:
    """The combination that is asked for, or that the run chose, or the only one; error 689 if there is none."""
    from server.export.model_card import chosen

    selection = next((r for r in results.results if r.id == f"network.{network.name}.selection"), None)
    only = "+".join(network.combinations[0]) if len(network.combinations) == 1 else ""
    wanted = combination or (chosen(selection) if selection is not None else None) or only
    try:
        sequences = in_order(tuple(part.strip() for part in wanted.lower().replace(",", "+").split("+")))
    except ValueError:
        sequences = ()
    if not wanted:
        raise FedmviError(689, _why(network, results) or "no sequences were chosen", network=network.name)
    if sequences not in network.combinations:
        raise _unknown(wanted, ["+".join(combination) for combination in network.combinations])
    return sequences
