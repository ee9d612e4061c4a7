"""client: the command `fedmvi-site export`: hand on a network whose normalisation belongs to this hospital."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.terminal import need, out


def export(
    study: Annotated[Path, typer.Argument(help="The study's protocol.")],
    weights: Annotated[Path, typer.Argument(help="Shared weights: seed<k>.safetensors of the run's models.")],
    network: Annotated[str, typer.Option(help="The network of the study that they are of.")],
    normalisation: Annotated[
        Literal["own", "re-estimated"],
        typer.Option(help="Statistics of this hospital's training, or estimated on 20 or more patients here."),
    ],
    out_: Annotated[Path, typer.Option("--out", help="A new folder for the bundle.")],
    run: Annotated[str, typer.Option(help="own: the run's id, as the ledger shows it.")] = "",
    results: Annotated[
        Path | None,
        typer.Option(help="The run's results.json, which the coordinator hands out: performance and cut-offs."),
    ] = None,
    site: Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")] = Path(),
) -> None:
    """Write a network trained with fedbn or silobn with this hospital's statistics: MONAI bundle, ONNX and model card.

    They are means and variances over all its patients' slices; whoever gets the bundle gets them. No patient is in it.
    """
    need("site", "torch", "safetensors", "onnx", "onnxscript")
    from client.cohort.site import load_site
    from client.learning.exporting import Source, estimated_statistics, export_here, own_statistics
    from common.published.results import read_results
    from common.study.loader import load_study

    protocol, here = load_study(study), load_site(site)
    found = next((n for n in protocol.networks if n.name == network), None)
    if found is None:
        raise FedmviError(689, network=network)
    if not found.statistics_stay:
        why = f"{network} has no statistics of a hospital: the coordinator exports it (fedmvi-server export)"
        raise typer.BadParameter(why, param_hint="--network")
    if normalisation == "own":
        if not run:
            raise typer.BadParameter("--normalisation own needs --run", param_hint="--run")
        local = own_statistics(here, run, weights)
    else:
        local = estimated_statistics(here, protocol, found, weights)
    published = None if results is None else read_results(results)
    export_here(out_, protocol, found, weights, local, Source(normalisation), published)
    out.print(f"Bundle, ONNX graph and model card: {escape(str(out_))}")
    if published is None:
        out.print("Without --results the card gives no performance, and no cut-off goes with the network.")
