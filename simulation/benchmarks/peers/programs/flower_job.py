"""simulation: benchmarks: peers: logistic regression by Flower's own FedAvg, in its simulation engine.

`flower_job.py --data FOLDER --out FILE --rounds N --epochs N`: sites fit scikit-learn's logistic regression from the
weights that they are sent for so many iterations, as Flower's quickstart for scikit-learn does; the server averages
weights by patients.
"""

import argparse
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression


def site_app(data: list[str], epochs: int) -> ClientApp:
    """What a site does with a round's weights."""
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator, unused-ignore]
    def train(message: Message, context: Context) -> Message:
        with np.load(data[int(context.node_config["partition-id"])], allow_pickle=False) as rows:
            x, y = rows["x"], rows["y"]
        coefficients, intercept = message.content.array_records["arrays"].to_numpy_ndarrays()
        model = LogisticRegression(max_iter=epochs, warm_start=True)
        model.classes_, model.coef_, model.intercept_ = np.array([0.0, 1.0]), coefficients, intercept
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
            model.fit(x, y)
        told: dict[str, Any] = {
            "arrays": ArrayRecord([model.coef_, model.intercept_]),
            "metrics": MetricRecord({"num-examples": len(y)}),
        }
        return Message(RecordDict(told), reply_to=message)

    return app


def main() -> None:
    """Run the rounds, and write the coefficients and the seconds."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--rounds", "--epochs"):
        parser.add_argument(name, type=int, required=True)
    asked = parser.parse_args()
    files = sorted(asked.data.glob("*.npz"))
    with np.load(files[0], allow_pickle=False) as rows:
        features = rows["x"].shape[1]
    found: list[np.ndarray[Any, Any]] = []
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator, unused-ignore]
    def serve(grid: Grid, context: Context) -> None:  # noqa: ARG001
        start = ArrayRecord([np.zeros((1, features)), np.zeros(1)])
        strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=len(files))
        found.extend(strategy.start(grid, start, num_rounds=asked.rounds).arrays.to_numpy_ndarrays())

    begun = time.monotonic()
    run_simulation(server, site_app([str(path) for path in files], asked.epochs), num_supernodes=len(files))
    coefficients, intercept = found
    told = {
        "coefficients": [*intercept.ravel().tolist(), *coefficients.ravel().tolist()],
        "seconds": time.monotonic() - begun,
        "version": version("flwr"),
        "rounds": asked.rounds,
    }
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
