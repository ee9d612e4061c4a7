"""tests/simulation: values are lost by the declared mechanism and share, and every typing error is on record."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import FedmviError
from common.study.loader import load_study
from common.study.protocol import Limits
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, Group, Missing, Site, Survival, load_consortium
from simulation.cohorts.flaws import TYPED, Recorded, as_recorded
from simulation.cohorts.patients import Patients

N = 20_000
SITE = Site(name="hospital-a", groups=(Group(patients=N),))


def consortium(missing: Missing, site: Site = SITE) -> Consortium:
    return Consortium(
        name="test", title="A test", sites=(site,), missing=missing, survival=Survival(endpoints=("rfs", "os"))
    )


@pytest.fixture(scope="module")
def patients() -> Patients:
    return draw_site(consortium(Missing()), SITE, 1)


def recorded(patients: Patients, missing: Missing, seed: int = 1) -> Recorded:
    return as_recorded(consortium(missing), patients, seed)


def absent(record: Recorded, column: str) -> NDArray[np.bool_]:
    return np.array([cell == "" for cell in record.cells[column]])


def near(share: float, declared: float, n: int) -> bool:
    return abs(share - declared) <= 3 * (declared * (1 - declared) / n) ** 0.5


def test_with_nothing_declared_the_table_is_the_patients(patients: Patients) -> None:
    record = recorded(patients, Missing())
    assert record.cells == patients.cells
    assert record.missing == {}
    assert record.typing_errors == ()


def test_completely_at_random_every_value_alike_is_missing(patients: Patients) -> None:
    record = recorded(patients, Missing(mcar=0.02, mcar_columns=("afp", "sex")))
    old = patients.values["age"] > 60
    for column in ("afp", "sex"):
        gone = absent(record, column)
        assert near(float(gone.mean()), 0.02, N)
        assert near(float(gone[old].mean()), 0.02, int(old.sum()))
        assert record.missing[column] == tuple(np.array(patients.ids)[gone])
    assert set(record.missing) == {"afp", "sex"}
    assert not np.array_equal(absent(record, "afp"), absent(record, "sex"))


def test_at_random_the_share_depends_on_age(patients: Patients) -> None:
    record = recorded(patients, Missing(mar_young=0.03, mar_old=0.08, mar_columns=("ggt",)))
    old = patients.values["age"] > 60
    gone = absent(record, "ggt")
    assert near(float(gone[old].mean()), 0.08, int(old.sum()))
    assert near(float(gone[~old].mean()), 0.03, int((~old).sum()))


@pytest.mark.parametrize("column", ["alt", "afp", "age", "tumour_size_imaging"])
def test_not_at_random_a_value_one_standard_deviation_higher_is_twice_as_likely_to_be_missing(
    patients: Patients, column: str
) -> None:
    record = recorded(patients, Missing(mnar=0.05, mnar_columns=(column,)))
    gone = absent(record, column)
    assert near(float(gone.mean()), 0.05, N)
    value = patients.values[column] if column == "age" else np.log(patients.values[column])
    score = (value - value.mean()) / value.std()
    shares = [float(gone[(score > at - 0.5) & (score <= at + 0.5)].mean()) for at in (-1, 0, 1)]
    for lower, higher in pairwise(shares):
        assert higher / lower == pytest.approx(2, rel=0.25)


def test_not_at_random_the_average_share_is_kept_where_high_values_are_surely_missing(patients: Patients) -> None:
    for share in (0.6, 0.95):
        gone = absent(recorded(patients, Missing(mnar=share, mnar_columns=("alt",))), "alt")
        assert near(float(gone.mean()), share, N)


def test_a_finding_that_is_there_is_missing_more_often(patients: Patients) -> None:
    gone = absent(recorded(patients, Missing(mnar=0.1, mnar_columns=("ascites",))), "ascites")
    found = patients.values["ascites"] == 1
    assert gone[found].mean() > 3 * gone[~found].mean()


def test_a_column_lost_in_two_ways_misses_either(patients: Patients) -> None:
    declared = Missing(mcar=0.1, mcar_columns=("alt",), mar_young=0.2, mar_old=0.2, mar_columns=("alt",))
    assert near(float(absent(recorded(patients, declared), "alt").mean()), 1 - 0.9 * 0.8, N)


def test_what_follows_from_a_lost_value_is_lost_with_it(patients: Patients) -> None:
    record = recorded(patients, Missing(mcar=0.015, mcar_columns=("mvi", "os_days")))
    assert near(float(absent(record, "mvi").mean()), 0.015, N)
    assert np.array_equal(absent(record, "mvi"), absent(record, "mvi_grade"))
    assert np.array_equal(absent(record, "os_days"), absent(record, "os_event"))
    assert not absent(record, "rfs_days").any()


@pytest.mark.parametrize("column", ["patient_id", "cohort", "dfs_days", "creatinine"])
def test_a_column_that_cannot_be_missing_is_refused(patients: Patients, column: str) -> None:
    with pytest.raises(FedmviError) as caught:
        recorded(patients, Missing(mcar=0.1, mcar_columns=(column,)))
    assert caught.value.number == 809
    assert column in str(caught.value.facts["problems"])


def test_typing_errors_have_the_declared_share_and_are_all_on_record(patients: Patients) -> None:
    record = recorded(patients, Missing(typing_errors=0.01, mcar=0.3, mcar_columns=("afp",)))
    cells = sum(cell != "" for column in TYPED for cell in record.cells[column])
    assert near(len(record.typing_errors) / cells, 0.01, cells)
    different = {
        (patient, column, true, written)
        for column in patients.cells
        for patient, true, written in zip(patients.ids, patients.cells[column], record.cells[column], strict=True)
        if true != written and written != ""
    }
    assert different == {(e.patient, e.column, e.true, e.written) for e in record.typing_errors}
    assert {e.column for e in record.typing_errors} == set(TYPED)


def test_a_typing_error_transposes_or_doubles_digits_or_moves_the_point(patients: Patients) -> None:
    kinds = {"transposed": 0, "doubled": 0, "shifted": 0}
    for error in recorded(patients, Missing(typing_errors=0.01)).typing_errors:
        assert re.fullmatch(r"\d+(\.\d+)?", error.written)
        true, written = float(error.true), float(error.written)
        assert true != written
        if written in (pytest.approx(true * 10), pytest.approx(true / 10)):
            kinds["shifted"] += 1
        elif len(error.written) == len(error.true):
            changed = [i for i, (a, b) in enumerate(zip(error.true, error.written, strict=True)) if a != b]
            first, second = changed
            assert error.true[first] == error.written[second]
            assert error.true[second] == error.written[first]
            kinds["transposed"] += 1
        else:
            assert any(error.true == error.written[:i] + error.written[i + 1 :] for i in range(len(error.written)))
            kinds["doubled"] += 1
    assert min(kinds.values()) > 0.15 * sum(kinds.values())


def test_the_patients_stay_as_they_are_and_the_same_seed_loses_the_same_values() -> None:
    declared = Missing(typing_errors=0.1, mcar=0.1, mcar_columns=("alt",), mnar=0.1, mnar_columns=("afp",))
    site = Site(name="hospital-a", groups=(Group(patients=300),))
    clean, flawed = (draw_site(consortium(m, site), site, 5) for m in (Missing(), declared))
    assert clean.cells == flawed.cells
    before = {column: list(cells) for column, cells in flawed.cells.items()}
    one, two, other = (as_recorded(consortium(declared, site), flawed, seed) for seed in (5, 5, 6))
    assert flawed.cells == before
    assert one == two
    assert one.missing != other.missing
    assert one.typing_errors != other.typing_errors


def test_losing_one_column_leaves_the_losses_of_another(patients: Patients) -> None:
    one = recorded(patients, Missing(mcar=0.1, mcar_columns=("alt",)))
    both = recorded(patients, Missing(mcar=0.1, mcar_columns=("ast", "alt")))
    assert one.missing["alt"] == both.missing["alt"]


def test_every_hospital_of_the_demo_satisfies_the_default_limits() -> None:
    study = load_study(Path(__file__).parents[3] / "studies" / "demo.toml")
    demo = load_consortium("demo")
    assert study.study.simulated
    assert set(study.sites()) == {site.name for site in demo.sites}
    internal = study.cohort("internal-test")
    assert internal.split is not None
    for seed, site in ((seed, site) for seed in range(20) for site in demo.sites):
        patients = draw_site(demo, site, seed)
        eligible = (patients.values["macrovascular_invasion"] == 0) & (patients.values["prior_treatment"] == 0)
        eligible &= patients.values["imaging_to_surgery_days"] <= 30
        cells = as_recorded(demo, patients, seed).cells["mvi"]
        classes = Counter(cell for cell, chosen in zip(cells, eligible, strict=True) if chosen and cell)
        fewest = min(classes["absent"], classes["present"])
        if site.name in internal.sites:
            assert classes.total() * internal.split.fraction >= Limits().min_patients
            assert fewest * internal.split.fraction >= Limits().min_class
        else:
            assert fewest >= Limits().min_test_class
