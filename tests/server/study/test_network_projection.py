"""server: cohorts as a network sees them: what the sites project, and what is concluded, told and drawn of it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.learning import WHOLE, Member, ScorePatients
from common.federation.query import Ask, Query
from common.federation.runner import Reply, conclude
from common.networks.architecture import architecture_of
from common.networks.intensity import normalised
from common.networks.network import build
from common.networks.projection import DECIMALS, LARGEST, projected, projection_matrix
from common.networks.weights import to_vector
from common.published.results import CohortFacts, Result, Results
from common.statistics.projection import LevelSums
from common.statistics.roc import RocResult
from common.study.declarations import as_tuples
from common.study.protocol import Study
from common.study.recipe import Fold, Frame
from common.study.table import FloatArray
from server.report.figures import draw_all
from server.report.page import render
from server.report.tables import tables
from server.study.network_development import Developed
from server.study.network_evaluation import Evaluated
from server.study.network_projection import FEWEST, Compared, project_all, publish_projections
from server.study.network_scores import Frozen, Measured, score
from tests.server.report.test_every_number import unknown
from tests.server.study.bench_sites import STUDY, BenchSite, port_of

BOTH = ("t1", "t1v")
COHORTS = {"near": ("d", "e", "f"), "far": ("g", "h", "i"), "pair": ("j", "k")}
DIMENSIONS = 4


def study_with(**network: Any) -> Study:
    """Two cohorts that are compared, and one of two sites, of which nothing can be summed."""
    data = tomllib.loads(STUDY)
    data["cohorts"] = [data["cohorts"][0]]
    data["cohorts"] += [{"name": n, "role": "external-test", "sites": list(s)} for n, s in COHORTS.items()]
    projection = {"cohorts": ["near", "far", "pair"], "dimensions": DIMENSIONS}
    data["networks"][0] |= {
        "evaluate": list(COHORTS),
        "combinations": [list(BOTH)],
        "projection": projection,
        **network,
    }
    return Study.model_validate(as_tuples(data))


class Scanner(BenchSite):
    """A site of another scanner: the second sequence has stripes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in COHORTS["far"]:
            self._images[:, 1, :, ::4] += 8.0


@dataclass(frozen=True)
class Seen:
    """A network of random weights at all sites, what was concluded of it, and every query that was asked."""

    study: Study
    sites: Mapping[str, BenchSite]
    developed: Developed
    model: str
    compared: Compared
    asked: Sequence[Query]

    def rows(self, cohort: str, sequence: str) -> tuple[Any, Any, Any]:
        """Projections, grades and halves of a cohort's patients as the sites have them."""
        parts = []
        for name in COHORTS[cohort]:
            site = self.sites[name]
            columns = site.bench.columns(cohort, self.model, site.table.patients)
            x = np.column_stack([columns[f"{sequence}.{i + 1}"] for i in range(DIMENSIONS)])
            mvi = {"mvi": site.table.endpoints["mvi"]}
            fold = Fold(10, "mvi").apply(Frame({}, mvi, site.patients, site.keys)).columns["fold"]
            parts.append((x, site.table.endpoints["grade"], fold % 2))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    @property
    def results(self) -> list[Result]:
        return publish_projections(self.study, [self.developed], [self.compared])


