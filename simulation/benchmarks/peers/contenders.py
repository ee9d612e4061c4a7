"""simulation: benchmarks: peers: every contender fits the same regression; coefficients, rounds and seconds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common.study.table import FloatArray
from server.study.execution import Action
from server.study.results import read_results
from simulation.benchmarks.peers.environments import OWN, environment, run
from simulation.benchmarks.peers.rows import Rows
from simulation.exactness.measuring import public_data
from simulation.importers.heart_disease import import_heart_disease
from simulation.running import Simulation

FLARE = "nvflare==2.9.0"
FLARE_ROUNDS, FLARE_MORE = 5, 15
"""As in its example, and as many as bring it to the end."""
FLOWER_ROUNDS = 50
RUN_SECONDS = 900.0


@dataclass(frozen=True)
class Fit:
    """What a contender found.

    Attributes
    ----------
    coefficients
        (p + 1,), the intercept first, of the standardised predictors.
    rounds
        Exchanges with all sites; None where nothing is exchanged.
    seconds
        From its start to the coefficients, start-up counted in.
    message_bytes
        Of all messages, as the program counts them; None where it does not.
    """

    coefficients: FloatArray
    rounds: int | None
    seconds: float
    program: str
    message_bytes: int | None = None


@dataclass(frozen=True)
class Contender:
    """A name, how it is run, and what to know of it."""

    name: str
    about: str
    fit: Callable[[Rows, Path, Path], Fit]


def ours(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
    """FedMVI over Flower's simulation runtime, through gate, ledger and masks."""
    import_heart_disease(public_data("heart_disease_4centres"), work / "sites")
    study = Path(str(resources.files("simulation.benchmarks.peers"))) / "heart.toml"
    simulation = Simulation.of(study, work / "sites", work / "run", in_process=False)
    begun = time.monotonic()
    simulation.conduct(Action.RUN, lambda _: None)
    seconds = time.monotonic() - begun
    facts, results = simulation.run.facts(), read_results(simulation.run.results_file)
    found = [e.value for e in results.get("model.clinical.coefficients").estimates if e.name == "coef"]
    intercept, *slopes = (float(value) for value in found if value is not None)
    scaled = np.array(slopes) * rows.scale
    whole = np.array([intercept + float(np.array(slopes) @ rows.mean), *scaled.tolist()])
    sent = int(facts["bytes_to_sites"]) + int(facts["bytes_from_sites"])
    return Fit(whole, int(facts["rounds"]), seconds, f"fedmvi {version('fedmvi')}", sent)


def statsmodels_pooled(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
    """Maximum likelihood on the pooled rows."""
    import statsmodels.api as sm

    x, y = rows.pooled
    begun = time.monotonic()
    fitted = sm.Logit(y, sm.add_constant(x)).fit(tol=1e-14, disp=0)
    return Fit(np.asarray(fitted.params), None, time.monotonic() - begun, f"statsmodels {version('statsmodels')}")


def sklearn_pooled(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
    """scikit-learn on the pooled rows as it is by default, with its ridge penalty."""
    from sklearn.linear_model import LogisticRegression

    x, y = rows.pooled
    begun = time.monotonic()
    fitted = LogisticRegression().fit(x, y)
    found = np.concatenate([fitted.intercept_, fitted.coef_.ravel()])
    return Fit(found, None, time.monotonic() - begun, f"scikit-learn {version('scikit-learn')}")


def flare(weights: str, rounds: int) -> Callable[[Rows, Path, Path], Fit]:
    """NVIDIA FLARE's recipe of Newton's method in its simulator, with sites' weights `patients` or `equal`."""

    def fit(rows: Rows, work: Path, cache: Path) -> Fit:
        python = environment(cache / "flare", FLARE)
        options = ("--work", str(work / "workspace"), "--rounds", str(rounds), "--weights", weights)
        return _program(python, "flare_job.py", rows, work, options, f"nvflare {FLARE.partition('==')[2]}")

    return fit


def flower(epochs: int) -> Callable[[Rows, Path, Path], Fit]:
    """Flower's FedAvg over scikit-learn's logistic regression, so many iterations of it a round."""

    def fit(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
        options = ("--rounds", str(FLOWER_ROUNDS), "--epochs", str(epochs))
        return _program(OWN, "flower_job.py", rows, work, options, f"flwr {version('flwr')}")

    return fit


def _program(python: Path, name: str, rows: Rows, work: Path, options: tuple[str, ...], program: str) -> Fit:
    work.mkdir(parents=True)
    rows.write(work / "rows")
    script = Path(str(resources.files("simulation.benchmarks.peers.programs"))) / name
    out = work / "found.json"
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    given = {key: value for key, value in os.environ.items() if not key.startswith("NVFLARE_")} | quiet
    run([str(python), str(script), "--data", str(work / "rows"), "--out", str(out), *options], work, RUN_SECONDS, given)
    told = json.loads(out.read_text(encoding="utf-8"))
    return Fit(np.array(told["coefficients"]), int(told["rounds"]), float(told["seconds"]), program)


CONTENDERS = (
    Contender("statsmodels, pooled", "maximum likelihood on all rows: the reference", statsmodels_pooled),
    Contender("FedMVI", "a whole study: counts, each predictor alone, all together, areas; gate, ledger, masks", ours),
    Contender("scikit-learn, pooled", "its default, with a ridge penalty (C = 1)", sklearn_pooled),
    Contender("NVIDIA FLARE, as its example", "FedAvgLrRecipe; sums of sites weighted by patients",
              flare("patients", FLARE_ROUNDS)),
    Contender("NVIDIA FLARE, equal weights", "the same with the weights that sums need, more rounds",
              flare("equal", FLARE_MORE)),
    Contender("Flower FedAvg, 1 iteration", "scikit-learn at sites, one iteration a round", flower(1)),
    Contender("Flower FedAvg, to convergence", "scikit-learn at sites, fitted to the end each round", flower(100)),
)  # fmt: skip
