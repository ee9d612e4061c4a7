"""tests/simulation: the best AUC is that of a calibrated likelihood ratio, fits closed forms, and is attained."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Clinical, Consortium, Group, Imaging, Quartiles, Signal, Site, Trait
from simulation.cohorts.latent import PROCESSES, SIZE, latent_model
from simulation.cohorts.published import MARGINS
from simulation.cohorts.truth import (
    POPULATION,
    Attainable,
    BestAuc,
    attainable,
    auc_with_error,
    log_likelihood_ratio,
    variable_sets,
)

SIGNAL = Signal(tumour=0.3, ring=0.6, temporal=0.5)
TRAITS = {
    "arterial_rim_enhancement": Trait(absent=0.15, odds_ratio=3.0, assumed=True),
    "tumour_margin_smooth": Trait(absent=0.60, odds_ratio=0.40, assumed=True),
}
CLINICAL = Clinical(traits=TRAITS, centre_effect=0.5)
N = 100_000


def consortium(*sites: Site, clinical: Clinical = CLINICAL) -> Consortium:
    return Consortium(name="test", title="A test", sites=sites, clinical=clinical, imaging=Imaging(signal=SIGNAL))


def hospital(name: str, signal: float = 1.0, label: str = "", patients: int = 300) -> Site:
    return Site(name=name, signal=signal, groups=(Group(label=label, patients=patients),))


@pytest.fixture(scope="module")
def declared() -> Consortium:
    """Forty hospitals with strong centre effects, one of them with two groups, and one whose images show nothing."""
    groups = (Group(label="train", patients=300), Group(label="internal-test", patients=100, present=0))
    many = [hospital(f"hospital-{i}", label="train") for i in range(39)]
    blind = hospital("hospital-blind", signal=0.0, label="external-test")
    return consortium(Site(name="hospital-first", groups=groups), *many, blind)


@pytest.fixture(scope="module")
def best(declared: Consortium) -> Attainable:
    return attainable(declared, [draw_site(declared, site, 4) for site in declared.sites], 4)


def row(best: Attainable, site: str, label: str, variables: str) -> BestAuc:
    (found,) = [r for r in best.rows if (r.site, r.label, r.variables) == (site, label, variables)]
    return found


def ratio_of(declared: Consortium, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Log ratios of very many patients, half of them with MVI."""
    rng = np.random.default_rng(0)
    model = latent_model(declared, 1.0)
    grade = np.where(np.arange(N) % 2, 1 + (rng.random(N) < declared.clinical.second_grade), 0)
    return log_likelihood_ratio(declared, model, model.draw(grade, rng), grade > 0, names), grade > 0


def test_the_auc_is_that_of_scikit_learn_and_its_error_is_about_right() -> None:
    rng = np.random.default_rng(1)
    present = rng.random(500) < 0.4
    score = np.round(present + rng.standard_normal(500), 1)
    auc, error = auc_with_error(score, present)
    assert auc == pytest.approx(roc_auc_score(present, score))
    drawn = [
        auc_with_error(present + np.random.default_rng(seed).standard_normal(500), present)[0] for seed in range(300)
    ]
    assert error == pytest.approx(float(np.std(drawn)), rel=0.2)


@pytest.mark.parametrize("name", ["image_processes", "image", "clinical", "all"])
def test_the_ratio_is_calibrated(declared: Consortium, name: str) -> None:
    ratio, present = ratio_of(declared, variable_sets(declared)[name])
    fitted = LogisticRegression(C=np.inf).fit(ratio[:, None], present)
    assert float(fitted.coef_[0, 0]) == pytest.approx(1, abs=0.03)
    assert float(fitted.intercept_[0]) == pytest.approx(0, abs=0.03)


def test_one_grade_and_independent_processes_give_the_auc_of_their_summed_squares() -> None:
    one_grade = consortium(hospital("hospital-a"), clinical=Clinical(second_grade=1e-6))
    ratio, present = ratio_of(one_grade, PROCESSES)
    auc, error = auc_with_error(ratio, present)
    distance = math.sqrt(SIGNAL.tumour**2 + SIGNAL.ring**2 + SIGNAL.temporal**2)
    assert abs(auc - NormalDist().cdf(distance / math.sqrt(2))) <= 3.5 * error


def test_two_grades_give_the_auc_of_their_mixture() -> None:
    ratio, present = ratio_of(consortium(hospital("hospital-a")), PROCESSES)
    auc, error = auc_with_error(ratio, present)
    distance = math.sqrt(SIGNAL.tumour**2 + SIGNAL.ring**2 + SIGNAL.temporal**2)
    first = distance / (1 + 0.5 * 0.35)
    # The ratio rises with the one direction in which the grades differ: the AUC mixes those of the two grades.
    expected = 0.65 * norm.cdf(first / math.sqrt(2)) + 0.35 * norm.cdf(1.5 * first / math.sqrt(2))
    assert abs(auc - expected) <= 3.5 * error


