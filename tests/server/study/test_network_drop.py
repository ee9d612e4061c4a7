"""server: what the fall of a chosen network is made of, against scikit-learn and plain sums over all patients' rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from common.errors import FedmviError
from common.federation.learning import WHOLE, Member, left_out_parts
from common.federation.runner import conclude
from common.networks.architecture import architecture_of
from common.networks.network import build
from common.networks.weights import shift_logits, to_vector
from common.published.results import CohortFacts, Estimate, Result, Results
from common.statistics.distributions import Z975
from common.study.protocol import Study
from common.study.table import FloatArray
from server.report.figures import draw_all
from server.report.page import render
from server.report.tables import tables
from server.study.network_development import Developed
from server.study.network_drop import publish_drops, split_drops
from server.study.network_evaluation import Evaluated
from server.study.network_results import publish_all
from server.study.network_scores import Frozen, Measured, MeasuredAlone, measure, measure_alone, score
from tests.server.study.bench_sites import TEST, TRAIN, BenchSite, port_of, sites_of, study_of

BOTH = ("t1", "t1v")
CUTOFF, PATIENTS = 0.5, 60


def centred(study: Study, sites: Mapping[str, BenchSite]) -> Callable[[float], Any]:
    """Random weights whose scores go from low to high, around one half; others that call more patients positive."""
    network = study.networks[0]
    architecture = architecture_of(network, BOTH, 3)
    net = build(architecture, 3)
    net.head.weight.data *= 150.0
    model = conclude(port_of(study, sites), [score(network, BOTH, 0, "test", [Member(WHOLE, to_vector(net))])])[0]
    own = sites["d"]
    middle = float(np.median(own.bench.columns("test", model, own.table.patients)["mean"]))
    odds = np.log(middle / (1.0 - middle))
    return lambda more: shift_logits(architecture, to_vector(net), np.array([0.0, 1.0, 1.0]) * (more - odds))


@dataclass(frozen=True)
class Fallen:
    """A network of random weights in training, out of fold, and in the test cohort."""

    study: Study
    sites: Mapping[str, BenchSite]
    models: Mapping[str, str]
    developed: Developed
    evaluated: Evaluated
    results: Mapping[str, Result]

    def rows(self, cohort: str, names: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
        """Scores and classes of the patients of some sites."""
        own = [self.sites[name] for name in names]
        score_ = [site.bench.columns(cohort, self.models[cohort], site.table.patients)["mean"] for site in own]
        present = [site.table.endpoints["mvi"] for site in own]
        flat, y = np.concatenate(score_), np.concatenate(present)
        return flat[~np.isnan(flat)], y[~np.isnan(flat)]

    def told(self, result: str, name: str, term: str = "") -> Estimate:
        found = self.results[f"network.net.drop.{result}"].estimates
        return next(e for e in found if (e.name, e.term) == (name, term))

    def number(self, result: str, name: str, term: str = "") -> float:
        value = self.told(result, name, term).value
        assert value is not None, (name, term)
        return value


def fall(folder: Path, network: Mapping[str, Any], test: tuple[str, ...] = TEST, *, patients: int = PATIENTS) -> Fallen:
    """Score with random weights, one set for each part of training, and let the fall be split and published."""
    study = study_of({"combinations": [list(BOTH)], **network})
    train, external = study.cohorts
    study = study.model_copy(update={"cohorts": (train, external.model_copy(update={"sites": test}))})
    declared, sites = study.networks[0], sites_of(study, folder, patients=patients, effect=0.3)
    port, weights = port_of(study, sites), centred(study, sites)
    parts = [Member(part.fold, weights(0.1 * i), without=part.without)
             for i, part in enumerate(left_out_parts(declared, TRAIN))]  # fmt: skip
    own = conclude(port, [score(declared, BOTH, 0, "train", parts)])[0]
    whole = conclude(port, [score(declared, BOTH, 0, "test", [Member(WHOLE, weights(0.0))])])[0]
    cuts = np.array([CUTOFF, CUTOFF])
    in_training = conclude(port, [measure(study, declared, "train", Frozen(own, cuts), 3)])[0]
    asked = measure if len(test) >= study.limits.min_sites else measure_alone
    there: Measured | MeasuredAlone = conclude(port, [asked(study, declared, "test", Frozen(whole, cuts), 3)])[0]
    developed = Developed(
        declared, np.array([1, 1, 1]), {}, {(BOTH, 0): in_training.areas}, {BOTH: in_training},
        {(BOTH, 0): Frozen(whole, cuts)}, {}, {BOTH: own}, None,
    )  # fmt: skip
    return split(
        Fallen(study, sites, {"train": own, "test": whole}, developed, Evaluated((BOTH, 0), "test", there), {})
    )


def split(fallen: Fallen) -> Fallen:
    """With the results of the split."""
    study, networks, evaluated = fallen.study, [fallen.developed], [[fallen.evaluated]]
    steps = conclude(port_of(study, fallen.sites), [split_drops(study, networks, evaluated)])[0]
    published = publish_all(study, networks, evaluated)
    published += publish_drops(study, steps, published)
    return replace(fallen, results={result.id: result for result in published})


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Fallen:
    return fall(tmp_path_factory.mktemp("pooled"), {})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Fallen:
    return fall(tmp_path_factory.mktemp("alone"), {}, ("d", "e"))


def concordance(risk: FloatArray) -> float:
    """Of every pair of patients: the chance that the one with the endpoint has the higher risk."""
    weight = risk[:, None] * (1 - risk[None, :])
    np.fill_diagonal(weight, 0)
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float((weight * right).sum() / weight.sum())


def promised(risk: FloatArray) -> float:
    """Balanced accuracy at the cut-off if everybody's risk were right."""
    positive = risk >= CUTOFF
    return float((risk @ positive / risk.sum() + (1 - risk) @ ~positive / (1 - risk).sum()) / 2)


