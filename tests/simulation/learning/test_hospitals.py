"""simulation: learning: hospitals with drawn stacks are hospitals to every site program, and tell the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cohort.site import load_site
from client.cohort.store import load_prepared, store_digest, store_folder
from common.errors import FedmviError
from common.study.fingerprint import digest
from common.study.loader import load_study, parse_study
from common.study.protocol import Study
from simulation.cli import app
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.learning.pictures import FIELD_MM, SLICES, Scanner, draw_patient, draw_scanner
from simulation.shipped import shipped_study

SEQUENCES = ("t1", "t1a", "t1v", "t1d")


@pytest.fixture(scope="module")
def study() -> Study:
    text = shipped_study(Path("demo-network")).read_text().replace("size = 64", "size = 32")
    return parse_study(text.replace('reference = "t1v"', 'reference = "t1v"\noptional = ["t1"]'))


@pytest.fixture(scope="module")
def sites(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "sites"
    make_learning_hospitals(out, study, Drawing(seed=3, patients=10, absent=0.3))
    return out


def test_a_drawn_store_is_whole_and_a_site_loads_it(study: Study, sites: Path) -> None:
    site = load_site(sites / "hospital-b")
    table = load_prepared(site, study)
    assert table.n == 10
    np.testing.assert_array_equal(table.endpoints["mvi"], table.endpoints["mvi_grade"] > 0)
    folder = store_folder(site, study)
    manifest = json.loads((folder / "prepared.json").read_text())
    for name, sealed in manifest["files"].items():
        assert digest((folder / name).read_bytes()) == sealed
    stacks = {path.parent.relative_to(folder / "stacks").as_posix() for path in folder.glob("stacks/*/*/pixels.npy")}
    assert {f"{patient}/t1a" for patient in table.patients} <= stacks
    assert 0 < sum(name.endswith("/t1") for name in stacks) < 10, "an optional sequence is absent of some"
    for name in sorted(stacks):
        pixels = np.load(folder / "stacks" / name / "pixels.npy", allow_pickle=False)
        about = json.loads((folder / "stacks" / name / "result.json").read_text())
        assert pixels.shape == (3, 32, 32) and pixels.dtype == np.float32
        assert about["percentiles"] == sorted(about["percentiles"]) and not about["repeated"]


def test_a_seed_decides_every_patient_and_another_seed_other_ones(study: Study, sites: Path, tmp_path: Path) -> None:
    one = parse_study(shipped_study(Path("demo-network")).read_text().replace("size = 64", "size = 32"))
    for seed, folder in ((3, "again"), (3, "same"), (4, "other")):
        make_learning_hospitals(tmp_path / folder, one, Drawing(seed=seed, patients=5))
    digests = [store_digest(load_site(tmp_path / name / "external-e"), one) for name in ("again", "same", "other")]
    assert digests[0] == digests[1] != digests[2]


def test_the_rim_grows_with_the_grade_in_the_arterial_phase_and_hardly_without_contrast_agent() -> None:
    scanner = Scanner(pixel_mm=1.2, gain=1.0, contrast=1.0, noise=0.0, blur_mm=0.0)

    def rims(effect: float) -> list[float]:
        of_grade = [draw_patient("p", g, SEQUENCES, scanner, effect, np.random.default_rng(5)).images for g in range(3)]
        arrays = [{name: read.image for name, read in images.items()} for images in of_grade]
        import SimpleITK as sitk  # noqa: N813

        volumes = [{name: sitk.GetArrayFromImage(image) for name, image in each.items()} for each in arrays]
        assert volumes[0]["t1a"].shape == (SLICES, *2 * (round(FIELD_MM / 1.2),))
        grown = [float((volumes[g][s] - volumes[0][s]).max()) for g in (1, 2) for s in ("t1a", "t1")]
        return grown

    m1, m1_plain, m2, m2_plain = rims(0.4)
    assert m2 == pytest.approx(2 * m1, rel=1e-3)
    assert 0.4 < m2 < 0.4 * 1.3 + 1e-3
    assert m2_plain == pytest.approx(0.05 * m2, rel=1e-3) and m1_plain < m2_plain
    assert rims(0.0) == [0.0] * 4


def test_without_shift_all_scanners_are_the_same() -> None:
    rng = np.random.default_rng(1)
    assert draw_scanner(0.0, rng) == draw_scanner(0.0, rng)
    assert draw_scanner(1.0, rng) != draw_scanner(1.0, rng)


def test_nothing_is_drawn_for_a_study_of_real_patients_or_of_features(tmp_path: Path) -> None:
    text = shipped_study(Path("demo-network")).read_text()
    with pytest.raises(FedmviError, match="814"):
        real = parse_study(text.replace("simulated = true", "simulated = false", 1))
        make_learning_hospitals(tmp_path / "sites", real, Drawing(seed=1))
    with pytest.raises(FedmviError, match="815"):
        make_learning_hospitals(tmp_path / "sites", load_study(shipped_study(Path("demo"))), Drawing(seed=1))
    assert not (tmp_path / "sites").exists()


def test_the_command_tells_programs_what_was_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["stacks", "--out", str(tmp_path / "sites"), "--patients", "10", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [site["name"] for site in report["sites"]] == [
        "external-e", "hospital-a", "hospital-b", "hospital-c", "hospital-d",
    ]  # fmt: skip
    assert all(site["classes"] == {"M0": 5, "M1": 3, "M2": 2} for site in report["sites"])
    assert report["notes"][0].startswith("All patients are simulated")
