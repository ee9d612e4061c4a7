"""simulation: benchmarks: peers: Kaplan-Meier as Flower's official example has it, in Flower's simulation engine.

`flower_curve_job.py --data FOLDER --out FILE`. As in the example `federated-kaplan-meier-fitter` every site sends the
time and event of each patient, and the server gives all of them to lifelines. Its README says that this exposes raw
data. Written anew with Flower's message API.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import Counted
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from lifelines import KaplanMeierFitter

WAIT_SECONDS = 0.1


def site_app(data: list[str]) -> ClientApp:
    """A site tells all its times and events."""
    app = ClientApp()

    @app.query("times")  # type: ignore[untyped-decorator, unused-ignore]
    def times(message: Message, context: Context) -> Message:
        with np.load(data[int(context.node_config["partition-id"])], allow_pickle=False) as rows:
            told = ArrayRecord([rows["time"], rows["event"]])
        return Message(RecordDict({"rows": told}), reply_to=message)

    return app


def main() -> None:
    """Ask once, and write the curve."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    files = [str(path.resolve()) for path in sorted(asked.data.glob("*.npz"))]
    told: dict[str, Any] = {}
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator, unused-ignore]
    def serve(grid: Grid, context: Context) -> None:  # noqa: ARG001
        counted = Counted(grid)
        while len(nodes := list(grid.get_node_ids())) < len(files):
            time.sleep(WAIT_SECONDS)
        questions = [Message(RecordDict(), node, "query.times") for node in nodes]
        parts = [reply.content.array_records["rows"].to_numpy_ndarrays()
                 for reply in counted.send_and_receive(questions)]  # fmt: skip
        months, event = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        curve = KaplanMeierFitter().fit(months, event).survival_function_
        told.update(times=curve.index.to_list(), survival=curve.iloc[:, 0].to_list(), rounds=counted.rounds,
                    bytes=counted.bytes)  # fmt: skip

    run_simulation(server, site_app(files), num_supernodes=len(files))
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