def see(study: Study, folder: Path, refuse: Mapping[str, int] | None = None) -> Seen:
    """Score with random weights, and compare; `refuse` are errors of queries by name and endpoint."""
    network, member = study.networks[0], Member(WHOLE, to_vector(build(architecture_of(study.networks[0], BOTH, 3), 1)))
    sites = {s: Scanner(study, s, c.name, folder, 30) for c in study.cohorts for s in c.sites}
    port, asked = port_of(study, sites), []

    class Listening:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            asked.extend(ask.question for ask in asks if isinstance(ask.question, Query))
            errors = [(refuse or {}).get(f"{a.question.name} {getattr(a.question, 'endpoint', '')}") for a in asks]
            return [FedmviError(e, "here", endpoint="", cohort="", limit=5) if e else port.ask([a])[0]
                    for a, e in zip(asks, errors, strict=True)]  # fmt: skip

    scorings = [score(network, BOTH, 0, cohort, [member], project=cohort != "pair") for cohort in COHORTS]
    model = conclude(port, scorings)[0]
    area = {name: RocResult(np.array([9, 1]), np.array([1, 9]), 0.9, 0.05, 1) for name in ("mean", "first")}
    frozen = {(BOTH, 0): Frozen(model, None)}
    developed = Developed(network, np.array([1]), {}, {(BOTH, 0): area}, {}, frozen, {}, nested=None, out_of_fold={})
    evaluated = [Evaluated((BOTH, 0), cohort, Measured(area, {})) for cohort in COHORTS]
    compared = conclude(Listening(), [project_all(study, [developed], [evaluated])])[0][0]
    return Seen(study, sites, developed, model, compared, asked)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return see(study_with(), tmp_path_factory.mktemp("works"))


def test_a_projection_is_public_signs_that_keep_distances_about_as_they_are() -> None:
    matrix = projection_matrix("model", "t1", 512, 32)
    assert np.array_equal(np.abs(matrix), np.full((512, 32), 1 / np.sqrt(512)))
    assert not np.array_equal(matrix, projection_matrix("other", "t1", 512, 32))
    assert not np.array_equal(matrix, projection_matrix("model", "t2", 512, 32))
    vectors = np.random.default_rng(0).normal(size=(60, 512))
    kept = projected(vectors, "model", "t1", 32)
    far = np.linalg.norm(vectors[:30] - vectors[30:], axis=1) / np.sqrt(512 / 32)
    ratio = np.linalg.norm(kept[:30] - kept[30:], axis=1) / far
    # The squared ratio is about chi-square / 32, whose standard deviation is 0.25.
    assert abs(float(np.mean(ratio**2)) - 1.0) < 4 * 0.25 / np.sqrt(30) and 0.4 < ratio.min() < ratio.max() < 1.6
    assert np.array_equal(kept, np.round(kept, DECIMALS))


def test_no_network_puts_more_than_bounded_rounded_numbers_into_a_projection() -> None:
    odd = np.array([[np.nan] * 8, [np.inf] * 8, [1e300] * 8, [-1e300] * 8, [1e-9] * 8])
    kept = projected(odd, "model", "t1", 3)
    assert np.isfinite(kept).all() and np.abs(kept).max() <= LARGEST
    assert not kept[4].any()


def test_the_sites_project_the_mean_vector_of_the_slices(seen: Seen) -> None:
    net, site = build(architecture_of(seen.study.networks[0], BOTH, 3), 1).eval(), seen.sites["g"]
    learners = site.learners("far", seen.study.networks[0], BOTH)
    with torch.inference_mode():
        images = normalised(torch.from_numpy(learners.images), torch.from_numpy(learners.body))
        vectors = net.features(images.reshape(-1, 1, 32, 32)).reshape(30, 2, 3, -1).mean(dim=2).double().numpy()
    columns = site.bench.columns("far", seen.model, site.table.patients)
    for at, sequence in enumerate(BOTH):
        expected = vectors[:, at] @ projection_matrix(seen.model, sequence, 64, DIMENSIONS)
        made = np.column_stack([columns[f"{sequence}.{i + 1}"] for i in range(DIMENSIONS)])
        np.testing.assert_allclose(made, expected, atol=2e-4)
        assert expected.std(axis=0).min() > 1e-3, "rounding is far below what tells patients apart"


