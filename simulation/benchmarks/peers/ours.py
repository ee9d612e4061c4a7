"""simulation: benchmarks: peers: FedMVI as a contender: a whole study, or its statistic alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common.published.results import Results, read_results
from common.study.table import FloatArray
from server.study.run_directory import RunDirectory
from simulation.benchmarks.peers.contenders import OWN, Fit, timed, told
from simulation.benchmarks.peers.question import Question
from simulation.benchmarks.peers.rows import Rows
from simulation.exactness.measuring import public_data
from simulation.importers.asaur import import_asaur
from simulation.importers.heart_disease import import_heart_disease
from simulation.processes import executable

STEPS = {
    "prepare": "prepare ",
    "start Flower": "start Flower",
    "open and count": "open the run",
    "fit": "fit the models",
    "evaluate and report": "freeze the models",
}
"""Parts of a whole study's seconds, by how the first line of each begins; before them the program starts."""


def whole_study(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
    """A study over Flower's simulation runtime, through approval, gate, ledger, masks and report."""
    hazards = "event" in next(iter(rows.sites.values()))
    importer = import_asaur if hazards else import_heart_disease
    importer(public_data(rows.data), work / "sites")
    name = "survival.toml" if hazards else "heart.toml"
    study = Path(str(resources.files("simulation.benchmarks.peers"))) / name
    begun = {"start the program": 0.0}

    def note(seconds: float, line: str) -> None:
        for step, words in STEPS.items():
            if line.startswith(words):
                begun.setdefault(step, seconds)

    options = ("--sites", "sites", "--out", "run")
    seconds = timed([executable("fedmvi-simulate"), "run", str(study), *options], rows, work, note)
    run = RunDirectory(work / "run")
    facts, results = run.facts(), read_results(run.results_file)
    ends = [*list(begun.values())[1:], seconds]
    return Fit(
        found=hazards_of(results, rows) if hazards else _coefficients(results, rows),
        rounds=int(facts["rounds"]),
        seconds=seconds,
        command=" ".join(("fedmvi-simulate run", name, *options)),
        program=f"fedmvi {version('fedmvi')}",
        message_bytes=int(facts["bytes_to_sites"]) + int(facts["bytes_from_sites"]),
        parts={step: end - start for (step, start), end in zip(begun.items(), ends, strict=True)},
    )


def _coefficients(results: Results, rows: Rows) -> FloatArray:
    """Of standardised predictors, the intercept first, from those of the predictors' units."""
    found = [e.value for e in results.get("model.clinical.coefficients").estimates if e.name == "coef"]
    intercept, *slopes = (float(value) for value in found if value is not None)
    scaled = np.array(slopes) * rows.scale
    return np.array([intercept + float(np.array(slopes) @ rows.mean), *scaled.tolist()])


def hazards_of(results: Results, rows: Rows) -> FloatArray:
    """(p,) logarithms of hazard ratios, of standardised predictors."""
    ratios = [e.value for e in results.get("analysis.cox").estimates if e.name == "hazard_ratio"]
    return np.array([math.log(value) for value in ratios if value is not None]) * rows.scale


def alone(question: Question) -> Callable[[Rows, Path, Path], Fit]:
    """The statistic alone over Flower's simulation engine, under masks."""

    def fit(rows: Rows, work: Path, cache: Path) -> Fit:  # noqa: ARG001
        survives = question is not Question.LOGISTIC
        months = ("--months", str(int(rows.pooled("time").max()))) if survives else ()
        asked = ("-m", "simulation.benchmarks.peers.alone", "--data", "rows", "--out", "found.json",
                 "--question", question.value, *months)  # fmt: skip
        seconds = timed([str(OWN), *asked], rows, work)
        shown = " ".join(("python", *(f"'{word}'" if " " in word else word for word in asked)))
        return told(rows, work, seconds, shown, f"fedmvi {version('fedmvi')}")

    return fit
