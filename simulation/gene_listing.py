"""simulation: the command `fedmvi-simulate genes`: what a study of a simulated consortium's expression asks for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.terminal import out, print_json


def add_commands(app: typer.Typer) -> None:
    """Put the command among the others."""
    app.command(epilog="Example: fedmvi-simulate genes radiogenomics --out lists")(genes)


def genes(
    consortium: Annotated[str, typer.Argument(help="A consortium file, or a shipped one, that declares expression.")],
    out_: Annotated[Path, typer.Option("--out", help="Folder for the two files.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the null sets; the genes do not depend on it.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Write the list of a simulated consortium's genes, and gene sets: glucose metabolism, and sets that do not differ.

    The list is for `genes` in [genomics] of a study, and the GMT file for `file` in [genomics.gene_sets], beside it.
    """
    from simulation.cohorts.consortium import load_consortium
    from simulation.cohorts.gene_lists import write_gene_lists

    declared = load_consortium(consortium)
    if declared.expression is None:
        raise FedmviError(829, name=declared.name)
    listed, sets = write_gene_lists(declared, out_, seed)
    digest = hashlib.sha256(sets.read_bytes()).hexdigest()
    if json_:
        print_json({"genes": str(listed), "gene_sets": str(sets), "sha256": digest})
        return
    out.print(f'{escape(str(listed))}\n{escape(str(sets))}\nsha256 = "{digest}"')