def test_means_regions_and_two_sample_areas_are_those_of_the_rows(seen: Seen) -> None:
    results = {r.id: r for r in seen.results}
    assert set(results) == {f"network.net.projection.{sequence}" for sequence in BOTH}
    for sequence in BOTH:
        near, far = seen.rows("near", sequence), seen.rows("far", sequence)
        found = {(e.name, e.term): e for e in results[f"network.net.projection.{sequence}"].estimates}
        both = np.vstack([near[0], far[0]])
        parts = [x[grade == g] for x, grade, _ in (near, far) for g in range(3)]
        pca = PCA(2).fit(np.vstack([part - part.mean(axis=0) for part in parts]))
        names = [f"{cohort}, {level}" for cohort in ("near", "far") for level in ("M0", "M1", "M2")]
        for name, part in zip(names, parts, strict=True):
            assert found["patients", name].value == len(part) >= FEWEST
            centre = (part.mean(axis=0) - both.mean(axis=0)) @ pca.components_.T
            for axis in (1, 2):
                told = found["centre", f"{name}, axis {axis}"]
                assert told.value is not None and told.low is not None
                assert abs(told.value) == pytest.approx(abs(centre[axis - 1]), abs=1e-9)
                spread = np.sqrt(pca.explained_variance_[axis - 1] * (len(both) - 1) / (len(both) - 6) / len(part))
                assert (told.value - told.low) / spread == pytest.approx(2.473, abs=0.01)  # Hotelling, 2 and 174
        areas, graded = [], []
        for half in (0, 1):
            train = [x[halves != half] for x, _, halves in (near, far)]
            label = np.repeat([0, 1], [len(x) for x in train])
            lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(np.vstack(train), label)
            scores = [lda.decision_function(x[halves == half]) for x, _, halves in (near, far)]
            areas.append(area_of(scores))
            grades = [grade[halves == half] for _, grade, halves in (near, far)]
            graded.append([area_of([s[y == g] for s, y in zip(scores, grades, strict=True)]) for g in range(3)])
        assert found["two_sample_auc", "near v far"].value == pytest.approx(np.mean(areas), abs=0.015)
        for g, level in enumerate(("M0", "M1", "M2")):
            told = found["two_sample_auc", f"near v far, {level}"].value
            assert told == pytest.approx(np.mean([half[g] for half in graded]), abs=0.03)


def test_the_distance_of_cohorts_is_that_of_their_rows_beside_that_of_halves(seen: Seen) -> None:
    excess = {}
    for result in seen.results:
        sequence, found = result.id.split(".")[-1], {(e.name, e.term): e.value for e in result.estimates}
        near, far = seen.rows("near", sequence), seen.rows("far", sequence)
        distance = found["frechet", "near v far"]
        assert distance == pytest.approx(rows_apart(near[0], far[0]), rel=1e-6)
        for cohort, (x, _, half) in (("near", near), ("far", far)):
            assert found["frechet_halves", cohort] == pytest.approx(rows_apart(x[half == 0], x[half == 1]), rel=1e-6)
        expected = found["frechet_expected", "near v far"]
        assert distance is not None and expected is not None and "frechet_halves" in result.note
        excess[sequence] = distance / expected
    assert excess["t1v"] > 5.0 > 3.0 > excess["t1"]


def rows_apart(one: FloatArray, other: FloatArray) -> float:
    covariances = [np.cov(rows.T) for rows in (one, other)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    apart = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return float(apart + np.trace(covariances[0] + covariances[1] - 2.0 * root))


def area_of(scores: Sequence[Any]) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(s) for s in scores]), np.concatenate(scores)))


def test_the_sequence_of_the_other_scanner_is_told_apart_and_the_alike_one_is_not(seen: Seen) -> None:
    areas = {r.id.split(".")[-1]: next(e for e in r.estimates if e.name == "two_sample_auc") for r in seen.results}
    alike, other = areas["t1"], areas["t1v"]
    assert alike.low is not None and alike.high is not None and alike.low <= 0.5 <= alike.high
    assert other.low is not None and other.low > 0.9


def test_a_cohort_of_two_sites_is_left_out_and_said_so(seen: Seen) -> None:
    assert not any(query.cohort == "pair" for query in seen.asked)
    assert all("Cohort pair is left out: fewer than 3 sites" in result.note for result in seen.results)
    assert all("of several only (FEDMVI-406)" in result.note for result in seen.results), "by which rule"


