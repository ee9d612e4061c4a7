"""tests/simulation: each deliberate fault is there, does its own damage only, and in a table is told by its number."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from client.cohort.check import check_site
from client.cohort.reading import read_table
from client.cohort.site import load_site
from common.errors import FedmviError
from common.study.loader import parse_study
from common.study.protocol import Study
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import Consortium, Site, load_consortium
from simulation.cohorts.faults import FAULTS, apply_faults, check_faults
from simulation.importers.folder import SiteRows, write_sites

STUDY = """
[study]
name = "hostile"
title = "Damaged hospitals"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[endpoints]]
name = "rfs"
kind = "survival"
columns = ["rfs_days", "rfs_event"]
unit = "days"
maximum = 1826

[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_days", "os_event"]
unit = "days"
maximum = 1826

[[cohorts]]
name = "train"
role = "train"
sites = [SITES]

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = [
  "sex", "cirrhosis", "ggt", { variable = "age", coding = "linear" }, { variable = "afp", coding = "log" },
  { variable = "albumin", coding = "linear" },
]

[[comparisons]]
name = "os-by-mvi"
endpoint = "os"
group = "mvi"
cohort = "train"
times = [365]
"""
TABLE, NIFTI, DICOM = ([name for name, f in FAULTS.items() if f.of == of] for of in ("table", "nifti", "dicom"))
PHASES = ("arterial", "portal")


@pytest.fixture(scope="module")
def hostile() -> Consortium:
    return load_consortium("hostile")


@pytest.fixture(scope="module")
def study(hostile: Consortium) -> Study:
    return parse_study(STUDY.replace("SITES", ", ".join(f'"{site.name}"' for site in hostile.sites)))


@pytest.fixture(scope="module")
def clean(hostile: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All hospitals as they are before their faults."""
    out = tmp_path_factory.mktemp("hostile") / "sites"
    sites = []
    for site in hostile.sites:
        cells = draw_site(hostile, site, 1).cells
        sites.append(SiteRows(site.name, tuple(cells), tuple(zip(*cells.values(), strict=True))))
    write_sites(out, "hostile", sites, about="A hospital with a fault.")
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def copied(source: Path, target: Path) -> Path:
    for name, content in contents(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def found(folder: Path, study: Study | None) -> set[tuple[int, object]]:
    """What the check finds: numbers, and the endpoint where it is about one."""
    return {(problem.number, problem.facts.get("endpoint")) for problem in check_site(folder, study)}


# ------------------------------------------------------------------------------------------------------- registry


def test_every_fault_says_what_is_wrong_in_a_sentence() -> None:
    for name, fault in FAULTS.items():
        assert fault.text[0].isupper() and fault.text.endswith("."), name
    assert len({fault.text for fault in FAULTS.values()}) == len(FAULTS)


def test_an_unknown_fault_is_refused_before_anything_is_changed(clean: Path, tmp_path: Path) -> None:
    folder = copied(clean / "control", tmp_path / "site")
    before = contents(folder)
    with pytest.raises(FedmviError) as caught:
        apply_faults(folder, ("ragged-row", "unheard-of"), rng())
    assert caught.value.number == 809
    assert contents(folder) == before


def test_a_consortium_with_impossible_faults_is_refused(hostile: Consortium) -> None:
    sites = tuple(
        Site.model_validate({"name": f"s{i}", "groups": [{"patients": 3}], "flaws": [flaw]})
        for i, flaw in enumerate(("ragged-row", "unheard-of", "missing-slice", "nan-image"))
    )
    for imaging, refused in ((hostile.imaging, ["s1", "s2"]), (None, ["s1", "s2", "s3"])):
        with pytest.raises(FedmviError) as caught:
            check_faults(hostile.model_copy(update={"sites": sites, "imaging": imaging}))
        problems = str(caught.value.facts["problems"]).split("; ")
        assert [problem[:2] for problem in problems if problem[:1] == "s"] == refused
    check_faults(hostile)


def test_several_faults_add_up(clean: Path, tmp_path: Path, study: Study) -> None:
    folder = copied(clean / "control", tmp_path / "control")
    apply_faults(folder, ("impossible-age", "empty-id", "ragged-row"), rng())
    assert {(206, None), (302, None), (306, None)} <= found(folder, study)


@pytest.mark.parametrize("name", [*TABLE, *NIFTI])
def test_a_fault_changes_something_and_always_the_same(name: str, clean: Path, tmp_path: Path) -> None:
    one, two = (copied(clean / name, tmp_path / side) for side in ("one", "two"))
    for folder in (one, two):
        write_images(folder)
    before = contents(one)
    for folder in (one, two):
        apply_faults(folder, (name,), rng())
    after = contents(one)
    assert after != before
    assert contents(two) == after
    touched = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    kinds = ("patients.csv",) if FAULTS[name].of == "table" else ("images", "masks")
    assert all(path.startswith(kinds) for path in touched)


# --------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", TABLE)
def test_the_check_tells_a_fault_by_its_number_and_never_breaks(
    name: str, clean: Path, tmp_path: Path, study: Study
) -> None:
    folder = copied(clean / name, tmp_path / name)
    before = found(folder, study)
    # A small hospital gets hints that it is small, or that nobody died; nothing else.
    assert before <= {(403, None), (405, "mvi"), (315, "os"), (315, "rfs")}
    apply_faults(folder, (name,), rng())
    told = found(folder, study) - before
    tell = FAULTS[name].tell
    if tell is None:
        assert not told
    else:
        assert tell in {number for number, _ in told}
    assert found(folder, None) <= told


def test_padded_cells_are_read_as_if_they_were_not(clean: Path, tmp_path: Path, study: Study) -> None:
    folder = copied(clean / "padded-cells", tmp_path / "padded-cells")
    wanted, _ = read_table(load_site(folder), study)
    apply_faults(folder, ("padded-cells",), rng())
    read, _ = read_table(load_site(folder), study)
    assert read.patients == wanted.patients
    for name, column in wanted.columns.items():
        assert np.array_equal(read.columns[name].values, column.values, equal_nan=True), name
    for name, values in wanted.endpoints.items():
        assert np.array_equal(read.endpoints[name], values, equal_nan=True), name


def test_a_fault_that_needs_a_column_the_table_lacks_says_so(clean: Path, tmp_path: Path) -> None:
    folder = copied(clean / "control", tmp_path / "site")
    (folder / "patients.csv").write_text("patient_id,mvi\na,present\n")
    with pytest.raises(FedmviError) as caught:
        apply_faults(folder, ("impossible-age",), rng())
    assert caught.value.number == 809
    assert "'age'" in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- NIfTI


def write_images(folder: Path) -> None:
    """Two phases and a mask of each of two patients; the tumour lies to one side and is longer than it is wide."""
    for i, patient in enumerate(("p1", "p2")):
        affine = np.array([[-2.0, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 5.0, -30], [0, 0, 0, 1]])
        (folder / "images" / patient).mkdir(parents=True)
        (folder / "masks" / patient).mkdir(parents=True)
        for j, phase in enumerate(PHASES):
            voxels = np.random.default_rng([i, j]).integers(-200, 200, (12, 10, 6)).astype(np.int16)
            save(folder / "images" / patient / f"{phase}.nii.gz", voxels, affine)
        mask = np.zeros((12, 10, 6), np.uint8)
        mask[2:5, 3:8, 1:4] = 1
        save(folder / "masks" / patient / "tumour.nii.gz", mask, affine)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    path.write_bytes(gzip.compress(nib.Nifti1Image(voxels, affine).to_bytes(), 1, mtime=0))


def damaged(name: str, folder: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Files whose content changed or that are gone, as they were; and those that changed or are new, as they are."""
    write_images(folder)
    before = contents(folder)
    apply_faults(folder, (name,), rng())
    after = contents(folder)
    return (
        {path: content for path, content in before.items() if after.get(path) != content},
        {path: content for path, content in after.items() if before.get(path) != content},
    )


def image(files: dict[str, bytes]) -> nib.Nifti1Image:
    (content,) = files.values()
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(files: dict[str, bytes]) -> np.ndarray:
    return np.asarray(image(files).dataobj)


def centre_mm(mask: nib.Nifti1Image) -> np.ndarray:
    """Where the centre of a mask lies in the patient."""
    indices = np.argwhere(np.asarray(mask.dataobj) > 0).mean(axis=0)
    return np.asarray(nib.affines.apply_affine(mask.affine, indices))


@pytest.mark.parametrize(("name", "kind"), [("missing-phase", "images"), ("missing-mask", "masks")])
def test_one_file_is_missing(name: str, kind: str, tmp_path: Path) -> None:
    before, after = damaged(name, tmp_path)
    assert len(before) == 1 and not after
    assert next(iter(before)).startswith(kind)


def test_an_extra_phase_is_one_more_file_with_a_phase_that_is_there(tmp_path: Path) -> None:
    before, after = damaged("extra-phase", tmp_path)
    assert not before and len(after) == 1
    folder = tmp_path / next(iter(after))
    assert next(iter(after.values())) in {p.read_bytes() for p in folder.parent.glob("[ap]*.nii.gz")}


def test_swapped_phases_have_each_others_content(tmp_path: Path) -> None:
    before, after = damaged("swapped-phases", tmp_path)
    one, two = sorted(before)
    assert Path(one).parent == Path(two).parent
    assert after == {one: before[two], two: before[one]}


def test_the_image_of_another_patient_is_that_patients_same_phase(tmp_path: Path) -> None:
    _, after = damaged("image-of-another-patient", tmp_path)
    ((path, content),) = after.items()
    other = "p1" if "p2" in path else "p2"
    assert (tmp_path / "images" / other / Path(path).name).read_bytes() == content


def test_images_without_a_row_are_copies_under_another_pseudonym(tmp_path: Path) -> None:
    before, after = damaged("images-without-row", tmp_path)
    assert not before and len(after) == 3
    assert len({Path(path).parent.name for path in after} - {"p1", "p2"}) == 1


def test_a_row_without_images_has_no_mask_either(tmp_path: Path) -> None:
    before, after = damaged("row-without-images", tmp_path)
    assert not after and len(before) == 3
    assert len({Path(path).parent.name for path in before}) == 1


def test_a_truncated_image_cannot_be_read(tmp_path: Path) -> None:
    _, after = damaged("truncated-image", tmp_path)
    with pytest.raises(EOFError):
        image(after)


def test_a_flat_image_has_two_dimensions(tmp_path: Path) -> None:
    before, after = damaged("flat-image", tmp_path)
    assert np.array_equal(voxels(after), voxels(before)[:, :, 3])


def test_an_image_with_nan_has_them_outside_a_circle_only(tmp_path: Path) -> None:
    before, after = damaged("nan-image", tmp_path)
    lost = np.isnan(voxels(after))
    assert lost[0, 0].all() and not lost[6, 5].any()
    assert np.array_equal(voxels(after)[~lost], voxels(before)[~lost])


@pytest.mark.parametrize(("name", "spacing"), [("zero-spacing", 0.0), ("negative-spacing", -5.0)])
def test_the_spacing_of_slices_is_wrong_and_the_voxels_are_right(name: str, spacing: float, tmp_path: Path) -> None:
    before, after = damaged(name, tmp_path)
    raw = gzip.decompress(next(iter(after.values())))
    assert np.frombuffer(raw, "<f4", 1, offset=76 + 3 * 4)[0] == spacing
    assert raw[352:] == gzip.decompress(next(iter(before.values())))[352:]


def test_zero_spacing_is_in_the_matrix_too(tmp_path: Path) -> None:
    _, after = damaged("zero-spacing", tmp_path)
    raw = gzip.decompress(next(iter(after.values())))
    matrix = np.frombuffer(raw, "<f4", 12, offset=280).reshape(3, 4)
    assert (matrix[:, 2] == 0).all() and (np.abs(matrix[:, :2]).sum(axis=0) == 2).all()


def test_an_empty_mask_has_no_voxel_on_the_same_grid(tmp_path: Path) -> None:
    before, after = damaged("empty-mask", tmp_path)
    assert voxels(after).shape == voxels(before).shape
    assert not voxels(after).any()
    assert np.array_equal(image(after).affine, image(before).affine)


def test_a_coarse_mask_is_on_another_grid_in_the_same_place(tmp_path: Path) -> None:
    before, after = damaged("coarse-mask", tmp_path)
    assert voxels(after).shape == (6, 5, 6)
    assert image(after).header.get_zooms() == (4, 4, 5)
    assert centre_mm(image(after)) == pytest.approx(centre_mm(image(before)), abs=2)


def test_a_reoriented_mask_is_in_the_same_place_under_other_indices(tmp_path: Path) -> None:
    before, after = damaged("reoriented-mask", tmp_path)
    assert voxels(after).shape != voxels(before).shape
    assert nib.aff2axcodes(image(after).affine) != nib.aff2axcodes(image(before).affine)
    assert centre_mm(image(after)) == pytest.approx(centre_mm(image(before)))


def test_a_flipped_mask_is_at_another_place_under_the_same_matrix(tmp_path: Path) -> None:
    before, after = damaged("flipped-mask", tmp_path)
    assert np.array_equal(image(after).affine, image(before).affine)
    shift = centre_mm(image(after)) - centre_mm(image(before))
    assert abs(shift[0]) > 5 and shift[1:] == pytest.approx([0, 0])


def test_two_tumours_have_the_labels_1_and_2_apart(tmp_path: Path) -> None:
    before, after = damaged("two-tumours", tmp_path)
    assert np.array_equal(voxels(after) == 1, voxels(before) == 1)
    assert np.count_nonzero(voxels(after) == 2) == np.count_nonzero(voxels(before))


def test_a_fractional_mask_has_shares_between_0_and_1(tmp_path: Path) -> None:
    before, after = damaged("fractional-mask", tmp_path)
    values = voxels(after)
    assert values.dtype == np.float32
    assert np.count_nonzero((values > 0.01) & (values < 0.99)) > 0
    assert values.sum() == pytest.approx(voxels(before).sum(), rel=1e-4)


@pytest.mark.parametrize("name", ["missing-phase", "swapped-phases", "image-of-another-patient"])
def test_a_fault_of_two_needs_two(name: str, tmp_path: Path) -> None:
    (tmp_path / "images" / "p1").mkdir(parents=True)
    save(tmp_path / "images" / "p1" / "portal.nii.gz", np.zeros((2, 2, 2), np.int16), np.eye(4))
    with pytest.raises(FedmviError) as caught:
        apply_faults(tmp_path, (name,), rng())
    assert caught.value.number == 809
    assert "2" in str(caught.value.facts["problems"])


# ---------------------------------------------------------------------------------------------------------- DICOM


def write_series(folder: Path, slices: int = 6) -> None:
    """Two series of one patient, 5 mm apart."""
    for phase in PHASES:
        (folder / "images" / "p1" / phase).mkdir(parents=True)
        for k in range(slices):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[phase, str(k)])
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / "images" / "p1" / phase / f"{k:04d}.dcm"
            data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            data.SeriesInstanceUID = generate_uid(entropy_srcs=[phase])
            data.InstanceNumber = k + 1
            data.ImagePositionPatient = [-10, -20, -30 + 5 * k]
            data.RescaleIntercept, data.RescaleSlope = -1024, 1
            data.save_as(path)


def series(folder: Path) -> list[list[pydicom.Dataset]]:
    return [[pydicom.dcmread(p) for p in sorted((folder / "images" / "p1" / phase).iterdir())] for phase in PHASES]


def heights(data: list[pydicom.Dataset]) -> list[float]:
    return sorted(float(one.ImagePositionPatient[2]) for one in data)


def changed_series(name: str, folder: Path) -> list[pydicom.Dataset]:
    """The one series that a fault changed."""
    write_series(folder)
    before = [[one.to_json() for one in data] for data in series(folder)]
    apply_faults(folder, (name,), rng())
    (found,) = [after for after, one in zip(series(folder), before, strict=True) if [x.to_json() for x in after] != one]
    return found


@pytest.mark.parametrize("name", DICOM)
def test_a_fault_of_a_series_is_always_the_same(name: str, tmp_path: Path) -> None:
    for side in ("one", "two"):
        write_series(tmp_path / side)
        apply_faults(tmp_path / side, (name,), rng())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_missing_slice_leaves_a_gap(tmp_path: Path) -> None:
    gaps = np.diff(heights(changed_series("missing-slice", tmp_path)))
    assert sorted(gaps) == [5, 5, 5, 10]


def test_a_duplicate_slice_has_its_own_identifier_at_the_same_place(tmp_path: Path) -> None:
    data = changed_series("duplicate-slice", tmp_path)
    assert sorted(np.diff(heights(data))) == [0, 5, 5, 5, 5, 5]
    assert len({one.SOPInstanceUID for one in data}) == 7
    assert all(one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID for one in data)
    assert sorted(one.InstanceNumber for one in data) == list(range(1, 8))


def test_mixed_series_have_two_identifiers_in_one_folder(tmp_path: Path) -> None:
    data = changed_series("mixed-series", tmp_path)
    assert len(data) == 9
    assert len({one.SeriesInstanceUID for one in data}) == 2


def test_uneven_slices_are_all_there(tmp_path: Path) -> None:
    gaps = np.diff(heights(changed_series("uneven-slices", tmp_path)))
    assert sorted(gaps) == [3, 5, 5, 5, 7]


def test_a_missing_rescale_is_missing_in_the_whole_series(tmp_path: Path) -> None:
    data = changed_series("missing-rescale", tmp_path)
    assert not any("RescaleIntercept" in one or "RescaleSlope" in one for one in data)


def test_a_series_that_never_had_a_rescale_cannot_lose_it(tmp_path: Path) -> None:
    write_series(tmp_path)
    apply_faults(tmp_path, ("missing-rescale",), rng())
    with pytest.raises(FedmviError) as caught:
        apply_faults(tmp_path, ("missing-rescale",), rng())
    assert caught.value.number == 809


def test_too_few_slices_for_a_gap_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3)
    with pytest.raises(FedmviError) as caught:
        apply_faults(tmp_path, ("missing-slice",), rng())
    assert caught.value.number == 809
