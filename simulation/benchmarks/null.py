"""simulation: benchmarks: studies of nothing: outcomes are dealt out anew in every hospital.

MVI is dealt to one patient and follow-up to another: otherwise both would go together, and predictors that tell of
follow-up would part the patients of a Hybrid that tells of nothing. What such a study finds is chance. So over many of
them the 95 % interval of a frozen model's AUC in external hospitals must hold 0.5 in about 95 of 100, and a log-rank
test between the classes, or between high and low by the Hybrid's frozen cut-off, must reach p < .05 in about 5 of 100;
how far from that chance may take them is the binomial distribution's to say. Among the models is a Hybrid: on the
out-of-fold score of a model whose predictors are reduced inside every fold. A LASSO, or a reduction, that keeps no
predictor says "no signal found", and is counted apart.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import binom

from client.answering import answer_message
from client.preparation.prepare import prepare
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.ports import InProcess, SitesPort
from common.parallel import in_processes
from common.published.results import Result, Results
from common.study.contradictions import contradictions
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from common.study.modelling import Reduction
from common.study.protocol import Comparison, Model, Study
from common.study.terms import Term
from server.study.conduct import conduct
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import find_sites
from simulation.shipped import shipped_study

LEVEL = 0.95
ALPHA = 0.05
TAIL = 0.005
"""On either side of the bounds: a sound program is beyond one of them in one campaign of a hundred."""

DEALT = (("mvi", "mvi_grade"), ("rfs_days", "rfs_event", "os_days", "os_event"))
"""Columns that are dealt out anew, those of a group together."""


@dataclass(frozen=True)
class Found:
    """What one study of nothing found.

    Attributes
    ----------
    seed
        Of the hospitals, and of the dealing.
    held
        By model, whether the interval of its AUC in the external cohort holds 0.5; None where it has none.
    log_rank
        By comparison, p; None where it has none.
    selected
        Predictors that the LASSO keeps at the penalty of least deviance.
    reduced
        Predictors that the reduced model keeps; None where it could not be developed.
    error
        What stopped the study, or "".
    """

    seed: int
    held: dict[str, bool | None]
    log_rank: dict[str, float | None]
    selected: int
    reduced: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Check:
    """How often something happened, and how often it may.

    Attributes
    ----------
    times, of
        Studies in which it happened, of those that could tell.
    low, high
        Bounds of the binomial distribution, `TAIL` of it beyond each.
    """

    name: str
    times: int
    of: int
    low: int
    high: int

    @property
    def passed(self) -> bool:
        """Whether chance may do that."""
        return self.low <= self.times <= self.high


@dataclass(frozen=True)
class Null:
    """A campaign."""

    found: tuple[Found, ...]

    @property
    def checks(self) -> list[Check]:
        """Coverage of every model, and rejections of every comparison."""
        checks = []
        for model in self._names("held"):
            told = [found.held[model] for found in self.found if found.held.get(model) is not None]
            checks.append(_check(f"external AUC of {model}: the 95 % interval holds 0.5", told, LEVEL))
        for comparison in self._names("log_rank"):
            ps = [p for found in self.found if (p := found.log_rank.get(comparison)) is not None]
            checks.append(_check(f"{comparison}: log-rank p < .05", [p < ALPHA for p in ps], ALPHA))
        return checks

    @property
    def no_signal(self) -> int:
        """Studies whose LASSO selected nothing."""
        return sum(not found.error and found.selected == 0 for found in self.found)

    @property
    def empty_reductions(self) -> int:
        """Studies whose reduced model is "no signal found"."""
        return sum(found.reduced == 0 for found in self.found)

    @property
    def errors(self) -> list[Found]:
        """Studies that ended with an error."""
        return [found for found in self.found if found.error]

    @property
    def passed(self) -> bool:
        """Whether no study failed and chance explains the rest."""
        return not self.errors and all(check.passed for check in self.checks)

    def _names(self, part: str) -> list[str]:
        return sorted({name for found in self.found for name in getattr(found, part)})

    def report(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": "null",
            "studies": len(self.found),
            "checks": [{**vars(check), "pass": check.passed} for check in self.checks],
            "no_signal_found": self.no_signal,
            "no_signal_found_by_reduction": self.empty_reductions,
            "errors": {found.seed: found.error for found in self.errors},
            "pass": self.passed,
        }


def _check(name: str, happened: Sequence[bool | None], expected: float) -> Check:
    low, high = (int(binom.ppf(q, len(happened), expected)) if happened else 0 for q in (TAIL, 1.0 - TAIL))
    return Check(name, sum(map(bool, happened)), len(happened), low, high)


PREDICTORS = ("age", "ast", "alt", "ggt", "albumin", "platelets", "total_bilirubin", "tumour_size_imaging", "afp")


def developed_models() -> tuple[Model, ...]:
    """A model whose predictors are reduced, and a Hybrid on its score; the LASSO alone decides whether there is any.

    At the usual false discovery rate almost nothing would be left to look at.
    """
    terms = tuple(Term(variable=name, coding="linear" if name == "age" else "log") for name in PREDICTORS)
    score, age = Term(variable="score.reduced", coding="linear"), Term(variable="age", coding="linear")
    loose, cohorts = Reduction(fdr=1.0, count=len(terms)), ("external-test",)
    return (
        Model(name="reduced", endpoint="mvi", cohort="train", predictors=terms, reduction=loose, evaluate=cohorts),
        Model(name="hybrid", endpoint="mvi", cohort="train", predictors=(score, age), evaluate=cohorts),
    )


def by_hybrid(study: Study) -> Comparison:
    """High and low by the Hybrid's frozen cut-off, in the cohort in which it is evaluated."""
    whole = study.comparisons[0]
    return whole.model_copy(update={"name": "rfs-by-hybrid", "group": "score.hybrid", "cohort": "external-test"})


