"""disclosure: two runs that differ by a patient or by a site, and what their difference tells; ordinary runs go on."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.errors import FedmviError
from common.federation.query import Ask, total
from common.statistics.counts import Classes, Flow, Missing
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.study.fingerprint import digest
from common.study.recipe import Complete, Impute, Recipe, Select
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from tests.disclosure.consortium import (
    STUDY,
    Consortium,
    Row,
    columns,
    make,
    names,
    parse_study,
    recipe,
    rows_of,
    write_site,
)

POLICY = 'approved_studies = ["any"]\n'
VICTIM = 17
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("differencing")
    make(folder, policy=POLICY)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    folders = {p.name: p for p in sorted((tmp_path / "sites").iterdir())}
    return Consortium(folders, parse_study(STUDY)).open()


def sums(made: Consortium) -> Deviations:
    used = names(made.study, "clinical")
    return Deviations("train", Recipe((Select(columns(made.study, "clinical")),)), used, np.zeros(len(used)))


def newton(made: Consortium) -> LogisticSums:
    steps = (step for step in recipe(made.study, "clinical").steps if not isinstance(step, Impute))
    return LogisticSums("train", Recipe(tuple(steps)), "mvi", names(made.study, "clinical"), np.zeros(5))


def later(
    made: Consortium,
    run_id: str = "run2",
    *,
    a: Callable[[list[Row]], object] | None = None,
    policy: str = POLICY,
    study: str = "",
) -> Consortium:
    """A later run of the study, or of another one, before which the table or policy of site a was changed."""
    rows = rows_of("a")
    if a is not None:
        a(rows)
    write_site(made.folders["a"], "a", rows, policy)
    run = Consortium(made.folders, parse_study(study) if study else made.study)
    prepare(load_site(made.folders["a"]), run.study)
    return run.with_ticket(run_id=run_id).open()


def without_one(rows: list[Row]) -> None:
    del rows[VICTIM]


def more(count: int) -> Callable[[list[Row]], object]:
    """So many new patients at site a."""
    return lambda rows: rows.extend(rows_of("a", 60 + count)[60:])


# ------------------------------------------------------------------------------------------ the attacks


def test_two_runs_that_differ_by_one_patient_give_that_patient_unless_the_site_compares_them(made: Consortium):
    first = made.port().ask([total(sums(made))])[0]
    victim = {name: made.frame("a", sums(made).recipe).columns[name][VICTIM] for name in sums(made).columns}

    second = later(made, a=without_one)
    refused = second.port().ask([total(sums(made))])[0]
    assert isinstance(refused, FedmviError) and refused.number == 420

    allowed = later(made, "run3", a=without_one, policy=POLICY + 'allow_differences = ["run1"]\n')
    told = allowed.port().ask([total(sums(made))])[0]
    assert not isinstance(told, FedmviError)
    recovered = dict(zip(sums(made).columns, (first["sum"] - told["sum"]).tolist(), strict=True))
    assert recovered == pytest.approx(victim, abs=1e-9), "whose values are what the two sums differ by"


def test_two_rosters_that_differ_by_one_site_give_that_sites_sums_unless_the_others_compare_them(made: Consortium):
    four = STUDY.replace('["a", "b", "c"]', '["a", "b", "c", "d"]').replace('["d", "e", "f"]', '["e", "f"]')
    wide = Consortium(made.folders, parse_study(four)).with_ticket(run_id="four").open()
    ask = total(sums(made))
    first = wide.port().ask([ask])[0]
    second = made.port().ask([ask])[0]
    assert isinstance(second, FedmviError) and (second.number, second.facts) == (421, {"cohort": "train", "limit": 3})

    alone = POLICY + "release_alone = true\n"
    for site in ("a", "b", "c"):
        write_site(made.folders[site], site, rows_of(site), alone)
    told = made.port().ask([ask])[0]
    assert not isinstance(told, FedmviError)
    own = sums(made).answer(wide.frame("d", sums(made).recipe))
    np.testing.assert_allclose(first["sum"] - told["sum"], own["sum"], rtol=1e-9)


def test_a_corrected_row_counts_like_an_exchanged_patient(made: Consortium):
    made.put("a", total(newton(made)))

    def other_class(rows: list[Row]) -> None:
        rows[VICTIM]["mvi"] = str(1 - int(rows[VICTIM]["mvi"]))

    assert later(made, a=other_class).number("a", total(newton(made))) == 420

    def new_laboratory(rows: list[Row]) -> None:
        for row in rows[:25]:
            row["age"] = str(float(row["age"]) + 0.5)

    assert later(made, "run3", a=new_laboratory).number("a", total(newton(made))) == 0


OTHER = STUDY.replace("A small study", "Another study of the same")

EVASIONS: dict[str, Callable[[Consortium], Ask]] = {
    "other numbers": lambda m: total(
        LogisticSums("train", newton(m).recipe, "mvi", newton(m).columns, np.full(5, 1e-3))
    ),
    "columns in another order": lambda m: total(
        LogisticSums("train", newton(m).recipe, "mvi", newton(m).columns[::-1], np.zeros(5))
    ),
    "more columns selected": lambda m: total(
        LogisticSums(
            "train",
            Recipe((Select((*columns(m.study, "clinical"), *columns(m.study, "wide")[1:])),
                    Complete(newton(m).columns, ("mvi",)))),
            "mvi", newton(m).columns, np.zeros(5),
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("evasion", EVASIONS)
def test_the_same_statistic_in_another_dress_is_recognised_in_another_study(made: Consortium, evasion: str):
    made.put("a", total(newton(made)))
    assert later(made, a=without_one, study=OTHER).number("a", EVASIONS[evasion](made)) == 420


def test_in_the_same_study_no_choice_of_columns_or_statistic_is_an_evasion(made: Consortium):
    made.put("a", total(newton(made)))
    selected = Recipe((Select(columns(made.study, "wide")),))
    asks = [
        total(LogisticSums("train", recipe(made.study, "clinical"), "mvi", ("age",), np.zeros(2))),
        total(Deviations("train", selected, ("albumin",), np.zeros(1))),
        total(Missing("train", selected, ("albumin",), 5, guarded=False)),
    ]
    assert [answer.error for answer in later(made, a=without_one).put("a", *asks)] == [420] * 3


def test_the_cohorts_name_is_no_disguise(made: Consortium):
    """A second study that calls the same patients by another name is compared with the first."""
    ask = total(sums(made))
    made.put("a", ask)
    renamed = Consortium(made.folders, parse_study(STUDY.replace('"train"', '"fitting"').replace(
        'role = "fitting"', 'role = "train"')))  # fmt: skip
    write_site(made.folders["a"], "a", rows_of("a")[1:], POLICY)
    prepare(load_site(made.folders["a"]), renamed.study)
    other = renamed.with_ticket(run_id="run2").open("a")
    query = sums(made)
    assert other.number("a", total(Deviations("fitting", query.recipe, query.columns, query.centre))) == 420


def test_counts_are_compared_too_of_the_cohort_and_of_the_whole_table(made: Consortium):
    asks = [
        total(Flow("train", Recipe(), ("other label", "other role"), 5, guarded=False)),
        total(Classes("train", Recipe(), "mvi", 5, guarded=False)),
        total(Missing("train", Recipe(), (), 5, guarded=False)),
    ]
    assert [answer.error for answer in made.put("a", *asks)] == [0, 0, 0]
    assert [answer.error for answer in later(made, a=more(3)).put("a", *asks)] == [420] * 3
    assert [answer.error for answer in later(made, "run3", a=more(20)).put("a", *asks)] == [0] * 3


# -------------------------------------------------------------------------------------- what is not hindered


def test_the_same_patients_and_sites_are_answered_in_every_run(made: Consortium):
    asks = [total(sums(made)), total(newton(made)), total(Classes("train", Recipe(), "mvi", 5, guarded=False))]
    first = made.port().ask(asks)
    for run_id in ("run2", "run3"):
        again = later(made, run_id).port().ask(asks)
        for a, b in zip(first, again, strict=True):
            assert all(np.array_equal(a[block], b[block]) for block in a)


def test_an_order_of_rows_is_no_difference(made: Consortium):
    made.put("a", total(newton(made)))
    assert later(made, a=lambda rows: rows.reverse()).number("a", total(newton(made))) == 0


@pytest.mark.parametrize(("new", "number"), [(1, 420), (3, 420), (19, 420), (20, 0)])
def test_as_many_new_patients_as_a_cohort_needs_are_no_secret(made: Consortium, new: int, number: int):
    made.put("a", total(newton(made)))
    assert later(made, a=more(new)).number("a", total(newton(made))) == number


def test_the_studys_own_limits_count_where_they_are_stricter(made: Consortium):
    strict = Consortium(made.folders, parse_study(STUDY + "\n[limits]\nmin_patients = 30\n"))
    made.put("a", total(newton(made)))
    assert later(strict, a=more(25)).number("a", total(newton(made))) == 420


def test_another_statistic_in_another_study_is_another_matter(made: Consortium):
    """Known, and said in the documentation: else no two studies could ask about nearly the same patients."""
    made.put("a", total(newton(made)))
    one = LogisticSums("train", recipe(made.study, "clinical"), "mvi", ("age",), np.zeros(2))
    assert later(made, a=without_one, study=OTHER).number("a", total(one)) == 0


def test_a_run_is_not_compared_with_itself(made: Consortium):
    """Its cohorts, and the complete cases of its models, are what the hospital approved with the study."""
    made = later(made, a=lambda rows: rows[VICTIM].update(afp=""))
    used, everybody = names(made.study, "clinical"), Recipe((Select(columns(made.study, "clinical")),))
    complete = everybody.then(Complete(used, ("mvi",)))
    asks = [total(Deviations("train", made_of, used, np.zeros(4))) for made_of in (everybody, complete)]
    assert [answer.error for answer in made.put("a", *asks)] == [0, 0]
    assert [answer.error for answer in later(made, "run3").put("a", *asks)] == [420, 420]
    again = later(made, "run4", a=lambda rows: rows[VICTIM].update(afp=""))
    assert [answer.error for answer in again.put("a", *asks)] == [0, 0], "nor is its repetition"


# ------------------------------------------------------------------------------- what the hospital sees and keeps


def test_the_error_tells_the_coordinator_no_number_and_the_hospital_which_run(
    made: Consortium, caplog: pytest.LogCaptureFixture
):
    made.put("a", total(newton(made)))
    second = later(made, a=more(3))
    with caplog.at_level(logging.WARNING, "fedmvi.site"):
        answer = second.put("a", total(newton(made)))[0]
    assert (answer.error, answer.facts) == (420, {"cohort": "train", "limit": 20})
    assert "3 patient(s) were added, removed or corrected since run run1" in caplog.text
    assert "allow_differences" in FedmviError(420, cohort="train", limit=20).do
    permitted = later(made, "run3", a=more(3), policy=POLICY + 'allow_differences = ["run1"]\n')
    assert permitted.number("a", total(newton(made))) == 0
    assert later(made, "run4", a=more(4)).number("a", total(newton(made))) == 420, "which is said of run1 alone"


def test_what_is_kept_holds_no_id_and_is_the_owners_alone(made: Consortium):
    made.put("a", total(newton(made)))
    folder = made.folders["a"] / "store" / "differencing"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 3, "the study's sites, what the run was told, and the set of patients that both its lines name"
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert b"a-0" not in path.read_bytes() and b"30." not in path.read_bytes()
    ((rosters,), told) = (json.loads(next(folder.glob("*.json")).read_text()), lines_of(made))
    assert len(told) == 2, "the cohort and the statistic"
    for entry, sites in ((rosters, "abcdef"), *((entry, "abc") for entry in told.values())):
        assert entry["run"] == "run1" and entry["roster"] == list(sites)


def lines_of(made: Consortium, run: str = "run1") -> dict[str, dict]:
    """By key, what site a keeps of what a run was told."""
    lines = (made.folders["a"] / "store" / "differencing" / "runs" / f"{run}.txt").read_text().splitlines()
    return {line[:64]: json.loads(line[65:]) for line in lines}


def test_what_an_earlier_version_kept_one_file_a_key_and_a_set_is_compared_as_well(made: Consortium):
    made.put("a", total(newton(made)), total(Classes("train", Recipe(), "mvi", 5, guarded=False)), total(sums(made)))
    folder = made.folders["a"] / "store" / "differencing"
    bundles = {path: path.read_bytes() for path in (folder / "patients").iterdir()}
    for key, entry in lines_of(made).items():
        for name, (file, begin, size) in entry.pop("kept").items():
            (folder / "patients" / name).write_bytes(bundles[folder / "patients" / file][begin : begin + size])
        (folder / f"{key}.json").write_text(json.dumps([entry]))
    shutil.rmtree(folder / "runs")
    assert later(made, a=without_one).number("a", total(newton(made))) == 420
    assert later(made, "run3").number("a", total(newton(made))) == 0


def gaps(rows: list[Row]) -> None:
    for row in rows[-25:]:
        row["afp"] = ""


def gaps_and_without_one(rows: list[Row]) -> None:
    gaps(rows)
    without_one(rows)


def test_sets_of_patients_that_one_message_adds_are_one_file_and_each_is_found_in_it(made: Consortium):
    asks = (total(newton(made)), total(sums(made)))
    first = later(made, a=gaps)
    assert [answer.error for answer in first.put("a", *asks)] == [0, 0]
    (kept,) = (made.folders["a"] / "store" / "differencing" / "patients").iterdir()
    entries = lines_of(made, "run2").values()
    assert len({tuple(entry["patients"]) for entry in entries}) == 2, "everybody, and those whose AFP is known"
    for entry in entries:
        for name, (file, begin, size) in entry["kept"].items():
            assert file == kept.name and digest(kept.read_bytes()[begin : begin + size]) == name
    assert first.number("a", total(replace(sums(made), columns=("age",), centre=np.zeros(1)))) == 0
    assert len(lines_of(made, "run2")) == 4, "of another statistic"
    assert list(kept.parent.iterdir()) == [kept], "whose patients are known already"
    for number, ask in enumerate(asks):
        assert later(made, f"less-{number}", a=gaps_and_without_one).number("a", ask) == 420
        assert later(made, f"same-{number}", a=gaps).number("a", ask) == 0


def test_the_record_is_on_disk_before_the_answer_is(made: Consortium, monkeypatch: pytest.MonkeyPatch):
    """A power cut between the two leaves a site that refuses too much, and never one that forgot."""

    def cut(*args: object) -> None:
        raise OSError("no power")

    with monkeypatch.context() as patched:
        patched.setattr("client.release.replies.ReplyStore.write", cut)
        assert made.number("a", total(newton(made))) == 901
    assert later(made, a=without_one).number("a", total(newton(made))) == 420
    assert later(made, "run3").number("a", total(newton(made))) == 0


@pytest.mark.parametrize("damage", ["", "{", "[1]", '[{"run": "x"}]', "null", "[{}]\n", "f" * 64 + " {}"])
def test_422_a_damaged_record_refuses_instead_of_forgetting(made: Consortium, damage: str):
    made.put("a", total(newton(made)))
    folder = made.folders["a"] / "store" / "differencing"
    for path in (next(folder.glob("*.json")), folder / "runs" / "run1.txt"):
        content = path.read_text()
        path.write_text(damage)
        assert later(made).number("a", total(newton(made))) == 422
        path.write_text(content)
    assert later(made).number("a", total(newton(made))) == 0


def test_422_a_set_of_patients_that_is_lost_or_changed(made: Consortium):
    made.put("a", total(newton(made)))
    second = later(made, a=more(25))
    (kept,) = (made.folders["a"] / "store" / "differencing" / "patients").iterdir()
    kept.write_bytes(kept.read_bytes()[16:])
    assert second.number("a", total(newton(made))) == 422
    kept.unlink()
    assert second.number("a", total(newton(made))) == 422


# ------------------------------------------------------------------------------------------- a whole study


def add_patients(folder: Path, count: int) -> None:
    """Copies of the first patients under new ids."""
    path = folder / "patients.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writerows({**row, "patient_id": f"new-{i}"} for i, row in enumerate(rows[:count]))


def test_a_study_is_planned_again_with_the_same_numbers_and_not_with_three_patients_more(tmp_path: Path):
    make_hospitals(load_consortium("demo"), tmp_path / "sites", 4)
    study = ROOT / "studies" / "demo.toml"

    def run(name: str, action: Action) -> Simulation:
        simulation = Simulation.of(study, tmp_path / "sites", tmp_path / name, in_process=True)
        simulation.conduct(action, lambda step: None)
        return simulation

    first = run("first", Action.PLAN)
    assert run("second", Action.PLAN).run.plan_file.read_bytes() == first.run.plan_file.read_bytes()
    add_patients(tmp_path / "sites" / "hospital-b", 3)
    with pytest.raises(FedmviError, match=r"420.*hospital-b") as caught:
        run("third", Action.PLAN)
    assert str(first.run.facts()["run_id"]) not in str(caught.value)
    log = (tmp_path / "third" / "log.txt").read_text()
    assert f"since run {first.run.facts()['run_id']}" in log and "patient(s) were added" in log

    toml = tmp_path / "sites" / "hospital-b" / "site.toml"
    earlier = first.run.facts()["run_id"]
    toml.write_text(toml.read_text().replace("[policy]", f'[policy]\nallow_differences = ["{earlier}"]'))
    assert run("fourth", Action.PLAN).run.plan_file.exists()
