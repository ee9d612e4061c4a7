"""simulation: benchmarks: peers: what a site of NVIDIA FLARE's federated logistic regression does in a round.

Run by FLARE, in its own environment: `flare_client.py --data FOLDER --weights patients|equal --counted FOLDER`.
Gradient and curvature are sums over the site's patients. FLARE takes their mean over sites with the weights that sites
give: `patients` as in its example, which counts large sites twice; with `equal` ones the mean is zero where the pooled
gradient is. The bytes of all arrays that the site got and sent are written to a file of its name.
"""

import argparse
from pathlib import Path

import numpy as np
import nvflare.client as flare
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.np.constants import NPConstants


def main() -> None:
    """Answer every round."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--counted"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--weights", choices=("patients", "equal"), required=True)
    asked = parser.parse_args()
    flare.init()
    with np.load(asked.data / f"{flare.get_site_name()}.npz", allow_pickle=False) as rows:
        x, y = np.column_stack([np.ones(len(rows["x"])), rows["x"]]), rows["y"][:, np.newaxis]
    weight = len(x) if asked.weights == "patients" else 1
    passed = 0
    while flare.is_running():
        got = np.asarray(flare.receive().params[NPConstants.NUMPY_KEY])
        weights = got.astype(np.float64)
        risk = 1.0 / (1.0 + np.exp(-x @ weights))
        told = {"gradient": x.T @ (y - risk), "hessian": x.T @ (risk * (1.0 - risk) * x)}
        passed += got.nbytes + sum(array.nbytes for array in told.values())
        (asked.counted / flare.get_site_name()).write_text(str(passed), encoding="utf-8")
        flare.send(FLModel(params=told, params_type=ParamsType.FULL, meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: weight}))


if __name__ == "__main__":
    main()
