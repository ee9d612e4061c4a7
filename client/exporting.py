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
    site: Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")] = Path(),
) -> None:
    """Write a network that was trained with fedbn or silobn as a MONAI bundle, with this hospital's statistics.

    They are means and variances over all its patients' slices; whoever gets the bundle gets them. No patient is in it.
    """
    need("site", "torch", "safetensors")
    from client.cohort.site import load_site
    from client.learning.exporting import Source, estimated_statistics, export_here, own_statistics
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
    export_here(out_, protocol, found, weights, local, Source(normalisation))
    out.print(f"Bundle and model card: {escape(str(out_))}")
