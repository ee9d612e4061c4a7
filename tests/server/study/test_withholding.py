"""server/study: a harmonised model is withheld where patients may have the outcome more often, before anyone looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from common.federation.query import perform, total
from common.federation.tasks import Freeze
from common.published.results import Results
from common.statistics.moments import Deviations
from common.study.coding import CodedColumn
from common.study.harmonisation import Combat
from common.study.recipe import Complete, Recipe, Score, Select
from common.study.withholding import Withheld
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import POLICY, SITES, STUDY, Change, Consortium, Row, make, rows_of

pytestmark = pytest.mark.xdist_group("withheld")

FEATURES = tuple(f"x{i}" for i in range(6))
APART = np.array([0.9, 0.7, 0.5, 0.4, 0.0, 0.0])
"""By how much features are higher with MVI, in standard deviations within a class."""
PATIENTS = 160
TRAINED, MORE = 0.35, 0.8


def model(name: str, *further: str, predictors: tuple[str, ...] = FEATURES) -> str:
    listed = ", ".join(f'{{ variable = "{p}", coding = "linear" }}' for p in predictors)
    lines = [f'name = "{name}"', 'endpoint = "mvi"', 'cohort = "train"', 'evaluate = ["external"]', *further]
    return "\n[[models]]\n" + "\n".join(lines) + f"\npredictors = [{listed}]\n"


def study_text(shift: str = '\n[shift]\nmodels = ["raw", "combat", "matched"]\npermutations = 199\n') -> str:
    variables = "".join(
        f'\n[[variables]]\nname = "{name}"\nkind = "continuous"\nknown = "preoperative"\nlow = -50.0\nhigh = 50.0\n'
        for name in FEATURES
    )
    built = """
[[subgroups]]
name = "by-sex"
model = "combat"
cohort = "external"
by = ["sex"]

