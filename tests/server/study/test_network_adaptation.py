"""server: networks adapted to external hospitals: what is frozen, asked, concluded, published and shown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.learning import ScorePatients
from common.federation.query import Ask, Query, Receipt, Task
from common.federation.runner import Reply, conclude
from common.networks.adapting import ADAPTED, TOLD, UNADAPTED, AdaptNetwork
from common.published.results import CohortFacts, Estimate, Result, Results
from common.study.contradictions import contradictions
from common.study.declarations import as_tuples
from common.study.protocol import Study
from server.report.adaptations import adaptation_sentence
from server.report.figures import draw_all
from server.report.page import render
from server.report.tables import tables
from server.study.checkpoints import MemoryCheckpoints
from server.study.network_adaptation import AdaptedCohort, Areas, Rule, adapt_all, frozen_models, make_rules
from server.study.network_adaptation_results import publish_adaptations
from server.study.network_development import Developed, develop_all
from server.study.network_evaluation import Evaluated, evaluate_all
from server.study.network_scores import MeasuredAlone
from tests.server.report.test_every_number import unknown
from tests.server.study.bench_sites import STUDY, BenchSite, port_of

COHORTS = {"far": ("d", "e", "f"), "one": ("g",)}
TELLS = ("d", "g")


def study_with(**network: Any) -> Study:
    data = tomllib.loads(STUDY)
    data["cohorts"] = [data["cohorts"][0]]
    data["cohorts"] += [{"name": n, "role": "external-test", "sites": list(s)} for n, s in COHORTS.items()]
    data["networks"][0] |= {
        "evaluate": list(COHORTS), "combinations": [["t1v"]], "normalisation": "batch",
        "adaptation": {"cohorts": list(COHORTS)}, **network,
    }  # fmt: skip
    return Study.model_validate(as_tuples(data))


class Scanner(BenchSite):
    """A site of another scanner, where lesions are dark."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bench._alone = self.name in TELLS
        if self.name not in "abc":
            self._images[:, 1, :, ::2] += 12.0


@dataclass(frozen=True)
class Seen:
    """What was asked and concluded."""

    study: Study
    sites: Mapping[str, BenchSite]
    developed: Sequence[Developed | FedmviError]
    rules: Sequence[Rule | FedmviError | None]
    evaluated: Sequence[Sequence[Evaluated]]
    adapted: Sequence[Sequence[AdaptedCohort]]
    asked: Sequence[Query | Task]

    @property
    def results(self) -> list[Result]:
        return publish_adaptations(self.study, self.rules, self.adapted)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    study, folder = study_with(), tmp_path_factory.mktemp("works")
    sites = {s: Scanner(study, s, c.name, folder, 40, 2.0) for c in study.cohorts for s in c.sites}
    port, asked, kept = port_of(study, sites), list[Query | Task](), MemoryCheckpoints()

    class Listening:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            asked.extend(ask.question for ask in asks)
            return port.ask(asks)

    developed = conclude(port, [develop_all(study, kept, lambda _: None)])[0]
    rules = conclude(port, [make_rules(study, developed, kept)])[0]
    evaluated = conclude(port, [evaluate_all(study, developed, kept)])[0]
    adapted = conclude(Listening(), [adapt_all(study, rules)])[0]
    return Seen(study, sites, developed, rules, evaluated, adapted, asked)


def rule_of(seen: Seen) -> Rule:
    (rule,) = seen.rules
    assert isinstance(rule, Rule)
    return rule


def test_the_reference_counts_the_out_of_fold_scores_of_all_training_patients(seen: Seen) -> None:
    reference, (developed,) = rule_of(seen).task.reference, seen.developed
    assert isinstance(developed, Developed)
    scores, mvi = [], []
    for name in "abc":
        site = seen.sites[name]
        scores.append(site.bench.columns("train", developed.out_of_fold["t1v",], site.table.patients)["mean"])
        mvi.append(site.table.endpoints["mvi"])
    for label, row in enumerate(reference.counts):
        assert np.array_equal(reference.binned(np.concatenate(scores)[np.concatenate(mvi) == label]), row)