def null_study() -> Study:
    """The demonstration's study with three hospitals to train and three to test, so that all sums are pooled."""
    study = load_study(shipped_study(Path("demo")))
    sites = {
        "train": ("hospital-a", "hospital-b", "hospital-c"),
        "internal-test": ("hospital-a", "hospital-b", "hospital-c"),
        "external-test": ("hospital-d", "external-e", "external-f"),
    }
    changed = {
        "cohorts": tuple(
            cohort.model_copy(update={"sites": sites.get(cohort.name, cohort.sites)}) for cohort in study.cohorts
        ),
        "analyses": tuple(analysis for analysis in study.analyses if analysis.statistic == "lasso"),
        "models": (*study.models, *developed_models()),
        "comparisons": (*study.comparisons, by_hybrid(study)),
        # What these tell is not looked at here, and takes most of the time.
        **dict.fromkeys(("subgroups", "recalibrations"), ()),
        **dict.fromkeys(("shift", "characteristics"), None),
    }
    null = study.model_copy(update=changed)
    if contradictions(null):
        raise FedmviError(901, f"{contradictions(null)[0][1]}")
    return null


def benchmark_null(seeds: Sequence[int], workers: int | None, done: Callable[[Found], None]) -> Null:
    """Conduct a study of nothing for every seed; `done` is told every study that has ended."""
    found = []
    for one in in_processes(study_of_nothing, seeds, workers):
        found.append(one)
        done(one)
    return Null(tuple(found))


def study_of_nothing(seed: int, *, dealt: bool = True) -> Found:
    """Draw the hospitals, deal outcomes out anew, and conduct the study over their own code in this process."""
    study = null_study()
    with TemporaryDirectory(prefix="fedmvi-null-") as name:
        folder = Path(name) / "sites"
        make_hospitals(load_consortium("demo"), folder, seed)
        try:
            return _found(seed, _conducted(study, folder, seed if dealt else None))
        except FedmviError as error:
            return Found(seed, {}, {}, 0, error=str(error))


def _conducted(study: Study, folder: Path, seed: int | None) -> Results:
    sites = find_sites(folder)
    for place, (name, site) in enumerate(sorted(sites.items())):
        if seed is not None:
            deal(site.folder / "patients.csv", np.random.default_rng([seed, place]))
        prepare(sites[name], study)
    rosters = {cohort.name: tuple(sorted(cohort.sites)) for cohort in study.cohorts}
    transport = InProcess({name: partial(answer_message, site.folder) for name, site in sites.items()})
    port = SitesPort(transport, Ticket(f"null-{seed}", study_fingerprint(study), rosters))
    return conduct(study, port, lambda _: None).results


def deal(path: Path, draw: np.random.Generator) -> None:
    """Exchange the patients' MVI among them, and their follow-up, and leave all else of their rows."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    header, patients = rows[0], rows[1:]
    for columns in DEALT:
        places = [header.index(column) for column in columns]
        cells = [[patient[place] for place in places] for patient in patients]
        for patient, k in zip(patients, draw.permutation(len(patients)), strict=True):
            for place, cell in zip(places, cells[k], strict=True):
                patient[place] = cell
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *patients])
    path.write_text(text.getvalue(), encoding="utf-8")


def _found(seed: int, results: Results) -> Found:
    held, log_rank = {}, {}
    for result in results.results:
        if result.statistic == "auc" and result.cohort == "external-test":
            held[result.id.split(".")[1]] = _holds_half(result)
        if result.statistic == "survival":
            log_rank[result.id.split(".")[1]] = next((e.p for e in result.estimates if e.name == "log_rank_chi2"), None)
    lasso = results.get("analysis.lasso")
    selected = sum(1 for e in lasso.estimates if e.name == "coef_at_lambda_min" and e.value)
    reduction = results.get("model.reduced.reduction")
    left = [e.value for e in reduction.estimates if e.name == "left"]
    reduced = int(left[-1] or 0) if reduction.status == "estimated" else None
    return Found(seed, held, log_rank, selected, reduced)


def _holds_half(result: Result) -> bool | None:
    area = next((e for e in result.estimates if e.name == "auc"), None)
    if area is None or area.low is None or area.high is None:
        return None
    return area.low <= 0.5 <= area.high
