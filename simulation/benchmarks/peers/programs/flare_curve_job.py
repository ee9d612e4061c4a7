"""simulation: benchmarks: peers: Kaplan-Meier as NVIDIA FLARE's example `kaplan-meier-he` has it, in its simulator.

Run in FLARE's own environment: `flare_curve_job.py --data FOLDER --out FILE --work FOLDER`. Three rounds: the longest
time in clear; histograms by the month, encrypted (BFV, TenSEAL) with a key that all sites have and the server has not;
their sum, which sites decrypt. Written anew. The messages' bytes are those of the encrypted histograms.
"""

import argparse
import json
from pathlib import Path

import tenseal
from flare_curve_server import EncryptedCurve
from nvflare import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from nvflare.recipe import SimEnv
from nvflare.recipe.spec import Recipe


def main() -> None:
    """Run the rounds, and write the curve of the first site."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out", "--work"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    work, data = asked.work.resolve(), asked.data.resolve()
    found = work / "found"
    found.mkdir(parents=True)
    context = tenseal.context(tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=4096, plain_modulus=1032193)
    (work / "secret").write_bytes(context.serialize(save_secret_key=True))
    (work / "public").write_bytes(context.serialize(save_secret_key=False))
    sites = sorted(path.stem for path in data.glob("*.npz"))
    job = FedJob(name="curve", min_clients=len(sites))
    job.to_server(EncryptedCurve(str(work / "public"), str(work / "tally.json")))
    script = str(Path(__file__).with_name("flare_curve_client.py"))
    runner = ScriptRunner(script=script, script_args=f"--data {data} --key {work / 'secret'} --out {found}",
                          framework="raw", launch_external_process=False)  # fmt: skip
    job.to_clients(runner, tasks=["train"])
    Recipe(job).execute(SimEnv(clients=sites, num_threads=len(sites), workspace_root=str(work / "simulator")))
    told = json.loads((found / f"{sites[0]}.json").read_text(encoding="utf-8"))
    told |= json.loads((work / "tally.json").read_text(encoding="utf-8"))
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
