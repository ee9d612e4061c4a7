"""tests/simulation: hospitals are written whole, always the same, without the truth, and marked as simulated."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from client.cohort.check import check_site
from client.cohort.site import load_site
from common.errors import FedmviError, Severity
from common.study.loader import load_study
from simulation.cohorts import truth
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, Group, Trait, load_consortium
from simulation.hospitals import appointments, make_hospitals, notes_of
from simulation.imaging import examine as examining
from simulation.previewing import preview_consortium

SEED = 3
FORMATS = {"hospital-a": {".nii.gz"}, "hospital-b": {".dcm"}, "external-c": {".dcm"}}


@pytest.fixture(scope="module", autouse=True)
def few_patients_for_the_best_auc() -> Iterator[None]:
    """The best AUC has tests of its own; here it may be rough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "POPULATION", 500)
        yield


@pytest.fixture(scope="module")
def consortium() -> Consortium:
    """The shipped consortium `tiny` with fewer patients and phases: one hospital for each way to write masks."""
    tiny = load_consortium("tiny")
    assert tiny.imaging is not None
    groups = [(Group(patients=2, present=1),), (Group(patients=1),), (Group(patients=1),)]
    return tiny.model_copy(
        update={
            "sites": tuple(s.model_copy(update={"groups": g}) for s, g in zip(tiny.sites, groups, strict=True)),
            "imaging": tiny.imaging.model_copy(update={"phases": ("arterial", "portal")}),
        }
    )