def test_network_and_rule_are_frozen_together_beside_the_network_as_trained(seen: Seen) -> None:
    task, (developed,) = rule_of(seen).task, seen.developed
    assert isinstance(developed, Developed)
    assert frozen_models(seen.rules) == {task.model} and task.model not in developed.models
    plain = ScorePatients("", task.network, task.combination, task.seed, (task.member,))
    assert plain.model in developed.models, "the weights are those that were frozen"
    assert replace(task, cohort="far").model == task.model
    assert replace(task, patients=21).model != task.model


def test_each_cohort_is_adapted_once_and_before_any_of_its_outcomes_is_asked(seen: Seen) -> None:
    for cohort in COHORTS:
        mine = [one for one in seen.asked if getattr(one, "cohort", "") == cohort]
        assert [isinstance(one, AdaptNetwork) for one in mine] == [True, *[False] * (len(mine) - 1)]


def test_areas_with_and_without_are_those_of_the_patients_scores(seen: Seen) -> None:
    model, ((far, _),) = rule_of(seen).task.model, seen.adapted
    assert isinstance(far.found, Areas)
    columns = [s.bench.columns("far", model, s.table.patients) for s in map(seen.sites.get, COHORTS["far"]) if s]
    mvi = np.concatenate([seen.sites[s].table.endpoints["mvi"] for s in COHORTS["far"]])
    for i, name in enumerate((ADAPTED, UNADAPTED)):
        scores = np.concatenate([column[name] for column in columns])
        assert far.found.compared.rocs_[i].auc_ == pytest.approx(roc_auc_score(mvi, scores))
    (mine,) = [e for e in seen.evaluated[0] if e.cohort == "far"]
    assert far.found.compared.rocs_[1].auc_ == mine.found.areas["mean"].auc_, "without: as the evaluation has it"  # type: ignore[union-attr]


def test_only_who_tells_of_himself_says_whether_he_was_adapted(seen: Seen) -> None:
    ((far, one),) = seen.adapted
    assert set(far.told) == {"d"} and set(one.told) == {"g"}
    first, alone = seen.results
    decisions = {e.term: e for e in first.estimates if e.name == "adapted"}
    assert {site: e.value is None for site, e in decisions.items()} == {"d": False, "e": True, "f": True}
    named = [(e.name, e.term) for e in first.estimates if e.name != "adapted"]
    assert [(e.name, e.term) for e in alone.estimates] == [*named, ("adapted", "g")], (
        "before, after and what lies between"
    )


def test_a_hospital_by_itself_tells_both_areas_and_their_difference_in_the_same_patients(seen: Seen) -> None:
    """The area as trained is that of the evaluation; in this one lesions are dark, and adapted scores are others."""
    ((_, one),), alone = seen.adapted, seen.results[1]
    assert isinstance(one.found, Mapping) and set(one.found) == {"g"}
    found = {(e.name, e.term): e for e in alone.estimates}
    (trained,) = [e.found for e in seen.evaluated[0] if e.cohort == "one"]
    assert isinstance(trained, MeasuredAlone) and found["auc", "before"].value == trained.areas["mean"]["g"]["auc"][0]
    model, site = rule_of(seen).task.model, seen.sites["g"]
    scores, mvi = site.bench.columns("one", model, site.table.patients), site.table.endpoints["mvi"]
    after, before = (roc_auc_score(mvi, scores[name]) for name in (ADAPTED, UNADAPTED))
    told = found["auc_difference", ""]
    assert told.value == pytest.approx(after - before) and told.value == found["auc", "after"].value - before
    assert told.low is not None and told.high is not None and told.low <= told.value <= told.high


def test_a_hospital_that_does_not_speak_for_itself_is_in_the_results_with_the_rule_that_forbids_it(seen: Seen) -> None:
    refused = AdaptedCohort("one", {}, {"g": FedmviError(408, site="g")})
    (result,) = publish_adaptations(seen.study, seen.rules, [[refused]])
    assert (result.status, result.sites, result.estimates) == ("refused", ["g"], []) and "FEDMVI-408" in result.note


