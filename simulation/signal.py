"""simulation: how well plain models predict MVI from a consortium's pictures, beside the best that is possible.

For every seed, the hospitals are drawn anew and every patient of the training and test groups is pictured around the
tumour, in register up to 1.5 mm as after a good registration. Three models are fitted on one group: *clinical*, a
logistic regression on the preoperative variables of Table 1, tumour size and the traits, which uses no picture;
*radiomics*, a LASSO logistic regression on plain measurements (`imaging/reading.py`); and *hybrid*, which adds the
cross-validated score of *radiomics* to *clinical*. What pictures are worth is the difference between *hybrid* and
*clinical*. Their AUC is given for every other group.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.parallel import in_processes
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium
from simulation.cohorts.patients import Patients
from simulation.cohorts.published import MARGINS
from simulation.cohorts.truth import attainable
from simulation.hospitals import Appointment, appointments
from simulation.imaging.examine import examine
from simulation.imaging.reading import measurements

VARIABLES = {"clinical": "findings", "radiomics": "image", "hybrid": "all"}
"""The models, each with the set of variables whose best AUC stands beside it."""
_AROUND_MM = 14.0  # the ring, and what a blur reaches
_REGISTERED_MM = 1.5
_FOLDS = 5
_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Reached:
    """The AUC of one model in one group, by seed.

    Attributes
    ----------
    label
        Group.
    model
        `clinical`, `radiomics` or `hybrid`.
    patients
        In the group.
    aucs
        One a seed.
    best
        AUC of the latent truth of the same variables in the same patients, one a seed.
    """

    label: str
    model: str
    patients: int
    aucs: tuple[float, ...]
    best: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean AUC over seeds."""
        return fmean(self.aucs)

    @property
    def error(self) -> float | None:
        """Standard error of that mean; None for one seed."""
        return stdev(self.aucs) / len(self.aucs) ** 0.5 if len(self.aucs) > 1 else None


def measure_signal(
    consortium: Consortium,
    seeds: Sequence[int],
    train: str,
    labels: Sequence[str],
    workers: int | None,
    done: Callable[[int], None],
) -> tuple[Reached, ...]:
    """Fit and test the models for every seed.

    Parameters
    ----------
    consortium
        One with images and labelled groups.
    seeds
        At least one.
    train
        The group that models are fitted on.
    labels
        Groups to test.
    workers
        Processes.
    done
        Told every seed that is finished.

    Raises
    ------
    FedmviError
        812 where the consortium has no images, or lacks a group, or a tested group has one class only.
    """
    known = {group.label for site in consortium.sites for group in site.groups}
    absent = [f"a group '{label}'" for label in (train, *labels) if label not in known]
    absent += ["images"] if consortium.imaging is None else []
    if absent:
        raise FedmviError(812, name=consortium.name, absent=", ".join(absent))
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for seed in seeds:
        for key, value in _one_seed(consortium, seed, train, labels, workers).items():
            found.setdefault(key, []).append(value)
        done(seed)
    return tuple(
        Reached(label, model, rows[0][2], tuple(row[0] for row in rows), tuple(row[1] for row in rows))
        for (label, model), rows in found.items()
    )


def _one_seed(
    consortium: Consortium, seed: int, train: str, labels: Sequence[str], workers: int | None
) -> dict[tuple[str, str], tuple[float, float, int]]:
    drawn = [draw_site(consortium, site, seed) for site in consortium.sites]
    wanted = {train, *labels}
    chosen = [i for i, label in enumerate(label for p in drawn for label in p.labels) if label in wanted]
    booked = appointments(consortium, seed, drawn)
    read = list(in_processes(_read, [booked[i] for i in chosen], workers))
    features = np.array([list(row.values()) for row in read])
    label = np.array([label for p in drawn for label in p.labels])[chosen]
    present = np.concatenate([p.present for p in drawn])[chosen]
    clinical = np.concatenate([_findings(consortium, p) for p in drawn])[chosen]
    scores = _scores(features, clinical, present, label == train)
    rows = attainable(consortium, drawn, seed).rows
    # A group of several hospitals has a row of its own, before those of its parts.
    best = {(row.label, row.variables): row.auc for row in reversed(rows)}
    out = {}
    for tested in labels:
        inside = label == tested
        for model, score in scores.items():
            ideal = best[tested, VARIABLES[model]]
            if ideal is None:
                raise FedmviError(812, name=consortium.name, absent=f"patients with and without MVI in {tested}")
            out[tested, model] = (_auc(score[inside], present[inside]), ideal, int(inside.sum()))
    return out


def _read(booked: Appointment) -> dict[str, float]:
    imaging = booked.imaging.model_copy(update={"motion_mm": _REGISTERED_MM, "readers": 1})
    return measurements(examine(booked.findings, imaging, booked.site.scanner, booked.stream(), _AROUND_MM))


def _findings(consortium: Consortium, patients: Patients) -> _Floats:
    """Preoperative variables of Table 1 (laboratory values by their logarithm), size and traits, (n, k)."""
    columns = []
    for name, margin in MARGINS.items():
        if margin.preoperative:
            values = patients.values["sex_female" if name == "sex" else name]
            columns.append(values if margin.cutoff is None else np.log(values))
    columns.append(np.log(patients.values["tumour_size_imaging"]))
    columns += [patients.values[name] for name in consortium.clinical.traits]
    return np.column_stack(columns)


def _scores(features: _Floats, clinical: _Floats, present: _Bools, train: _Bools) -> dict[str, _Floats]:
    """The models' log odds of every patient, fitted on the training patients."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    lasso = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=np.logspace(-2, 0, 6), cv=_FOLDS, l1_ratios=(1.0,), solver="liblinear", scoring="neg_log_loss",
            use_legacy_attributes=False,
        ),
    )  # fmt: skip
    with warnings.catch_warnings():
        # A path's weakest penalties may stop at the limit of iterations; the cross-validation does not choose them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        held_out = cross_val_predict(lasso, features[train], present[train], cv=_FOLDS, method="decision_function")
        lasso.fit(features[train], present[train])
    radiomics = lasso.decision_function(features)
    design = np.column_stack([radiomics, clinical])
    design[train, 0] = held_out
    scores = {"radiomics": radiomics}
    for model, fitted, asked in (
        ("clinical", clinical, clinical),
        ("hybrid", design, np.column_stack([radiomics, clinical])),
    ):
        logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1.0)).fit(fitted[train], present[train])
        scores[model] = np.asarray(logistic.decision_function(asked))
    return {model: scores[model] for model in VARIABLES}


def _auc(score: _Floats, present: _Bools) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(present, score))