@pytest.fixture(scope="module")
def made(consortium: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "sites"
    make_hospitals(consortium, out, SEED, workers=1)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def only(consortium: Consortium, site: str) -> Consortium:
    return consortium.model_copy(update={"sites": tuple(s for s in consortium.sites if s.name == site)})


# ---------------------------------------------------------------------------------------------------- same bytes


def test_two_processes_write_the_bytes_of_one_and_tell_the_progress(
    consortium: Consortium, made: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    make_hospitals(consortium, tmp_path / "new", SEED, workers=2, progress=lambda *step: steps.append(step))
    assert contents(tmp_path / "new") == contents(made)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_hospital_is_the_same_whichever_others_there_are(consortium: Consortium, made: Path, tmp_path: Path) -> None:
    make_hospitals(only(consortium, "external-c"), tmp_path / "one", SEED, workers=1)
    alone, among = contents(tmp_path / "one" / "external-c"), contents(made / "external-c")
    assert set(alone) == set(among)
    different = {name for name in alone if alone[name] != among[name]}
    assert different <= {"peers.toml", "expression.csv"}, "keys of the others, and genes"


def test_another_seed_makes_other_patients_and_other_pictures(
    consortium: Consortium, made: Path, tmp_path: Path
) -> None:
    make_hospitals(only(consortium, "hospital-a"), tmp_path / "other", SEED + 1, workers=1)
    before, after = contents(made / "hospital-a"), contents(tmp_path / "other" / "hospital-a")
    assert set(before) == set(after)
    assert [name for name in after if before[name] == after[name]] == ["site.toml"]


def test_every_patient_has_randomness_of_their_own_under_every_seed(consortium: Consortium) -> None:
    booked = []
    for seed in (1, 2):
        drawn = [draw_site(consortium, site, seed) for site in consortium.sites]
        booked += appointments(consortium, seed, drawn)
    assert [a.findings.patient for a in booked[:4]] == [a.findings.patient for a in booked[4:]]
    states = {tuple(appointment.stream().generate_state(4)) for appointment in booked}
    assert len(states) == len(booked) == 8


# --------------------------------------------------------------------------------------------------- whole or not


def test_a_filled_target_is_refused_and_left_as_it_was(consortium: Consortium, tmp_path: Path) -> None:
    (tmp_path / "work.txt").write_text("of a year")
    with pytest.raises(FedmviError) as caught:
        make_hospitals(consortium, tmp_path, SEED)
    assert caught.value.number == 213
    assert contents(tmp_path) == {"work.txt": b"of a year"}


def test_a_failure_in_the_middle_leaves_nothing(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = only(consortium, "hospital-a")
    whole, calls = examining.examine, []

    def failing(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise OSError("no space left on the device")
        return whole(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(examining, "examine", failing)
        with pytest.raises(OSError, match="no space"):
            make_hospitals(one, tmp_path / "sites", SEED, workers=1)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ what is in them


def test_every_hospital_writes_pictures_and_masks_as_it_declares(consortium: Consortium, made: Path) -> None:
    for site in consortium.sites:
        files = [p for part in ("images", "masks") for p in (made / site.name / part).rglob("*") if p.is_file()]
        assert {p.name[p.name.index(".") :].removeprefix(".reader2") for p in files} == FORMATS[site.name]
        with (made / site.name / "patients.csv").open() as table:
            ids = {row["patient_id"] for row in csv.DictReader(table)}
        for part in ("images", "masks"):
            assert {p.name for p in (made / site.name / part).iterdir()} == ids
        assert len(ids) == site.patients


def test_no_file_of_a_hospital_holds_any_of_the_truth(made: Path) -> None:
    with (made / "truth" / "patients.csv").open() as table:
        rows = list(csv.DictReader(table))
    scores = [
        text for row in rows for name, text in row.items() if name not in ("site", "patient_id", "cohort", "mvi_grade")
    ]
    assert len(scores) > 60
    told = [text.lstrip("-").encode() for text in scores] + [b"image_temporal", b"image_ring", b"image_tumour"]
    for site in FORMATS:
        files = contents(made / site)
        assert not [name for name in files if "motion" in name or "truth" in name]
        for name, content in files.items():
            plain = gzip.decompress(content) if name.endswith(".gz") else content
            assert not [text for text in told if text in plain], name
    motion = {str(p.relative_to(made / "truth")) for p in (made / "truth").rglob("motion-*")}
    assert motion == {f"{row['site']}/{row['patient_id']}/motion-arterial.nii.gz" for row in rows}


def test_the_truth_says_what_was_declared_and_what_is_attainable(consortium: Consortium, made: Path) -> None:
    said = json.loads((made / "truth" / "consortium.json").read_text())
    assert Consortium.model_validate(said["consortium"]) == consortium
    assert said["seed"] == SEED
    assert {row["variables"] for row in said["attainable_auc"]["rows"]} >= {"image_processes", "image", "all"}


def test_everything_says_that_it_is_simulated(made: Path, consortium: Consortium, tmp_path: Path) -> None:
    kinds = {"toml": 0, "nifti": 0, "dicom": 0}
    for path in made.rglob("*"):
        if path.name == "site.toml":
            assert load_site(path.parent).site.simulated
            assert "A simulated hospital: no row and no picture is a patient." in path.read_text()
            kinds["toml"] += 1
        elif path.name.endswith(".nii.gz"):
            assert b"not a patient" in nib.load(path).header["descrip"].tobytes()
            kinds["nifti"] += 1
        elif path.suffix == ".dcm":
            header = pydicom.dcmread(path, stop_before_pixels=True)
            assert header.SyntheticData == "YES"
            assert "imulated" in header.PatientComments
            kinds["dicom"] += 1
    assert kinds["toml"] == 3
    assert min(kinds.values()) > 2
    record = json.loads((made / "cohort.json").read_text())
    assert record["notes"][0].startswith("All patients are simulated: consortium tiny, seed 3.")
    preview_consortium(only(consortium, "external-c"), tmp_path / "sheet.html", SEED)
    page = (tmp_path / "sheet.html").read_text()
    assert "No picture shows a patient" in page
    assert record["notes"][0] in page


def test_notes_name_every_trait_with_its_odds_ratio_and_where_it_is_from(consortium: Consortium) -> None:
    traits = {
        "imaging_capsule": Trait(absent=0.5, odds_ratio=0.75, assumed=True),
        "multiple_tumours": Trait(absent=0.15, odds_ratio=1.8, source="A Journal 2020, Table 2"),
    }
    changed = consortium.model_copy(update={"clinical": consortium.clinical.model_copy(update={"traits": traits})})
    notes = notes_of(changed, 1)
    (line,) = [note for note in notes if "imaging_capsule" in note]
    assert "imaging_capsule: 50% without MVI, odds ratio 0.75 (assumed" in line
    assert "multiple_tumours: 15% without MVI, odds ratio 1.8 (A Journal 2020, Table 2" in line
    assert set(consortium.assumptions) <= set(notes)
    assert all(any(source.rstrip(".") in note for note in notes) for source in consortium.sources)


# ------------------------------------------------------------------------------------------- what hospitals accept


def test_the_demonstration_passes_the_check_of_its_study(tmp_path: Path) -> None:
    report = make_hospitals(load_consortium("demo"), tmp_path / "demo", 1)
    study = load_study(Path(__file__).parents[2] / "studies" / "demo.toml")
    assert len(report.sites) == 6
    for site in report.sites:
        problems = check_site(tmp_path / "demo" / site.name, study)
        assert [problem for problem in problems if problem.severity is Severity.ERROR] == []
        assert sum(site.classes.values()) <= site.patients


def test_the_control_of_the_faulty_hospitals_has_no_problem_at_all(tmp_path: Path) -> None:
    hostile = only(load_consortium("hostile"), "control")
    make_hospitals(hostile, tmp_path / "sites", 1, workers=1)
    assert check_site(tmp_path / "sites" / "control", None) == []
    masks = [np.asarray(nib.load(p).dataobj) for p in (tmp_path / "sites" / "control" / "masks").rglob("tumour.nii.gz")]
    assert len(masks) == 8
    assert all(mask.any() for mask in masks)
