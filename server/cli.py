"""server: the command `fedmvi-server`, for the consortium's coordinator.

A command loads what it needs when it is called, so that `--help` and small commands answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.terminal import out, run_app
from server.exporting import export
from server.hub import commands as hub_commands
from server.hub import metrics_command
from server.provision import commands as provision_commands
from server.publishing import publish

__all__ = ["app", "main", "publish"]

app = typer.Typer(
    help="Provision a consortium, run its hub, and plan, run and report federated studies.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Local variables hold patients.
    pretty_exceptions_show_locals=False,
)

provision_commands.add_commands(app)
hub_commands.add_commands(app)
metrics_command.add_commands(app)


@app.command(epilog="Example: fedmvi-server landmarks runs/landmarks >> study.toml")
def landmarks(folder: Annotated[Path, typer.Argument(help="The run of a study of means of landmarks.")]) -> None:
    """Print the scale to which MR images are standardised (Nyul), as lines for the protocol of the next study."""
    from common.published.results import read_results
    from server.study.landmarks import as_toml, standard_scale
    from server.study.run_directory import RunDirectory

    out.print(escape(as_toml(standard_scale(read_results(RunDirectory(folder).results_file)))), end="")


app.command(
    epilog="Example: fedmvi-server export runs/study --network dl_mvi --out bundles/dl_mvi, or "
    "fedmvi-server export runs/study --model hybrid --out hybrid.zip"
)(export)


def main() -> None:
    """Entry point of `fedmvi-server`."""
    run_app(app)
