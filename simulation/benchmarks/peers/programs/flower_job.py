"""simulation: benchmarks: peers: logistic regression by Flower's own FedAvg, in its simulation engine.

`flower_job.py --data FOLDER --out FILE --rounds N --epochs N --penalty l2|none`: sites fit scikit-learn's logistic
regression from the weights that they are sent for so many iterations, as Flower's quickstart for scikit-learn does;
the server averages weights by patients. Without a penalty what is left of the distance is the averaging's.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import Counted
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression


def site_app(data: list[str], epochs: int, penalty: str) -> ClientApp:
    """What a site does with a round's weights."""
    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator, unused-ignore]
    def train(message: Message, context: Context) -> Message:
        with np.load(data[int(context.node_config["partition-id"])], allow_pickle=False) as rows:
            x, y = rows["x"], rows["y"]
        coefficients, intercept = message.content.array_records["arrays"].to_numpy_ndarrays()
        model = LogisticRegression(C=1.0 if penalty == "l2" else np.inf, max_iter=epochs, warm_start=True)
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
    """Run the rounds, and write the coefficients."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--rounds", "--epochs"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--penalty", choices=("l2", "none"), required=True)
    asked = parser.parse_args()
    files = [str(path.resolve()) for path in sorted(asked.data.glob("*.npz"))]
    with np.load(files[0], allow_pickle=False) as rows:
        features = rows["x"].shape[1]
    told: dict[str, Any] = {}
    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator, unused-ignore]
    def serve(grid: Grid, context: Context) -> None:  # noqa: ARG001
        start = ArrayRecord([np.zeros((1, features)), np.zeros(1)])
        strategy = FedAvg(
            fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=len(files), min_available_nodes=len(files)
        )
        counted = Counted(grid)
        done = strategy.start(counted, start, num_rounds=asked.rounds)  # type: ignore[arg-type, unused-ignore]
        coefficients, intercept = done.arrays.to_numpy_ndarrays()
        found = [*intercept.ravel().tolist(), *coefficients.ravel().tolist()]
        told.update(coefficients=found, rounds=counted.rounds, bytes=counted.bytes)

    run_simulation(server, site_app(files, asked.epochs, asked.penalty), num_supernodes=len(files))
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