def delong(risk: FloatArray, y: FloatArray) -> float:
    """Standard error of the area by placements of every patient."""
    a, b = risk[y == 1], risk[y == 0]
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    return float(np.sqrt(wins.mean(axis=1).var(ddof=1) / a.size + wins.mean(axis=0).var(ddof=1) / b.size))


def test_the_steps_are_those_of_the_pooled_rows(pooled: Fallen) -> None:
    oof, label = pooled.rows("train", TRAIN)
    risk, y = pooled.rows("test", TEST)
    assert np.ptp(risk) > 0.5, "scores that differ, so that the risks promise something"
    assert pooled.number("test", "out_of_fold", "auc") == pytest.approx(roc_auc_score(label, oof), abs=1e-12)
    assert pooled.number("test", "observed", "auc") == pytest.approx(roc_auc_score(y, risk), abs=1e-12)
    assert pooled.number("test", "expected", "auc") == pytest.approx(concordance(risk), abs=0.002)
    term = "balanced_accuracy"
    assert pooled.number("test", "out_of_fold", term) == pytest.approx(
        balanced_accuracy_score(label, oof >= CUTOFF), abs=1e-12
    )
    assert pooled.number("test", "observed", term) == pytest.approx(
        balanced_accuracy_score(y, risk >= CUTOFF), abs=1e-12
    )
    assert pooled.number("test", "expected", term) == pytest.approx(promised(risk), abs=0.005)
    assert pooled.number("test", "accuracy") == pytest.approx(np.mean((risk >= CUTOFF) == y))
    assert pooled.number("test", "majority_class") == pytest.approx(max(y.mean(), 1 - y.mean()))
    result = pooled.results["network.net.drop.test"]
    assert (result.statistic, result.how, result.n, result.events) == (
        "performance-drop",
        "binned(100)",
        3 * PATIENTS,
        y.sum(),
    )