def test_report_and_tables_tell_what_the_results_do_once_for_networks_and_once_for_hospitals(seen: Seen) -> None:
    cohorts = [CohortFacts(name=c.name, role=c.role, sites=list(c.sites)) for c in seen.study.cohorts]
    text = dict.fromkeys(("study_fingerprint", "code_fingerprint", "preparation_fingerprint"), "0" * 64)
    base = {"id": "network.net.selection", "statistic": "network-selection", "title": "Choice of the sequences, Net",
            "cohort": "train", "sites": ["a", "b", "c"], "how": "federated", "status": "not-estimable"}  # fmt: skip
    results = Results(
        study="tiny", title="Tiny", description="", simulated=True, sources=[], min_cell=5, cohorts=cohorts,
        under_limits=[], variables={}, results=[Result.model_validate(base), *seen.results], **text,
    )  # fmt: skip
    page = render(results, None, draw_all(results))
    assert all(page.count(escape(adaptation_sentence(one))) == 2 for one in seen.results), "first lines and section"
    assert page.count(">As adapted<") == 4 and page.count("as adapted less as trained") == 2
    for result in seen.results:
        assert page.count(f'id="{result.id}"') == 1
    counted = ("sites took part", "95 %", "95 in 'Meas")
    assert [u for u in unknown(page, results.model_dump(mode="json")) if not any(c in u for c in counted)] == []
    rows = tables(results)["network_adaptation"].splitlines()
    assert len(rows) == 1 + sum(len(result.estimates) for result in seen.results)


def _measured(site: str, low: float, high: float, *, adapted: float = 1.0) -> Result:
    note = "adapted: its scores" if adapted else "not adapted: too few patients"
    parts = [
        Estimate(name="auc", term="before", value=0.71, low=0.6, high=0.8),
        Estimate(name="auc", term="after", value=0.71 + (low + high) / 2, low=0.7, high=0.85),
        Estimate(name="auc_difference", value=(low + high) / 2, low=low, high=high),
        Estimate(name="adapted", term=site, value=adapted, note=note),
    ]
    return Result(
        id=f"network.net.adaptation.one.{site}", statistic="network-adaptation", title="Adapted", cohort="one",
        sites=[site], how="site-alone", estimates=parts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (_measured("g", 0.01, 0.13), "the network was adapted to its images without labels: the AUC went from 0.710 to "
         "0.780 (difference 0.070, 95 % CI 0.010 to 0.130). It told patients apart better."),
        (_measured("g", -0.05, 0.07), "0.720 (difference 0.010, 95 % CI -0.050 to 0.070). That is no clear difference"),
        (_measured("g", -0.13, -0.01), "It told patients apart worse."),
        (_measured("g", 0.0, 0.0, adapted=0.0), "the network stayed as it was trained, with an AUC of 0.710; not "
         "adapted: too few patients."),
    ],
)  # fmt: skip
def test_a_sentence_says_what_was_done_at_a_hospital_and_whether_it_helped(result: Result, words: str) -> None:
    told = adaptation_sentence(result)
    assert told.startswith("At hospital g (cohort one) ") and words in told


def test_of_a_cohort_the_sentence_names_who_adapted_and_who_does_not_tell(seen: Seen) -> None:
    told = adaptation_sentence(seen.results[0])
    (decided,) = [e.value for e in seen.results[0].estimates if e.name == "adapted" and e.term == "d"]
    assert f"({'adapted' if decided else 'as trained'}: d; not told: e, f)" in told
    older = seen.results[1].model_copy(update={"estimates": seen.results[1].estimates[1:2]})
    assert adaptation_sentence(older) == "", "of a run that had one side only"


def test_a_receipt_with_anything_but_a_verdict_is_not_believed(seen: Seen) -> None:
    task = rule_of(seen).task
    good: Receipt = {"work": "0", TOLD: "label"}
    assert task.plausible(good) and task.plausible({"work": "0"})
    assert not task.plausible({TOLD: "p-0001 has MVI"})


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"normalisation": "group"}, "group has no statistics"),
        ({"normalisation": "silobn"}, "estimates them at every hospital anyway"),
        ({"adaptation": {"cohorts": ["train"]}}, "'train' is no external-test cohort"),
        ({"adaptation": {"cohorts": ["one", "one"]}}, "'one' is named twice"),
        ({"evaluate": ["far"]}, "'one' is no external-test cohort in which the network is evaluated"),
        (
            {"training": {"preset": "published"}, "development": "published"},
            "it needs out-of-fold scores",
        ),
    ],
)
def test_what_cannot_be_adapted_is_said_when_the_protocol_is_read(network: dict[str, Any], sentence: str) -> None:
    found = [said for place, said in contradictions(study_with(**network)) if place == ("networks", 0, "adaptation")]
    assert any(sentence in said for said in found)
    assert [place for place, _ in contradictions(study_with()) if "adaptation" in place] == []
