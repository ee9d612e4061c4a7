"""simulation: benchmarks: peers: TNO's federated Cox regression, its server and its clients in one process over HTTP.

Run in its own environment: `tno_job.py --data FOLDER --out FILE --bins N --rounds N --weights rows|equal`, as its
README has it, where each party is a process; here each has a port. It puts a logistic regression over bins of time in
the place of Cox regression. Sites send sums over their rows, of which the server takes the mean: with the weights
`rows`, its default, large sites count twice; with `equal` ones the mean is zero where the pooled gradient is.
"""

import argparse
import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
from tno.fl.protocols.cox_regression.client import Client
from tno.fl.protocols.cox_regression.server import Server
from tno.fl.protocols.logistic_regression.client import Client as Solver
from tno.mpc.communication import Pool

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class EqualSolver(Solver):  # type: ignore[misc, unused-ignore]
    """Gives every site the same weight."""

    async def _compute_local_weight(self, data: Any, target: Any) -> float:  # noqa: ARG002
        return 1


def client_of(pool: Pool, rounds: int, weights: str) -> Client:
    """A site."""
    client = Client(pool, max_iter=rounds)
    if weights == "equal":
        client.log_reg_solver = EqualSolver(pool=pool, max_iter=rounds)
    return client


async def fit(data: dict[str, dict[str, np.ndarray[Any, Any]]], bins: int, rounds: int, weights: str) -> dict[str, Any]:
    """The coefficients, and what the parties counted."""
    ports = dict(zip(("server", *data), free_ports(len(data) + 1), strict=True))
    pools = {name: Pool() for name in ports}
    for name, pool in pools.items():
        pool.add_http_server(addr=HOST, port=ports[name])
        for other in data if name == "server" else ("server",):
            pool.add_http_client(name=other, addr=HOST, port=ports[other])
    clients = [client_of(pools[site], rounds, weights).run(rows["x"], rows["time"], rows["event"] == 1.0)
               for site, rows in data.items()]  # fmt: skip
    _, model, *_ = await asyncio.gather(Server(pools["server"], n_time_bins=bins, max_iter=rounds).run(), *clients)
    sent = sum(handler.total_bytes_sent for pool in pools.values() for handler in pool.pool_handlers.values())
    await asyncio.gather(*(pool.shutdown() for pool in pools.values()))
    features = next(iter(data.values()))["x"].shape[1]
    # Two exchanges before the rounds: the longest time and the bins, the weights and the first model.
    return {"coefficients": model[:features].tolist(), "rounds": rounds + 2, "bytes": sent}


def main() -> None:
    """Fit, and write the coefficients."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--bins", "--rounds"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--weights", choices=("rows", "equal"), required=True)
    asked = parser.parse_args()
    data = {}
    for path in sorted(asked.data.glob("*.npz")):
        with np.load(path, allow_pickle=False) as rows:
            data[path.stem] = {name: rows[name] for name in rows.files}
    told = asyncio.run(fit(data, asked.bins, asked.rounds, asked.weights))
    asked.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
