"""tests/simulation: drawn patients keep the published margins, the declared overrides, grades and correlations."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from common.study.dictionary import DICTIONARY
from common.study.readings import second_column
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import (
    Clinical,
    Consortium,
    Group,
    Imaging,
    Quartiles,
    Signal,
    Site,
    Survival,
    Trait,
    load_consortium,
)
from simulation.cohorts.correlations import CORRELATIONS, correlation_matrix
from simulation.cohorts.latent import PROCESSES, SIZE
from simulation.cohorts.patients import Patients
from simulation.cohorts.published import ABSENT, MARGINS, PRESENT

SEEDS = 200
TRAITS = {
    "tumour_margin_smooth": Trait(absent=0.60, odds_ratio=0.40, assumed=True),
    "imaging_capsule": Trait(absent=0.50, odds_ratio=0.75, assumed=True),
    "arterial_rim_enhancement": Trait(absent=0.15, odds_ratio=3.0, assumed=True),
    "arterial_peritumoral_enhancement": Trait(absent=0.15, odds_ratio=3.5, assumed=True),
    "multiple_tumours": Trait(absent=0.15, odds_ratio=1.8, assumed=True),
}
PUBLISHED = Site(name="hospital-a", groups=(Group(patients=ABSENT + PRESENT, present=PRESENT),))
SIGNAL = Signal(tumour=0.4, ring=0.6, temporal=0.8)


def consortium(*sites: Site, clinical: Clinical | None = None, imaging: Imaging | None = None) -> Consortium:
    declared = clinical or Clinical(traits=TRAITS)
    return Consortium(name="test", title="A test", sites=sites, clinical=declared, imaging=imaging)


def draws_of(declared: Consortium) -> list[Patients]:
    return [draw_site(declared, declared.sites[0], seed) for seed in range(SEEDS)]


@pytest.fixture(scope="module")
def draws() -> list[Patients]:
    return draws_of(consortium(PUBLISHED, imaging=Imaging(signal=SIGNAL)))


def mean_and_error(samples: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    return float(np.mean(samples)), float(np.std(samples, ddof=1)) / math.sqrt(len(samples))


def within(samples: Sequence[float], expected: float) -> bool:
    mean, error = mean_and_error(samples)
    assert error < 0.01  # tight enough to mean something
    return abs(mean - expected) <= 3 * error


def dichotomy(patients: Patients, name: str) -> NDArray[np.bool_]:
    cells = np.array(patients.cells[name])
    cutoff = MARGINS[name].cutoff if name in MARGINS else None
    if cutoff is not None:
        assert cutoff == DICTIONARY[name].cutoff
        return cells.astype(float) > cutoff
    return np.isin(cells, {"sex": ["female"], "edmondson": ["III", "IV"]}.get(name, ["yes"]))


# Table 1: patients with the finding or above the cut-off, of 136 without and of 185 with MVI.
COUNTS = {
    "age": (50, 103, 127), "sex": (None, 21, 27), "afp": (20, 52, 125), "ascites": (None, 6, 14),
    "hepatitis_virus": (None, 103, 141), "cirrhosis": (None, 95, 142), "alt": (40, 28, 64), "ast": (40, 25, 70),
    "ggt": (50, 63, 107), "total_bilirubin": (19, 20, 27), "conjugated_bilirubin": (6.8, 29, 48),
    "albumin": (40, 96, 134), "platelets": (100, 117, 164), "inr": (1.0, 52, 89), "prothrombin_time": (12, 31, 49),
    "pathological_capsule": (None, 48, 79), "edmondson": (None, 59, 121),
}  # fmt: skip


@pytest.fixture(scope="module")
def published() -> list[Patients]:
    return draws_of(load_consortium("mri-as-published"))


def test_every_published_margin_is_followed() -> None:
    assert {name: (m.cutoff, m.absent, m.present) for name, m in MARGINS.items()} == COUNTS
    assert (ABSENT, PRESENT) == (136, 185)


@pytest.mark.parametrize("cohort", ["published", "draws"], ids=["as published", "with centre effects"])
@pytest.mark.parametrize("name", list(COUNTS))
def test_counts_by_mvi_are_the_published_ones(request: pytest.FixtureRequest, cohort: str, name: str) -> None:
    drawn: list[Patients] = request.getfixturevalue(cohort)
    _, absent, present = COUNTS[name]
    assert within([float(dichotomy(p, name)[~p.present].mean()) for p in drawn], absent / 136)
    assert within([float(dichotomy(p, name)[p.present].mean()) for p in drawn], present / 185)


def test_a_draw_of_the_published_cohort_varies_as_binomial_counts_do(published: list[Patients]) -> None:
    for name, (_, _, present) in COUNTS.items():
        shares = [float(dichotomy(p, name)[p.present].mean()) for p in published]
        share = present / 185
        assert np.std(shares, ddof=1) == pytest.approx(math.sqrt(share * (1 - share) / 185), rel=0.2), name


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize(("quartile", "share"), [("lower", 0.25), ("median", 0.5), ("upper", 0.75)])
def test_tumour_size_has_the_published_quartiles(
    draws: list[Patients], present: bool, quartile: str, share: float
) -> None:
    declared = Clinical().size_present if present else Clinical().size_absent
    at = getattr(declared, quartile)
    # Recorded to the nearest millimetre: half of those recorded as the quartile lie below it. 9.25 is between two.
    low, high = math.floor(at * 10 + 1e-9) / 10, math.ceil(at * 10 - 1e-9) / 10
    sizes = [p.values["tumour_size_pathology"][p.present == present] for p in draws]
    below = [float(((size <= low + 1e-9).mean() + (size < high - 1e-9).mean()) / 2) for size in sizes]
    mean, error = mean_and_error(below)
    assert error < 0.01
    assert abs(mean - share) <= 3 * error


def test_size_on_imaging_is_the_size_at_pathology_with_an_error_of_8_percent(draws: list[Patients]) -> None:
    ratio = np.concatenate([np.log(p.values["tumour_size_imaging"] / p.values["tumour_size_pathology"]) for p in draws])
    assert float(ratio.std()) == pytest.approx(0.08, abs=0.005)
    assert float(ratio.mean()) == pytest.approx(0, abs=0.002)


def test_declared_quartiles_of_age_and_share_of_men_hold_whatever_the_mvi() -> None:
    age = Quartiles(lower=49, median=59, upper=64)
    drawn = draws_of(consortium(PUBLISHED, clinical=Clinical(male=0.819, age=age)))
    for present in (False, True):
        men = [float((np.array(p.cells["sex"])[p.present == present] == "male").mean()) for p in drawn]
        assert within(men, 0.819)
        for at, share in ((age.lower, 0.25), (age.median, 0.5), (age.upper, 0.75)):
            assert within([float((p.values["age"][p.present == present] <= at).mean()) for p in drawn], share)


def test_a_fixed_number_has_mvi_in_random_order(draws: list[Patients]) -> None:
    assert {int(p.present.sum()) for p in draws} == {PRESENT}
    places = np.mean([p.present for p in draws], axis=0)
    expected = PRESENT / (ABSENT + PRESENT)
    assert np.abs(places - expected).max() <= 4.5 * math.sqrt(expected * (1 - expected) / SEEDS)


@pytest.mark.parametrize(("prevalence", "effect"), [(0.4, 0.0), (0.4, 0.2), (0.1, 0.6)])
def test_without_a_fixed_number_mvi_follows_the_prevalence_and_varies_by_hospital_with_a_centre_effect(
    prevalence: float, effect: float
) -> None:
    clinical = Clinical(prevalence=prevalence, centre_effect=effect)
    drawn = draws_of(consortium(Site(name="hospital-a", groups=(Group(patients=200),)), clinical=clinical))
    shares = [float(p.present.mean()) for p in drawn]
    assert within(shares, prevalence)
    ratio = float(np.var(shares, ddof=1)) / (prevalence * (1 - prevalence) / 200)
    # The ratio of variances has a standard error of 0.1 where there is no centre effect.
    assert ratio == pytest.approx(1, abs=0.3) if effect == 0 else ratio > 3


def test_grades_among_patients_with_mvi_have_the_declared_share(draws: list[Patients]) -> None:
    assert within([float((p.grade[p.present] == 2).mean()) for p in draws], Clinical().second_grade)
    for p in draws[:5]:
        assert p.cells["mvi_grade"] == [f"M{g}" for g in p.grade]
        assert [c == "present" for c in p.cells["mvi"]] == [g != "M0" for g in p.cells["mvi_grade"]]


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_image_processes_differ_by_the_declared_signal_and_more_with_the_second_grade(
    draws: list[Patients], factor: float
) -> None:
    site = PUBLISHED.model_copy(update={"signal": factor})
    drawn = draws if factor == 1 else draws_of(consortium(site, imaging=Imaging(signal=SIGNAL)))
    grade = np.concatenate([p.grade for p in drawn])
    for name in PROCESSES:
        scores = np.concatenate([p.scores[name] for p in drawn])
        means = [float(scores[grade == g].mean()) for g in range(3)]
        d = getattr(SIGNAL, name.removeprefix("image_")) * factor
        assert means[0] == pytest.approx(0, abs=0.02)
        assert float(scores[grade > 0].mean()) == pytest.approx(d, abs=0.02)
        assert means[2] == pytest.approx(1.5 * means[1], abs=0.04)
        assert float(scores[grade == 1].std()) == pytest.approx(1, abs=0.02)


def test_without_images_the_default_signal_applies() -> None:
    drawn = draws_of(consortium(PUBLISHED))
    difference = [float(p.scores["image_ring"][p.present].mean()) for p in drawn]
    assert within(difference, Signal().ring)


def test_the_second_grade_shifts_nothing_but_the_images(draws: list[Patients]) -> None:
    for name in draws[0].scores:
        gaps = [float(p.scores[name][p.grade == 2].mean() - p.scores[name][p.grade == 1].mean()) for p in draws]
        mean, error = mean_and_error(gaps)
        assert error < 0.02
        assert (abs(mean) <= 3.5 * error) == (name not in PROCESSES), name


@pytest.mark.parametrize("name", list(TRAITS))
def test_traits_have_the_declared_share_and_odds_ratio(draws: list[Patients], name: str) -> None:
    assert within([float(dichotomy(p, name)[~p.present].mean()) for p in draws], TRAITS[name].absent)
    present = np.concatenate([p.present for p in draws])
    found = np.concatenate([dichotomy(p, name) for p in draws])
    share = [float(found[present == mvi].mean()) for mvi in (False, True)]
    odds = [s / (1 - s) for s in share]
    assert odds[1] / odds[0] == pytest.approx(TRAITS[name].odds_ratio, rel=0.06)


def test_edmondson_grades_i_and_iv_are_the_assumed_part_of_the_low_and_high_ones(draws: list[Patients]) -> None:
    for low, high, share in (("I", "II", 0.2), ("IV", "III", 0.15)):
        level = np.concatenate([np.array(p.cells["edmondson"]) for p in draws])
        assert float((level == low).sum() / np.isin(level, [low, high]).sum()) == pytest.approx(share, abs=0.01)


def test_latent_scores_reach_the_declared_correlations(draws: list[Patients]) -> None:
    names = list(draws[0].scores)
    within_grade = []
    for p in draws:
        scores = np.column_stack([p.scores[name] for name in names])
        means = np.array([scores[p.present == mvi].mean(axis=0) for mvi in (False, True)])
        within_grade.append(scores - means[p.present.astype(int)])
    reached = np.corrcoef(np.concatenate(within_grade), rowvar=False)
    declared = correlation_matrix(names)
    # Only the part within one hospital is seen here; images also differ by grade within MVI, hence 0.03.
    assert np.abs(reached - declared).max() < 0.03
    assert sum(one in names and other in names for one, other in CORRELATIONS) == len(CORRELATIONS)


def test_correlations_are_positive_definite_for_every_set_of_traits() -> None:
    base = [*MARGINS, SIZE, *PROCESSES]
    traits = sorted({name for pair in CORRELATIONS for name in pair} - set(base))
    assert traits
    for size in range(len(traits) + 1):
        for chosen in itertools.combinations(traits, size):
            assert np.linalg.eigvalsh(correlation_matrix([*base, *chosen, "a_trait_of_no_pair"])).min() > 0.01


def test_conjugated_bilirubin_never_exceeds_the_total(draws: list[Patients]) -> None:
    for p in draws:
        total, part = (np.array(p.cells[f"{c}_bilirubin"], dtype=float) for c in ("total", "conjugated"))
        assert (part <= total).all()


def test_every_value_fits_the_dictionary(draws: list[Patients]) -> None:
    checked = 0
    for column in draws[0].cells:
        variable = DICTIONARY.get(column)
        if variable is None:
            continue
        checked += 1
        known = [cell for p in draws for cell in p.cells[column]]
        if variable.kind == "continuous":
            assert variable.low is not None
            assert variable.high is not None
            numbers = np.array(known, dtype=float)
            assert variable.low <= numbers.min(), column
            assert numbers.max() <= variable.high, column
        else:
            assert set(known) <= set(variable.levels), column
    assert checked >= len(MARGINS) + len(TRAITS) + 2


def test_values_are_the_cells_as_numbers(draws: list[Patients]) -> None:
    words = {"no": 0, "yes": 1, "absent": 0, "present": 1, "male": 0, "female": 1, "M0": 0, "M1": 1, "M2": 2}
    words |= {"I": 1, "II": 2, "III": 3, "IV": 4}
    columns = [c for c in draws[0].cells if c != "patient_id"]
    assert {"sex_female" if c == "sex" else c for c in columns} == set(draws[0].values)
    for column in columns:
        numbers = [float(words.get(cell, cell)) for cell in draws[0].cells[column]]
        assert numbers == draws[0].values["sex_female" if column == "sex" else column].tolist()


def test_ineligible_patients_have_the_declared_share_and_surgery_is_soon(draws: list[Patients]) -> None:
    columns = ("macrovascular_invasion", "prior_treatment")
    assert within([float(np.mean([p.values[c].mean() for c in columns])) for p in draws], 0.02)
    assert not np.array_equal(draws[0].values[columns[0]], draws[0].values[columns[1]])
    days = np.concatenate([p.values["imaging_to_surgery_days"] for p in draws])
    assert days.min() == 1
    assert days.max() == 90
    assert float((days > 30).mean()) == pytest.approx(math.exp(-30 / 9), abs=0.005)


def test_columns_are_in_order_and_cohort_is_there_where_any_group_has_a_label() -> None:
    labelled = Site(name="hospital-b", groups=(Group(label="2015", patients=3), Group(label="2018", patients=2)))
    plain = Site(name="hospital-a", groups=(Group(patients=4),))
    declared = consortium(plain, labelled).model_copy(update={"survival": Survival(endpoints=("os",))})
    p = draw_site(declared, labelled, 1)
    assert p.labels == ("2015", "2015", "2015", "2018", "2018")
    assert p.ids[:2] == ("hospital-b-0001", "hospital-b-0002")
    assert list(p.cells) == [
        "patient_id", "cohort", "mvi", "mvi_grade", *MARGINS, "tumour_size_imaging", "tumour_size_pathology", *TRAITS,
        "macrovascular_invasion", "prior_treatment", "imaging_to_surgery_days", "os_days", "os_event",
    ]  # fmt: skip
    assert draw_site(declared, plain, 1).cells["cohort"] == [""] * 4
    assert "cohort" not in draw_site(consortium(plain), plain, 1).cells


def test_the_same_seed_gives_the_same_patients_and_another_seed_does_not() -> None:
    declared = consortium(PUBLISHED)
    one, two, other = (draw_site(declared, PUBLISHED, seed) for seed in (7, 7, 8))
    assert one.cells == two.cells
    assert one.cells != other.cells


def test_a_hospital_has_the_same_patients_whichever_others_there_are() -> None:
    second = Site(name="hospital-b", groups=(Group(patients=50),))
    alone = draw_site(consortium(PUBLISHED), PUBLISHED, 3)
    larger = second.model_copy(update={"groups": (Group(patients=90),)})
    for others in ((second,), (larger,)):
        among = consortium(*others, PUBLISHED)
        assert draw_site(among, among.sites[-1], 3).cells == alone.cells


def test_the_first_patients_keep_their_scores_when_more_follow() -> None:
    sizes = [Site(name="hospital-b", groups=(Group(patients=n),)) for n in (50, 90)]
    few, many = (draw_site(consortium(site), site, 3) for site in sizes)
    same = few.grade == many.grade[:50]
    assert 25 < same.sum() < 50
    for name in few.scores:
        assert np.array_equal(few.scores[name][same], many.scores[name][:50][same])


def test_two_hospitals_have_patients_of_their_own() -> None:
    sites = [Site(name=name, groups=(Group(patients=400),)) for name in ("hospital-a", "hospital-b")]
    one, two = (draw_site(consortium(*sites), site, 3) for site in sites)
    for name in one.scores:
        assert abs(float(np.corrcoef(one.scores[name], two.scores[name])[0, 1])) < 0.25


def test_no_two_consortia_share_patients_whatever_the_seed() -> None:
    """Or a model would be tested on the patients it was trained on."""
    one = consortium(Site(name="hospital-a", groups=(Group(patients=4000),)))
    other = one.model_copy(update={"name": "another"})
    first, second = (draw_site(declared, declared.sites[0], 1) for declared in (one, other))
    for name in first.scores:
        correlation = float(np.corrcoef(first.scores[name], second.scores[name])[0, 1])
        assert abs(correlation) < 4 / math.sqrt(4000), name


def test_a_second_reader_agrees_as_declared_and_changes_nothing_else_that_is_drawn() -> None:
    twice = {name: trait.model_copy(update={"second_reader": 0.7}) for name, trait in TRAITS.items()}
    site = Site(name="hospital-a", groups=(Group(patients=4000),))
    once = draw_site(consortium(site), site, 3)
    again = draw_site(consortium(site, clinical=Clinical(traits=twice)), site, 3)
    added = [second_column(name) for name in TRAITS]
    assert [name for name in again.cells if name not in once.cells] == added
    assert {name: cells for name, cells in again.cells.items() if name not in added} == dict(once.cells)
    for name in TRAITS:
        first, second = again.cells[name], again.cells[second_column(name)]
        assert abs(cohen_kappa_score(first, second) - 0.7) < 0.05
        assert abs(first.count("yes") - second.count("yes")) < 100