def test_without_enough_patients_of_a_grade_groups_are_by_presence_and_else_whole_cohorts(tmp_path: Path) -> None:
    by_presence = see(study_with(), tmp_path / "presence", {"query.level_sums grade": 405}).results[0]
    names = [e.term for e in by_presence.estimates if e.name == "patients"]
    assert names == [f"{cohort}, {level}" for cohort in ("near", "far") for level in ("absent", "present")]
    areas = [e.term for e in by_presence.estimates if e.name == "two_sample_auc"]
    assert areas == ["near v far", "near v far, absent", "near v far, present"]
    refused = {f"query.level_sums {endpoint}": 405 for endpoint in ("grade", "mvi")}
    whole = see(study_with(), tmp_path / "whole", refused).results[0]
    assert [(e.term, e.value) for e in whole.estimates if e.name == "patients"] == [("near", 90), ("far", 90)]
    nothing = see(study_with(), tmp_path / "nothing", {"query.half_products ": 404}).results
    assert [result.status for result in nothing] == ["refused", "refused"]
    assert all("404" in result.note for result in nothing)


def test_where_sequences_may_lack_the_number_who_lack_one_cannot_be_worked_out(seen: Seen, tmp_path: Path) -> None:
    masked = see(study_with(missing="mask"), tmp_path)
    for rounded, exact in zip(masked.results, seen.results, strict=True):
        assert rounded.n is None and exact.n == 180
        sizes = [e.value for e in rounded.estimates if e.name == "patients"]
        assert sizes and all(value is not None and value % 5 == 0 for value in sizes)


def test_only_the_chosen_network_projects_and_only_what_the_study_says(seen: Seen, tmp_path: Path) -> None:
    sums = [query for query in seen.asked if isinstance(query, LevelSums)]
    assert {(q.cohort, q.endpoint) for q in sums} == {("near", "grade"), ("far", "grade")}
    bare = study_with(projection=None)
    site = BenchSite(bare, "d", "near", tmp_path, 30)
    member = Member(WHOLE, to_vector(build(architecture_of(bare.networks[0], BOTH, 3), 1)))
    with pytest.raises(FedmviError, match="414"):
        site.perform(ScorePatients("near", "net", BOTH, 0, (member,), project=True))
    assert project_all_of(bare, seen) is None


def project_all_of(study: Study, seen: Seen) -> Compared | None:
    developed = replace(seen.developed, network=study.networks[0])
    found: list[Compared | None] = conclude(port_of(study, {}), [project_all(study, [developed], [[]])])[0]
    return found[0]


def test_report_figure_and_tables_tell_what_the_results_do(seen: Seen) -> None:
    cohorts = [CohortFacts(name=c.name, role=c.role, sites=list(c.sites)) for c in seen.study.cohorts]
    text = dict.fromkeys(("study_fingerprint", "code_fingerprint", "preparation_fingerprint"), "0" * 64)
    base = {"id": "network.net.selection", "statistic": "network-selection", "title": "Choice of the sequences, Net",
            "cohort": "train", "sites": ["a", "b", "c"], "how": "federated", "status": "not-estimable"}  # fmt: skip
    results = Results(
        study="tiny", title="Tiny", description="", simulated=True, sources=[], min_cell=5, cohorts=cohorts,
        under_limits=[], variables={}, results=[Result.model_validate(base), *seen.results], **text,
    )  # fmt: skip
    pictures = draw_all(results)
    page = render(results, None, pictures)
    for result in seen.results:
        assert f'id="{result.id}"' in page and pictures[result.id].svg.count("<path") > 12
    # The number of sites is counted by the page itself.
    assert [one for one in unknown(page, results.model_dump(mode="json")) if "sites took part" not in one] == []
    rows = tables(results)["network_projection"].splitlines()
    assert len(rows) == 1 + sum(len(result.estimates) for result in seen.results)
    assert any(",two_sample_auc,near v far," in row for row in rows)