@pytest.mark.parametrize("term", ["auc", "balanced_accuracy"])
def test_differences_are_of_their_two_sides_and_have_both_errors(pooled: Fallen, term: str) -> None:
    steps = [pooled.told("test", name, term) for name in ("out_of_fold", "expected", "observed")]
    for name, before, after in zip(("case_mix", "remaining"), steps, steps[1:], strict=False):
        told = pooled.told("test", name, term)
        assert None not in (told.value, told.low, told.high, before.value, after.value)
        assert told.value == pytest.approx(before.value - after.value)  # type: ignore[operator]
        assert told.low < told.value < told.high  # type: ignore[operator]
    oof, label = pooled.rows("train", TRAIN)
    expected = pooled.told("test", "expected", "auc")
    half = np.hypot(Z975 * delong(oof, label), (expected.high - expected.low) / 2)  # type: ignore[operator]
    told = pooled.told("test", "case_mix", "auc")
    assert told.high - told.low == pytest.approx(2 * half, rel=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("term", ["auc", "balanced_accuracy"])
def test_apparent_performance_is_not_asked_for_and_that_is_said(pooled: Fallen, term: str) -> None:
    for name in ("apparent", "optimism"):
        told = pooled.told("test", name, term)
        assert told.value is None and "by design" in told.note


def test_hospitals_that_answer_alone_tell_the_steps_of_their_own_patients(alone: Fallen) -> None:
    assert "network.net.drop.test" not in alone.results
    oof, label = alone.rows("train", TRAIN)
    for site in ("d", "e"):
        risk, y = alone.rows("test", (site,))
        part = f"test.{site}"
        assert alone.results[f"network.net.drop.{part}"].how == "site-alone"
        assert alone.number(part, "out_of_fold", "auc") == pytest.approx(roc_auc_score(label, oof), abs=1e-12)
        assert alone.number(part, "observed", "auc") == pytest.approx(roc_auc_score(y, risk), abs=1e-12)
        assert alone.number(part, "expected", "auc") == pytest.approx(concordance(risk), abs=0.003)
        # In whole patients of the smaller class.
        assert alone.number(part, "expected", "balanced_accuracy") == pytest.approx(promised(risk), abs=0.04)
        table = np.array([[np.sum((y == c) & ((risk >= CUTOFF) == p)) for p in (0, 1)] for c in (0, 1)])
        told = alone.told(part, "observed", "balanced_accuracy")
        assert told.value is None or table.min() >= alone.study.limits.min_cell
        if told.value is not None:
            assert told.value == pytest.approx(balanced_accuracy_score(y, risk >= CUTOFF), abs=1e-12)


def test_of_the_published_development_what_is_out_of_fold_is_unknown_and_that_is_said(tmp_path: Path) -> None:
    fallen = fall(tmp_path, {"development": "published"}, patients=80)
    tenth, label = fallen.rows("train", TRAIN)
    assert 0 < tenth.size < 80, "who stopped the training, and nobody else"
    assert fallen.number("test", "apparent", "auc") == pytest.approx(roc_auc_score(label, tenth), abs=1e-12)
    assert "stopped" in fallen.told("test", "apparent", "auc").note
    for name in ("out_of_fold", "optimism", "case_mix"):
        told = fallen.told("test", name, "auc")
        assert told.value is None and "published development" in told.note
    assert fallen.told("test", "remaining", "auc").value is not None


def hide(fallen: Fallen) -> Fallen:
    """One count of the test cohort's table is small."""
    measured = fallen.evaluated.found
    assert isinstance(measured, Measured)
    table = np.array([[42, 3], [75, 60]])
    changed = replace(measured, tables={**measured.tables, "mean": table})
    return split(replace(fallen, evaluated=replace(fallen.evaluated, found=changed)))


def uncut(fallen: Fallen) -> Fallen:
    """No cut-off could be chosen."""
    frozen = {one: Frozen(f.model, None) for one, f in fallen.developed.frozen.items() if isinstance(f, Frozen)}
    (measured,), there = fallen.developed.measured.values(), fallen.evaluated.found
    assert isinstance(measured, Measured) and isinstance(there, Measured)
    bare = [replace(one, tables={k: v for k, v in one.tables.items() if k.endswith(".grade")})
            for one in (measured, there)]  # fmt: skip
    developed = replace(fallen.developed, frozen=frozen, measured={BOTH: bare[0]})
    return split(replace(fallen, developed=developed, evaluated=replace(fallen.evaluated, found=bare[1])))


@pytest.mark.parametrize(
    ("change", "steps", "why"),
    [
        (hide, ("observed",), "a count is small"),
        (uncut, ("out_of_fold", "expected", "observed"), "no cut-off"),
    ],
)
def test_what_may_not_be_shown_or_is_not_there_is_named_and_areas_stand(
    pooled: Fallen, change: Callable[[Fallen], Fallen], steps: tuple[str, ...], why: str
) -> None:
    changed = change(pooled)
    for name in (*steps, "remaining"):
        told = changed.told("test", name, "balanced_accuracy")
        assert told.value is None and why in told.note
    assert "accuracy" not in {e.name for e in changed.results["network.net.drop.test"].estimates}
    for name in ("expected", "observed", "remaining"):
        assert changed.number("test", name, "auc") == pytest.approx(pooled.number("test", name, "auc"), abs=1e-12)


def test_where_nothing_could_be_scored_the_fall_says_so(pooled: Fallen) -> None:
    failed = split(replace(pooled, evaluated=replace(pooled.evaluated, found=FedmviError(407, cohort="test"))))
    result = failed.results["network.net.drop.test"]
    assert result.status == "refused" and "FEDMVI-407" in result.note and not result.estimates


def test_table_and_page_have_the_fall_where_those_of_models_are(pooled: Fallen) -> None:
    results = Results(
        study="tiny-network", title="A tiny network", description="", simulated=True, sources=[],
        study_fingerprint="a" * 64, code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, min_cell=5,
        cohorts=[CohortFacts(name="test", role="external-test", sites=list(TEST))], under_limits=[], variables={},
        results=[pooled.results["network.net.drop.test"]],
    )  # fmt: skip
    (row,) = [line for line in tables(results)["performance_drop"].splitlines() if ",remaining,auc," in line]
    assert row.startswith("network.net.drop.test,") and repr(pooled.number("test", "remaining", "auc")) in row
    page = render(results, None, draw_all(results))
    title = "What the fall of Net on T1, T1V is made of, cohort test"
    assert "What a drop is made of" in page and page.count(f"<caption><span>{title}") == 1
    assert "surer of its scores than it may be" in page and "Accuracy at the frozen cut-off" in page