[[analyses]]
name = "cal"
statistic = "calibration"
cohort = "external"
endpoint = "mvi"
models = ["combat"]
"""
    models = model("raw") + model("combat", "harmonise = {}")
    return STUDY + variables + models + model("matched", 'harmonise = { covariates = ["age"] }') + built + shift


def seen(share: float = TRAINED, gain: float = 1.0, offset: float = 0.0) -> Change:
    """A hospital's patients: so many with MVI, seen by a scanner of that gain and offset; traits given MVI are alike.

    The offset turns its sign from feature to feature, as no frequency of MVI does.
    """

    def change(rows: list[Row]) -> None:
        site = rows[0]["patient_id"][0]
        rows[:] = rows_of(site, PATIENTS)
        rng = np.random.default_rng(700 + ord(site))
        mvi = np.zeros(PATIENTS)
        mvi[: round(share * PATIENTS)] = 1.0
        rng.shuffle(mvi)
        x = rng.normal(size=(PATIENTS, len(FEATURES))) + np.outer(mvi, APART)
        x = gain * x + offset * np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
        for i, row in enumerate(rows):
            row["mvi"] = str(int(mvi[i]))
            row.update({name: f"{x[i, j]:.6f}" for j, name in enumerate(FEATURES)})

    return change


ALIKE = dict.fromkeys(SITES, seen())
SCANNER = {**ALIKE, "d": seen(gain=1.6, offset=1.5)}
MORE_MVI = {**ALIKE, "e": seen(MORE)}
BOTH = {**SCANNER, "e": seen(MORE)}


def conducted(
    folder: Path, sites: Mapping[str, Change], text: str = "", policy: Mapping[str, str] | None = None
) -> tuple[Results, Heard, Consortium]:
    made = make(folder, sites, study=text or study_text(), masked=True)
    for site, words in (policy or {}).items():
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace(POLICY, words))
    heard, port = heard_of(made.sign())
    return conduct(made.study, port, lambda _: None).results, heard, made


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Heard, Consortium]:
    return conducted(tmp_path_factory.mktemp("more"), MORE_MVI)


def admitted(results: Results, name: str = "combat") -> dict[str, float | None]:
    found = results.get(f"model.{name}.harmonisation")
    return {e.term: e.value for e in found.estimates if e.name == "admitted"}


def centres(results: Results, name: str) -> set[str]:
    found = results.get(f"model.{name}.centres.external")
    return {e.term for e in found.estimates if e.name == "auc" and e.value is not None}


def test_a_hospital_with_more_of_the_outcome_is_not_harmonised_and_the_results_say_so(more):
    results, _, _ = more
    assert results.get("shift.external.e").verdict == "label"
    assert admitted(results) == {"d": 1.0, "e": 0.0, "f": 1.0}
    note = results.get("model.combat.harmonisation").note
    assert "Withheld at e (label)." in note and "frozen with the models" in note
    assert centres(results, "combat") == {"d", "f"} and centres(results, "raw") == {"d", "e", "f"}


def test_nothing_that_sums_over_that_hospital_is_told(more):
    results, _, _ = more
    for name in ("model.combat.auc.external", "analysis.cal", "subgroups.by-sex"):
        found = results.get(name)
        assert found.status == "not-estimable" and "FEDMVI-658" in found.note and not found.estimates
    assert results.get("model.raw.auc.external").status == "estimated"
    assert results.get("model.combat.auc.train").status == "estimated"


def test_a_model_that_is_matched_on_covariates_is_used_everywhere(more):
    results, _, _ = more
    assert results.get("model.matched.auc.external").status == "estimated"
    assert centres(results, "matched") == {"d", "e", "f"}
    assert "on the assumption that age explain" in results.get("model.matched.harmonisation").note


def test_a_hospital_with_another_scanner_is_harmonised(tmp_path: Path):
    results, _, _ = conducted(tmp_path, SCANNER)
    assert results.get("shift.external.d").verdict in ("covariate", "several")
    assert admitted(results) == {"d": 1.0, "e": 1.0, "f": 1.0}
    raw, combat = (results.get(f"model.{name}.auc.external").estimates[0].value for name in ("raw", "combat"))
    assert combat > raw + 0.02


def test_where_training_hospitals_have_other_frequencies_it_is_withheld_everywhere(tmp_path: Path):
    """Its outcomes are open, and tell what a scanner never explains: the harmonised columns lack a part of MVI."""
    results, heard, made = conducted(tmp_path, {**ALIKE, "b": seen(MORE)})
    assert admitted(results) == {"d": 0.0, "e": 0.0, "f": 0.0}
    note = results.get("model.combat.harmonisation").note
    assert "Withheld everywhere" in note and "b (another frequency of the outcome)" in note
    assert results.get("model.combat.auc.external").status == "not-estimable"
    assert results.get("model.combat.auc.train").status == "estimated"
    for name in ("raw", "matched"):
        assert results.get(f"model.{name}.auc.external").status == "estimated"
    assert "between training hospitals (a, b, c)" in results.get("model.matched.harmonisation").note
    assert {site for site, asks in heard.asks.items() for _, error in asks if error == 658} == {"d", "e", "f"}
    assert made.study.cohort("train").sites == ("a", "b", "c")


def test_where_a_hospital_tells_nothing_of_itself_nothing_is_known_of_any_and_so_it_is_withheld(tmp_path: Path):
    results, _, _ = conducted(tmp_path, ALIKE, policy={"f": POLICY.replace("release_alone = true\n", "")})
    assert admitted(results) == {"d": 0.0, "e": 0.0, "f": 0.0}
    assert results.get("model.combat.auc.external").status == "not-estimable"


def test_where_nobody_looks_the_results_say_that_nobody_looked(tmp_path: Path):
    results, _, _ = conducted(tmp_path, MORE_MVI, study_text(shift=""))
    assert results.get("model.combat.auc.external").status == "estimated"
    assert "was not looked at" in results.get("model.combat.harmonisation").note


def test_only_what_is_withheld_is_refused_and_all_was_foreseen(more):
    _, heard, made = more
    assert assert_foreseen(made.study, made.folders, heard) > 100
    refused = {(site, error) for site, asks in heard.asks.items() for _, error in asks if error}
    assert refused == {("e", 658)}


# ------------------------------------------------------------------------------------------------------- attacks

READ = Select(tuple(CodedColumn(name, name, "linear") for name in FEATURES))
ONES = (1.0,) * len(FEATURES)
STEP = Combat(
    FEATURES, (), (0.0,) * len(FEATURES), ONES, (), eb=True, parametric=True, mean_only=False, reference="",
    min_patients=20, bounded=True, model="combat", training="train",
)  # fmt: skip
SCORED = Recipe((READ, STEP, Complete(FEATURES, ("mvi",)))).then(Score("combat", "mvi", FEATURES, ONES, 0.0))


def frozen(*withheld: Withheld) -> Freeze:
    return Freeze((SCORED.digest,), (), "", withheld)


def scores(made: Consortium, site: str) -> int:
    cohort = "train" if site in "abc" else "external"
    return made.number(site, total(Deviations(cohort, SCORED, ("score.combat",), np.zeros(1))))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("attacked"), ALIKE, study=study_text())


def test_what_is_withheld_is_refused_by_the_hospital_itself_whoever_asks(prepared: Consortium):
    made = prepared.with_ticket(run_id="kept").open()
    for site in SITES:
        assert made.number(site, perform(frozen(Withheld("combat", "e")))) == 0
    assert [scores(made, site) for site in "abcdef"] == [0, 0, 0, 0, 658, 0]


def test_once_outcomes_are_open_nothing_is_withheld_and_nothing_admitted_anew(prepared: Consortium):
    for run, first, second in (
        ("give", frozen(Withheld("combat", "e")), frozen()),
        ("take", frozen(), frozen(Withheld("combat", "e"))),
        ("move", frozen(Withheld("combat", "e")), frozen(Withheld("combat", "d"))),
    ):
        made = prepared.with_ticket(run_id=run).open("e")
        before = (made.number("e", perform(first)), scores(made, "e"))
        assert made.number("e", perform(second)) == 411
        assert (0, scores(made, "e")) == before


def test_only_a_model_without_covariates_can_be_withheld_and_at_a_hospital_of_the_study(prepared: Consortium):
    made = prepared.with_ticket(run_id="odd").open("e")
    for pairs in (
        (Withheld("raw", "e"),),
        (Withheld("matched", "e"),),
        (Withheld("combat", "nobody"),),
        (Withheld("combat", "e"),) * 2,
    ):
        assert made.number("e", perform(frozen(*pairs))) == 414
