"""simulation: benchmarks: peers: what a site does in NVIDIA FLARE's Kaplan-Meier under homomorphic encryption.

Run by FLARE, in its own environment: `flare_curve_client.py --data FOLDER --key FILE --out FOLDER`. A site encrypts how
many of its patients had the event, and how many were censored, in each month; only sites can decrypt the sum.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import nvflare.client as flare
import tenseal
from lifelines import KaplanMeierFitter
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType


def main() -> None:
    """Answer every round; the last one brings the sum, of which each site draws the curve."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--key", "--out"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    flare.init()
    site = flare.get_site_name()
    with np.load(asked.data / f"{site}.npz", allow_pickle=False) as rows:
        time, event = rows["time"].astype(int), rows["event"].astype(int)
    context = tenseal.context_from(asked.key.read_bytes())
    while flare.is_running():
        message = flare.receive()
        if message.current_round == 1:
            told = {"longest": int(time.max())}
        elif message.current_round == 2:
            length = int(message.params["longest"]) + 1
            counts = np.concatenate([np.bincount(time[event == kind], minlength=length) for kind in (1, 0)])
            told = {"histogram": tenseal.bfv_vector(context, counts.tolist()).serialize()}
        else:
            total = np.array(tenseal.bfv_vector_from(context, message.params["histogram"]).decrypt())
            died, censored = np.split(total, 2)
            months = np.arange(len(died))
            both = np.concatenate([np.repeat(months, died), np.repeat(months, censored)])
            kind = np.repeat([1, 0], [died.sum(), censored.sum()])
            curve = KaplanMeierFitter().fit(both, kind).survival_function_
            found = {"times": curve.index.to_list(), "survival": curve.iloc[:, 0].to_list()}
            (asked.out / f"{site}.json").write_text(json.dumps(found), encoding="utf-8")
            told = {}
        flare.send(FLModel(params=told, params_type=ParamsType.FULL))


if __name__ == "__main__":
    main()
