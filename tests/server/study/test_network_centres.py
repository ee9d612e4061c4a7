"""server: the chosen network at each hospital, against scikit-learn on that hospital's own patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from common.federation.envelope import reported_error
from common.federation.learning import WHOLE, Member
from common.federation.query import Ask, Query
from common.federation.runner import Reply, conclude
from common.networks.architecture import architecture_of
from common.networks.network import build
from common.networks.weights import to_vector
from common.published.results import CohortFacts, Result, Results
from common.statistics.by_centre import CentreAlone
from common.statistics.roc import RocResult
from common.study.table import FloatArray
from server.report.figures import draw_all
from server.report.page import render
from server.study.network_centres import by_centre, frozen_cutoffs, publish_by_centre
from server.study.network_development import Developed
from server.study.network_evaluation import Evaluated
from server.study.network_scores import Frozen, Measured, score
from tests.server.study.bench_sites import TEST, BenchSite, port_of, sites_of, study_of

BOTH = ("t1", "t1v")
SITES = TEST
AREA = {name: RocResult(np.array([9, 1]), np.array([1, 9]), 0.9, 0.05, 1) for name in ("mean", "first")}


@dataclass(frozen=True)
class Seen:
    sites: Mapping[str, BenchSite]
    model: str
    cutoff: float
    result: Result
    asked: Sequence[Query]

    def rows(self, site: str) -> tuple[FloatArray, FloatArray]:
        """Scores and classes of a hospital's patients."""
        own = self.sites[site]
        score_ = own.bench.columns("test", self.model, own.table.patients)["mean"]
        return score_, own.table.endpoints["mvi"]

    def value(self, name: str, site: str) -> float:
        found = next(e.value for e in self.result.estimates if (e.name, e.term) == (name, site))
        assert found is not None
        return found


def see(folder: Path, refuse: Mapping[str, int]) -> Seen:
    """Score with random weights, choose a cut-off, and ask every hospital; `refuse` are hospitals' errors."""
    study = study_of({"combinations": [list(BOTH)]})
    network = study.networks[0]
    sites = sites_of(study, folder, patients=80, effect=0.1)
    port, asked = port_of(study, sites), []
    member = Member(WHOLE, to_vector(build(architecture_of(network, BOTH, 3), 1)))
    model = conclude(port, [score(network, BOTH, 0, "test", [member])])[0]
    scores = {s: sites[s].bench.columns("test", model, sites[s].table.patients)["mean"] for s in SITES}

    def smallest(cutoff: float) -> int:
        """Of all cells of all hospitals' tables."""
        parts = [np.bincount((scores[s] >= cutoff)[sites[s].table.endpoints["mvi"] == c], minlength=2)
                 for s in SITES for c in (0, 1)]  # fmt: skip
        return int(np.min(parts))

    cutoff = max((float(q) for q in np.quantile(np.concatenate(list(scores.values())), np.linspace(0.2, 0.8, 61))),
                 key=smallest)  # fmt: skip
    assert smallest(cutoff) >= study.limits.min_cell
    frozen = {(BOTH, 0): Frozen(model, np.array([cutoff, 0.5]))}
    developed = Developed(network, np.array([1]), {}, {(BOTH, 0): AREA}, {}, frozen, {}, nested=None, out_of_fold={})
    evaluated = [Evaluated((BOTH, 0), "test", Measured(AREA, {})), Evaluated((("t1",), 0), "test", Measured(AREA, {}))]

    class Listening:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            asked.extend(ask.question for ask in asks if isinstance(ask.question, Query))
            told = port.ask(asks)
            for reply in told:
                reply.update({s: reported_error(n, {}, s) for s, n in refuse.items()})  # type: ignore[union-attr]
            return told

    (seen,) = conclude(Listening(), [by_centre(study, [developed], [evaluated])])[0]
    assert len(frozen_cutoffs(study, [developed])) == 1
    return Seen(sites, model, cutoff, publish_by_centre(study, [seen])[0], asked)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return see(tmp_path_factory.mktemp("works"), {})


@pytest.mark.parametrize("site", SITES)
def test_each_hospital_has_the_numbers_of_its_own_patients(seen: Seen, site: str) -> None:
    score_, y = seen.rows(site)
    called = score_ >= seen.cutoff
    assert seen.result.id == "network.net.by-centre.test" and seen.result.status == "estimated"
    assert seen.value("auc", site) == pytest.approx(roc_auc_score(y, score_), abs=1e-12)
    assert seen.value("sensitivity", site) == pytest.approx(recall_score(y, called), abs=1e-12)
    assert seen.value("specificity", site) == pytest.approx(recall_score(1 - y, ~called), abs=1e-12)
    assert seen.value("accuracy", site) == pytest.approx(accuracy_score(y, called), abs=1e-12)
    assert seen.value("majority_class", site) == pytest.approx(max(y.mean(), 1 - y.mean()), abs=1e-12)


def test_one_model_is_asked_about_once_in_the_cohort(seen: Seen) -> None:
    assert len([query for query in seen.asked if isinstance(query, CentreAlone)]) == len(seen.asked) == 1


@pytest.mark.parametrize(
    ("refuse", "status"),
    [
        ({"d": 408}, "estimated"),
        ({"d": 408, "e": 438, "f": 438}, "not-estimable"),
        ({"d": 408, "e": 408, "f": 405}, "refused"),
    ],
)
def test_a_hospital_that_keeps_its_own_is_named_and_only_other_refusals_are_a_fault(
    refuse: Mapping[str, int], status: str, tmp_path: Path
) -> None:
    result = see(tmp_path, refuse).result
    assert result.status == status
    assert "Site d: FEDMVI-408" in result.note
    assert "d" not in {e.term for e in result.estimates}


def test_the_report_has_the_hospitals(seen: Seen) -> None:
    results = Results(
        study="tiny-network", title="A tiny network", description="", simulated=True, sources=[],
        study_fingerprint="a" * 64, code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, min_cell=5,
        cohorts=[CohortFacts(name="test", role="external-test", sites=list(SITES))], under_limits=[], variables={},
        results=[
            Result.model_validate({"id": "network.net.selection", "statistic": "network-selection", "how": "exact",
                                   "title": "Choice, Net", "cohort": "train", "sites": ["a", "b", "c"]}),
            seen.result,
        ],
    )  # fmt: skip
    page = render(results, None, draw_all(results))
    assert "Performance by hospital, cohort test" in page
    assert f"{seen.value('auc', 'd'):.3f}" in page
