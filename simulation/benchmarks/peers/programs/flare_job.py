"""simulation: benchmarks: peers: NVIDIA FLARE's recipe for federated logistic regression, in its simulator.

Run in FLARE's own environment: `flare_job.py --data FOLDER --out FILE --work FOLDER --rounds N --weights WHICH`.
The messages' bytes are those of the arrays in them, which sites count; what FLARE puts around them is not in it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.lr.fedavg import FedAvgLrRecipe
from nvflare.recipe import SimEnv


def main() -> None:
    """Run the rounds, and write the coefficients."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--weights", required=True)
    asked = parser.parse_args()
    sites = sorted(path.stem for path in asked.data.glob("*.npz"))
    with np.load(asked.data / f"{sites[0]}.npz", allow_pickle=False) as rows:
        features = rows["x"].shape[1]
    data, work = asked.data.resolve(), asked.work.resolve()
    counted = work / "counted"
    counted.mkdir(parents=True)
    recipe = FedAvgLrRecipe(
        min_clients=len(sites), num_rounds=asked.rounds, damping_factor=0.8, num_features=features,
        train_script=str(Path(__file__).with_name("flare_client.py")),
        train_args=f"--data {data} --weights {asked.weights} --counted {counted}",
    )  # fmt: skip
    done = recipe.execute(SimEnv(clients=sites, num_threads=len(sites), workspace_root=str(work / "simulator")))
    folder = Path(done.get_result())
    (weights,) = folder.rglob("weights.npy")
    found = np.load(weights, allow_pickle=False).ravel().tolist()
    sent = sum(int(path.read_text(encoding="utf-8")) for path in counted.iterdir())
    told = {"coefficients": found, "rounds": asked.rounds, "bytes": sent}
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
