"""server: the Flower ServerApp: conducts the study of a run's directory over Flower's grid."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.errors import FedmviError
from server.study.execution import PROGRESS_MARK, Action, execute
from server.study.run_directory import RunDirectory
from server.transport import FlowerTransport, SiteNames

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study; the run's configuration says where (`run-dir`), what (`action`), how sites are named, and
    how long is waited for those that are not connected yet.
    """
    run = RunDirectory(Path(str(context.run_config["run-dir"])))
    names = SiteNames(str(context.run_config["site-names"]))
    action = Action(str(context.run_config["action"]))
    seconds = float(str(context.run_config["wait-seconds"]))
    try:
        transport = FlowerTransport.connect(grid, run.study().sites(), names, seconds)
    except FedmviError as error:
        run.write_failure(error)
        raise
    execute(run, transport, action, _progress)


def _progress(step: str) -> None:
    print(f"{PROGRESS_MARK}{step}", flush=True)  # noqa: T201 - Flower's log of the run is read for it
