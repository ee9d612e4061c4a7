"""simulation: benchmarks: peers: FedMVI's statistic alone over Flower's simulation engine, for those that only fit.

`python -m simulation.benchmarks.peers.alone --data FOLDER --out FILE --question NAME`. The transport, the messages, the
fixed-point sums and the masks are those of a study; there is no study, and so no approval, gate, ledger, journal or
report.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from common.federation.envelope import Ticket
from common.federation.ports import Meter, SitesPort, ungated
from common.federation.records import MESSAGE_TYPE, NAME_TYPE, from_records, to_records
from common.federation.runner import Conclusion, conclude
from common.statistics.cox_common_baseline import cox_common_baseline
from common.statistics.logistic import logistic
from common.statistics.survival import survival
from common.study.recipe import Recipe
from common.study.table import FloatArray
from server.transport import FlowerTransport, SiteNames
from simulation.benchmarks.peers.question import Question
from simulation.views import COHORT, ArrayView, named_masks, row_keys

ENDPOINT = "end"


def site_view(rows: dict[str, FloatArray]) -> ArrayView:
    """The site's columns `x0`, `x1`, … and `group`, which is the same for all, and its endpoint."""
    columns = {f"x{i}": rows["x"][:, i] for i in range(rows["x"].shape[1])} | {"group": np.zeros(len(rows["x"]))}
    endpoints = (
        {ENDPOINT: rows["y"]} if "y" in rows else {f"{ENDPOINT}.{part}": rows[part] for part in ("time", "event")}
    )
    return ArrayView(columns, endpoints, row_keys(len(rows["x"])))


def site_app(files: list[str]) -> ClientApp:
    """What sites answer, with masks."""
    app = ClientApp()
    names = tuple(Path(file).stem for file in files)

    @app.query(NAME_TYPE.removeprefix("query."))
    def name(message: Message, context: Context) -> Message:
        told = ConfigRecord({"site": names[int(context.node_config["partition-id"])]})
        return Message(RecordDict({"name": told}), reply_to=message)

    @app.query(MESSAGE_TYPE.removeprefix("query."))
    def answer(message: Message, context: Context) -> Message:
        # Registers every query; here, because Ray's workers are sent this function and not the module around it.
        import common.statistics  # noqa: F401

        place = int(context.node_config["partition-id"])
        handle = ungated(site_view(_read(files[place])), named_masks(names[place], names))
        return Message(to_records(handle(from_records(message.content))), reply_to=message)

    return app


def _read(file: str) -> dict[str, FloatArray]:
    with np.load(file, allow_pickle=False) as rows:
        return {key: rows[key] for key in rows.files}


def conclusion(question: Question, features: int, grid_points: int) -> Conclusion[dict[str, Any]]:
    """What is asked, and what of the answer is compared; times are whole months."""
    columns, recipe = tuple(f"x{i}" for i in range(features)), Recipe()
    if question is Question.LOGISTIC:
        fitted = yield from logistic(COHORT, recipe, ENDPOINT, columns)
        return {"coefficients": fitted.coef_.tolist()}
    if question is Question.HAZARDS:
        hazards = yield from cox_common_baseline(COHORT, recipe, ENDPOINT, columns, 1.0, grid_points)
        return {"coefficients": hazards.coef_.tolist()}
    curves = yield from survival(COHORT, recipe, ENDPOINT, 1, 1.0, grid_points)
    (curve,) = curves.curves_
    return {"times": curve.time_.tolist(), "survival": curve.survival_.tolist()}


def main() -> None:
    """Ask, and write what was found."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--question", type=Question, choices=list(Question), required=True)
    parser.add_argument("--months", type=int, default=1, help="Of the longest time.")
    asked = parser.parse_args()
    files = [str(path.resolve()) for path in sorted(asked.data.glob("*.npz"))]
    features = _read(files[0])["x"].shape[1]
    server, told = ServerApp(), dict[str, Any]()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:  # noqa: ARG001
        sites = tuple(sorted(Path(file).stem for file in files))
        meter = Meter(FlowerTransport.connect(grid, sites, SiteNames.REPORTED))
        port = SitesPort(meter, Ticket("alone", "", {COHORT: sites}))
        (found,) = conclude(port, [conclusion(asked.question, features, asked.months + 1)])
        told.update(found, rounds=meter.rounds, bytes=meter.bytes_to_sites + meter.bytes_from_sites)

    run_simulation(server, site_app(files), num_supernodes=len(files))
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
