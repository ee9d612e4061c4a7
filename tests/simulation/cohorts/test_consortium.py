"""tests/simulation: the shipped consortia have the published numbers, and a wrong file is told what is wrong."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from common.errors import FedmviError
from common.study.dictionary import DICTIONARY
from common.study.drafting import MIN_READ_TWICE
from common.study.loader import load_study
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import (
    CT_PHASES,
    MR_PHASES,
    Consortium,
    Imaging,
    load_consortium,
)
from simulation.cohorts.expression import draw_expression
from simulation.cohorts.faults import FAULTS, check_faults
from simulation.cohorts.truth import attainable
from simulation.imaging.examine import examine
from simulation.imaging.findings import findings_of
from simulation.shipped import shipped_consortia

ROOT = Path(__file__).parents[3]
PUBLISHED = ("mri-as-published", "mri-federated", "ct-as-published", "ct-federated")
SITE = '[[sites]]\nname = "a"\ngroups = [{ patients = 5 }]\n'
HEAD = 'name = "c"\ntitle = "C"\n'


def by_label(consortium: Consortium) -> Counter[str]:
    groups = Counter[str]()
    for site in consortium.sites:
        for group in site.groups:
            groups[group.label] += group.patients
    return groups


def sites_with(consortium: Consortium, label: str) -> int:
    return sum(any(group.label == label for group in site.groups) for site in consortium.sites)


def test_the_ct_study_reduces_by_two_readers_agreement_and_its_consortium_has_enough_of_both() -> None:
    study, consortium = load_study(ROOT / "studies" / "ct-radiomics.toml"), load_consortium("ct-federated")
    reduced = [model for model in study.models if model.reduction is not None]
    assert len(reduced) == 6 and all(m.reduction.icc == 0.75 for m in reduced if m.reduction is not None)
    assert consortium.imaging is not None and consortium.imaging.readers == 2
    train = study.cohort("train")
    patients = {site.name: {g.label: g.patients for g in site.groups}.get(train.label, 0) for site in consortium.sites}
    assert all(patients[name] >= MIN_READ_TWICE for name in train.sites)
    assert all(consortium.clinical.traits[name].second_reader for name in study.traits_read_twice())


def test_nine_consortia_are_shipped() -> None:
    assert shipped_consortia() == (
        "ct-as-published", "ct-federated", "demo", "demo-imaging", "hostile", "mri-as-published", "mri-federated",
        "radiogenomics", "tiny",
    )  # fmt: skip


@pytest.mark.parametrize("name", shipped_consortia())
def test_a_shipped_consortium_has_its_files_name_and_says_what_is_assumed(name: str) -> None:
    consortium = load_consortium(name)
    assert consortium.name == name
    assert consortium.sources and consortium.assumptions
    for sentence in (*consortium.sources, *consortium.assumptions):
        assert sentence.endswith(".") and "  " not in sentence and "\n" not in sentence
    check_faults(consortium)


@pytest.mark.parametrize("name", shipped_consortia())
def test_the_columns_that_a_shipped_consortium_names_are_in_the_dictionary(name: str) -> None:
    consortium = load_consortium(name)
    missing = consortium.missing
    lost = {*missing.mcar_columns, *missing.mar_columns, *missing.mnar_columns}
    assert {*consortium.clinical.traits, *(lost - {"mvi"})} <= set(DICTIONARY)
    assert bool(missing.mcar) == bool(missing.mcar_columns)


@pytest.mark.parametrize("name", ["mri-as-published", "mri-federated"])
def test_the_mri_consortia_have_the_published_patients(name: str) -> None:
    consortium = load_consortium(name)
    assert by_label(consortium) == {"2015": 149, "2018": 172}
    present = {"2015": 0, "2018": 0}
    for site in consortium.sites:
        for group in site.groups:
            assert group.present is not None
            present[group.label] += group.present
    assert present == {"2015": 86, "2018": 99}
    assert consortium.imaging is not None
    assert consortium.imaging.acquired == MR_PHASES


def test_the_federated_mri_consortium_has_three_hospitals_a_year_with_a_scanner_each() -> None:
    consortium = load_consortium("mri-federated")
    assert [sites_with(consortium, year) for year in ("2015", "2018")] == [3, 3]
    scanners = [site.scanner for site in consortium.sites]
    assert all(one != other for i, one in enumerate(scanners) for other in scanners[:i])


@pytest.mark.parametrize("name", ["ct-as-published", "ct-federated"])
def test_the_ct_consortia_have_the_published_patients(name: str) -> None:
    consortium = load_consortium(name)
    assert by_label(consortium) == {
        "train": 334, "internal-test": 142, "external-test": 141, "outcome": 121, "genomics": 35,
    }  # fmt: skip
    assert consortium.clinical.male == 0.819
    assert consortium.clinical.age is not None
    age = consortium.clinical.age
    assert (age.lower, age.median, age.upper) == (49, 59, 64)
    assert consortium.imaging is not None
    assert consortium.imaging.acquired == CT_PHASES
    assert consortium.expression is not None
    assert consortium.expression.labels == ("genomics",)


def test_every_role_of_the_ct_study_has_three_hospitals_or_more_when_federated() -> None:
    consortium = load_consortium("ct-federated")
    roles = ("train", "internal-test", "external-test", "outcome", "genomics")
    assert [sites_with(consortium, role) for role in roles] == [4, 4, 3, 3, 3]


@pytest.mark.parametrize("name", ["ct-as-published", "ct-federated"])
def test_hospitals_that_do_not_train_see_less_with_other_scanners(name: str) -> None:
    consortium = load_consortium(name)
    for site in consortium.sites:
        trains = any(group.label == "train" for group in site.groups)
        assert (site.signal == 1) if trains else (site.signal < 1)
        if not trains:
            assert site.scanner != consortium.sites[0].scanner


@pytest.mark.parametrize("name", PUBLISHED)
def test_all_published_patients_are_eligible(name: str) -> None:
    assert load_consortium(name).clinical.ineligible == 0


def test_the_demo_has_the_hospitals_of_the_study_demo() -> None:
    consortium = load_consortium("demo")
    assert {site.name: site.patients for site in consortium.sites} == {
        "hospital-a": 260, "hospital-b": 200, "hospital-c": 160, "hospital-d": 140, "external-e": 180,
        "external-f": 120,
    }  # fmt: skip
    study = load_study(ROOT / "studies" / "demo.toml")
    assert set(study.sites()) == {site.name for site in consortium.sites}
    wanted = set(study.variable_names()) | {column for e in study.endpoints for column in e.columns}
    assert wanted <= set(draw_site(consortium, consortium.sites[0], 1).cells)
    assert consortium.imaging is None


def test_ct_patients_have_the_published_age_and_share_of_men() -> None:
    consortium = load_consortium("ct-as-published")
    site = consortium.sites[0]
    men = np.concatenate([1 - draw_site(consortium, site, seed).values["sex_female"] for seed in range(20)])
    ages = np.concatenate([draw_site(consortium, site, seed).values["age"] for seed in range(20)])
    # Hospitals differ: the spread of 20 draws is that of their shifts, 0.2 standard deviations of a normal score each.
    shift = 3 * 0.2 / np.sqrt(20)
    score = NormalDist().inv_cdf(float(men.mean()))
    assert score == pytest.approx(NormalDist().inv_cdf(0.819), abs=shift)
    assert np.median(ages) == pytest.approx(59, abs=shift * 10)


@pytest.mark.parametrize("name", ["tiny", "hostile"])
def test_a_small_consortium_shows_every_tumour(name: str) -> None:
    """Wide pixels and few slices are enough to see and outline what there is."""
    consortium = load_consortium(name)
    assert consortium.imaging is not None
    site = consortium.sites[0]
    patients = draw_site(consortium, site, 1)
    for i in range(len(patients)):
        stream = np.random.SeedSequence([1, i])
        seen = examine(findings_of(patients, i), consortium.imaging, site.scanner, stream)
        assert seen.masks["tumour"].voxels.sum() >= 20
        assert set(seen.phases) == set(consortium.imaging.acquired)


def test_the_tiny_consortium_has_a_bit_of_everything() -> None:
    consortium = load_consortium("tiny")
    assert [site.patients for site in consortium.sites] == [6, 6, 6]
    assert consortium.imaging is not None
    assert consortium.imaging.readers == 2
    formats = [consortium.formats(site) for site in consortium.sites]
    assert formats == [("nifti", "nifti"), ("dicom", "seg"), ("dicom", "rtstruct")]
    counts = draw_expression(consortium, draw_site(consortium, consortium.sites[0], 1), 1).counts
    assert counts.shape == (200, 6)


def test_the_hostile_consortium_has_every_fault_once_at_a_hospital_of_its_name() -> None:
    control, *others = load_consortium("hostile").sites
    assert control.flaws == ()
    assert [(site.name, *site.flaws) for site in others] == [(name, name) for name in FAULTS]


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(FedmviError) as caught:
        load_consortium("nowhere")
    assert caught.value.number == 808
    assert "mri-as-published" in str(caught.value)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + SITE)
    consortium = load_consortium(path)
    assert (consortium.name, consortium.sites[0].patients) == ("c", 5)


def test_a_path_to_a_file_that_is_not_there_is_not_taken_for_a_shipped_name(tmp_path: Path) -> None:
    with pytest.raises(FedmviError) as caught:
        load_consortium(tmp_path / "demo.toml")
    assert caught.value.number == 808


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = =\n", "line 1"),
        (HEAD, "sites"),
        (HEAD + SITE + SITE, "two sites have one name"),
        (HEAD + SITE + "colour = 1\n", "colour"),
        (HEAD + SITE.replace("5", "0"), "patients"),
        (HEAD + SITE.replace("patients = 5", "patients = 5, present = 6"), "more patients with MVI than patients"),
        (HEAD + SITE.replace('"a"', '"A b"'), "name"),
        (HEAD + SITE + "[clinical]\nprevalence = 1.5\n", "clinical.prevalence"),
        (HEAD + SITE + "[clinical]\nage = { lower = 50, median = 49, upper = 60 }\n", "quartiles must rise"),
        (HEAD + SITE + "[clinical.traits]\nx = { absent = 0.5, odds_ratio = 2 }\n", "marked assumed"),
        (HEAD + SITE + "[clinical.traits]\nafp = { absent = 0.5, odds_ratio = 2, assumed = true }\n", "another column"),
        (HEAD + SITE + 'images = "nifti"\nmasks = "seg"\n', "images = 'dicom'"),
        (HEAD + SITE + "[expression]\nassociated = 86\n", "less than or equal to 85"),
        (HEAD + SITE + '[expression]\nlabels = ["trian"]\n', "no group is called trian"),
        (HEAD + SITE.replace('"a"', '"truth"'), "cannot be called 'truth'"),
        (HEAD + SITE + 'images = "dicom"\n', "need [imaging]"),
        (
            HEAD + SITE + "[clinical]\nprevalance = 0.5\n",
            "line 7: clinical.prevalance: unknown field; did",
        ),
        (HEAD + SITE + "[missing]\nmcar = 0.1\n", "mcar: a share and its columns"),
        (HEAD + SITE + '[missing]\nmar_columns = ["ggt"]\n', "mar: a share and its columns"),
        (HEAD + SITE.replace("patients = 5", 'patients = 5, label = "tr,ain"'), "label"),
        (HEAD + SITE.replace("patients = 5", "patients = 100000000000"), "less than or equal to 100000"),
        (HEAD + SITE + "[clinical]\nsize_absent = { lower = 1, median = 2, upper = inf }\n", "finite"),
        (HEAD + SITE + '[survival]\npreset = "rates"\nloss_per_month = 0.1\n', "loss_per_month must be 0"),
        (HEAD + SITE + '[imaging]\nmodality = "mr"\nphases = ["portal"]\n', "phases of mr"),
        (HEAD + SITE + '[imaging]\nmasks = "rtstruct"\n', "images = 'dicom'"),
        (HEAD + SITE + '[imaging]\nmasks = "seg"\n', "images = 'dicom'"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(FedmviError) as caught:
        load_consortium(path)
    assert caught.value.number == 809
    assert problem in str(caught.value)


def test_every_problem_of_a_file_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(HEAD + SITE + "[clinical]\nprevalence = 2\nsecond_grade = 2\n")
    with pytest.raises(FedmviError) as caught:
        load_consortium(path)
    assert len(re.findall("clinical", str(caught.value.facts["problems"]))) == 2


def test_other_hospitals_may_take_the_place_of_the_declared_ones() -> None:
    changed = load_consortium("ct-federated").with_patients({"x": 10, "y": 20})
    assert {site.name: site.patients for site in changed.sites} == {"x": 10, "y": 20}
    assert changed.clinical == load_consortium("ct-federated").clinical


def test_masks_are_drawn_on_the_portal_venous_phase_or_the_first_there_is() -> None:
    assert Imaging(modality="ct").reference == "portal"
    assert Imaging(modality="mr").reference == "t1v"
    assert Imaging(modality="ct", phases=("delayed", "plain")).reference == "plain"


def test_a_wrong_hospital_does_not_make_the_file_look_as_if_it_had_none(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(HEAD + SITE.replace("patients = 5", "patients = 0"))
    with pytest.raises(FedmviError) as caught:
        load_consortium(path)
    assert "at least 1 item" not in str(caught.value)
    assert "line 5: sites[1].groups[1].patients" in str(caught.value)


@pytest.mark.parametrize("name", ["ct-as-published", "mri-as-published"])
def test_pictures_of_the_published_consortia_add_to_what_is_known_without_them(name: str) -> None:
    """Otherwise no study could show what its images are worth."""
    consortium = load_consortium(name)
    drawn = [draw_site(consortium, site, 1) for site in consortium.sites]
    best = {(row.label, row.variables): row.population for row in reversed(attainable(consortium, drawn, 1).rows)}
    for label in {label for patients in drawn for label in patients.labels}:
        everything, findings = best[label, "all"], best[label, "findings"]
        assert everything is not None and findings is not None
        assert everything > findings + 0.03, label
    if name == "ct-as-published":
        internal, external = best["internal-test", "image"], best["external-test", "image"]
        assert internal is not None and external is not None
        assert internal > external + 0.02  # MVI shows less at hospitals that do not train