def test_size_with_its_own_spread_by_mvi_gives_the_auc_of_its_densities() -> None:
    sizes = {False: Quartiles(lower=3, median=4, upper=4.5), True: Quartiles(lower=2, median=4.4, upper=9)}
    declared = consortium(hospital("hospital-a"), clinical=Clinical(size_absent=sizes[False], size_present=sizes[True]))
    ratio, present = ratio_of(declared, (SIZE,))
    auc, error = auc_with_error(ratio, present)

    # For one variable, the AUC of the ratio follows from the two densities on a fine grid.
    grid = np.linspace(-4, 8, 24_001)
    densities = []
    for mvi, q in sizes.items():
        spread = np.where(grid < math.log(q.median), math.log(q.median / q.lower), math.log(q.upper / q.median))
        densities.append(norm.pdf(grid, math.log(q.median), spread / norm.ppf(0.75)))
        assert densities[mvi].sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    order = np.argsort(densities[1] / densities[0])
    absent, found = (density[order] / density.sum() for density in densities)
    expected = float(np.sum(found * (np.cumsum(absent) - absent / 2)))
    assert abs(auc - expected) <= 3.5 * error


def test_what_is_drawn_attains_the_population_with_shifts_of_centres_taken_off(best: Attainable) -> None:
    for name in ("image_processes", "image", "clinical", "all"):
        aucs = [row(best, f"hospital-{i}", "", name) for i in range(39)]
        drawn = [r.auc for r in aucs if r.auc is not None]
        population, error = aucs[0].population, aucs[0].error
        assert population is not None
        assert error is not None
        assert error < 0.002
        spread = math.hypot(float(np.std(drawn, ddof=1)) / math.sqrt(39), error)
        assert abs(float(np.mean(drawn)) - population) <= 3 * spread


def test_hospitals_taken_together_lose_nothing_to_their_shifts(best: Attainable) -> None:
    for name in ("clinical", "all"):
        together = row(best, "", "train", name)
        assert together.absent + together.present == 300 * 40
        assert together.auc == pytest.approx(together.population, abs=0.01)


def test_more_variables_are_never_worse(best: Attainable) -> None:
    processes, image, clinical, everything = (
        row(best, "hospital-1", "", name).population or 0.0 for name in ("image_processes", "image", "clinical", "all")
    )
    assert 0.5 < processes < image < everything
    assert clinical < everything


def test_where_images_show_nothing_their_processes_tell_nothing(best: Attainable) -> None:
    blind = row(best, "hospital-blind", "", "image_processes")
    assert blind.auc == 0.5
    assert blind.population == 0.5
    assert (row(best, "hospital-blind", "", "image").population or 0) > 0.6  # size and traits remain


def test_a_population_over_hospitals_is_between_those_of_its_parts(best: Attainable) -> None:
    blind, seeing, both = (
        row(best, site, "", "image_processes").population or 0 for site in ("hospital-blind", "hospital-1", "")
    )
    assert blind < both < seeing
    assert row(best, "", "train", "image_processes").population == pytest.approx(seeing)


def test_rows_are_by_hospital_and_group_and_empty_classes_have_none(best: Attainable) -> None:
    only_absent = row(best, "hospital-first", "internal-test", "all")
    assert (only_absent.absent, only_absent.present) == (100, 0)
    assert (only_absent.auc, only_absent.population, only_absent.error) == (None, None, None)
    whole, part = (row(best, "hospital-first", label, "all") for label in ("", "train"))
    assert whole.absent == part.absent + 100
    assert whole.present == part.present
    keys = [(r.site, r.label, r.variables) for r in best.rows]
    assert len(set(keys)) == len(keys)
    assert 2 * POPULATION >= 100_000


def test_the_result_is_json(best: Attainable) -> None:
    plain = json.loads(json.dumps(best.as_dict(), allow_nan=False))
    assert plain["seed"] == 4
    assert plain["rows"][0]["variables"] == "image_processes"
    assert len(plain["rows"]) == len(best.rows)


def test_clinical_variables_are_those_before_the_operation() -> None:
    sets = variable_sets(consortium(hospital("hospital-a")))
    assert set(MARGINS) - set(sets["clinical"]) == {"pathological_capsule", "edmondson"}
    assert set(sets["image"]) == {*PROCESSES, SIZE, *TRAITS}
    assert set(sets["all"]) == {*sets["clinical"], *sets["image"]}
