"""tests/client: every patient's files are found by the manifest or by their names, and nothing is guessed."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from client.cohort.site import Site, SiteHead
from client.images.case import Case, ImageSource, MaskSource
from client.images.finding.finding import find_cases
from client.images.finding.manifest import Line, manifest_bytes
from common.errors import FedmviError, Severity
from common.study.preparation import Preparation

CT = {"modality": "ct", "phases": ("plain", "arterial", "portal"), "reference": "portal", "stacks": {}}
GOOD = ("images/p1/plain.nii.gz", "images/p1/arterial.nii.gz", "images/p1/portal.nii.gz", "masks/p1/tumour.nii.gz")


def made(folder: Path, files: Sequence[str]) -> Site:
    """A site with empty files: finding opens none."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return Site(site=SiteHead(name="a"), folder=folder)


def found(
    folder: Path, files: Sequence[str], patients: Sequence[str] = ("p1",), **study: object
) -> tuple[dict[str, Case], list[FedmviError]]:
    return find_cases(made(folder, files), Preparation.model_validate(CT | study), patients)


def told(problems: list[FedmviError]) -> list[tuple[int, Severity]]:
    return [(problem.number, problem.severity) for problem in problems]


def test_files_are_found_by_the_names_of_their_phases_and_regions(tmp_path: Path) -> None:
    files = [*GOOD, "masks/p1/liver.nrrd", "masks/p1/arterial.tumour.reader2.dcm", "images/p1/.DS_Store"]
    cases, problems = found(tmp_path, files)
    assert problems == []
    images, masks = tmp_path / "images" / "p1", tmp_path / "masks" / "p1"
    assert list(cases["p1"].images.values()) == [
        ImageSource(phase, images / f"{phase}.nii.gz") for phase in ("plain", "arterial", "portal")
    ]
    assert cases["p1"].masks == (
        MaskSource("tumour", 1, "portal", masks / "tumour.nii.gz"),
        MaskSource("tumour", 2, "arterial", masks / "arterial.tumour.reader2.dcm"),
        MaskSource("liver", 1, "portal", masks / "liver.nrrd"),
    )


@pytest.mark.parametrize("portal", ["Portal.NII.GZ", "portal.nii", "PORTAL.nrrd", "portal.dcm", "Portal/1"])
def test_every_format_in_any_capitals_is_a_phase(tmp_path: Path, portal: str) -> None:
    cases, problems = found(tmp_path, [*GOOD[:2], f"images/p1/{portal}", "masks/p1/Tumour.Reader2.NII", GOOD[3]])
    assert problems == []
    assert cases["p1"].images["portal"].path == tmp_path / "images" / "p1" / portal.partition("/")[0]


def test_a_missing_phase_names_the_patient_and_what_is_there(tmp_path: Path) -> None:
    cases, (problem, odd) = found(tmp_path, [*GOOD[:2], "images/p1/prtal.nii.gz", "masks/p1/arterial.tumour.nii"])
    assert cases == {}
    assert told([problem, odd]) == [(351, Severity.ERROR), (357, Severity.WARNING)]
    assert problem.local.startswith("p1: ")
    assert "no portal; there is arterial, plain; not understood: prtal.nii.gz" in problem.local
    assert "did you mean 'portal'?" in odd.local


def test_an_optional_phase_may_be_missing(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, [*GOOD[1:]], optional=("plain",))
    assert told(problems) == [(359, Severity.NOTE)]
    assert list(cases["p1"].images) == ["arterial", "portal"]


def test_a_patient_without_any_image_is_one_error(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, GOOD, ["p0", "p1"])
    assert list(cases) == ["p1"]
    assert told(problems) == [(351, Severity.ERROR)]
    assert problems[0].local.startswith("p0: images/: ")


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("tumor.nii.gz", "did you mean 'tumour'?"),
        ("tumour.reader2.nii.gz", "tumour.reader2.nii.gz"),
        ("delayed.tumour.nii.gz", "delayed.tumour.nii.gz"),
    ],
)
def test_a_patient_without_a_tumour_is_an_error_that_lists_the_masks(tmp_path: Path, mask: str, words: str) -> None:
    cases, problems = found(tmp_path, [*GOOD[:3], f"masks/p1/{mask}"])
    assert cases == {}
    assert problems[0].number == 352
    assert any(words in problem.local for problem in problems)


@pytest.mark.parametrize(
    ("name", "severity", "words"),
    [
        ("masks/p1/livr.nii.gz", Severity.WARNING, "did you mean 'liver'?"),
        ("masks/p1/spleen.nii.gz", Severity.NOTE, "'spleen' is not a region of the study"),
        ("masks/p1/prtal.tumour.nii.gz", Severity.WARNING, "did you mean 'portal'?"),
        ("masks/p1/tumour.readerX.nii.gz", Severity.WARNING, "did you mean 'tumour'?"),
        ("masks/p1/tumour/1.dcm", Severity.NOTE, "masks are files that end in"),
        ("images/p1/late-arterial.nii.gz", Severity.WARNING, "did you mean 'arterial'?"),
        ("images/p1/portal.json", Severity.NOTE, "images are files that end in"),
        ("images/p1/Exam 7/1.dcm", Severity.WARNING, "'exam 7' is not a phase"),
    ],
)
def test_a_name_that_is_not_understood_is_told_and_not_used(
    tmp_path: Path, name: str, severity: Severity, words: str
) -> None:
    before, _ = found(tmp_path, GOOD)
    cases, (problem,) = found(tmp_path, [name])
    assert cases == before
    assert told([problem]) == [(357, severity)]
    assert problem.local.startswith(f"p1: {tmp_path}")
    assert words in problem.local


def test_hundreds_of_odd_names_are_told_in_a_few_lines(tmp_path: Path) -> None:
    _, problems = found(tmp_path, [*GOOD, *(f"images/p1/IM{i:04d}.dcm" for i in range(300))])
    assert len(problems) == 6
    assert "295 names more" in problems[-1].local


def test_regions_that_the_study_excludes_are_found(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, [*GOOD, "masks/p1/vessels.nii.gz"], regions={"exclude": ("vessels",)})
    assert problems == []
    assert [mask.region for mask in cases["p1"].masks] == ["tumour", "vessels"]


def test_folders_of_strangers_are_told_with_the_nearest_patient(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, [*GOOD, "images/P1/portal.nii.gz", "masks/somebody/tumour.nii.gz"])
    assert list(cases) == ["p1"]
    assert told(problems) == [(354, Severity.WARNING)] * 2
    assert "P1" in problems[0].local
    assert "the table has 'p1'" in problems[0].local
    assert "somebody" in problems[1].local


def test_two_files_for_one_phase_or_mask_are_an_error(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, [*GOOD, "images/p1/portal/1.dcm", "masks/p1/portal.tumour.nii.gz"])
    assert cases == {}
    assert told(problems) == [(356, Severity.ERROR)] * 2
    assert "portal.nii.gz" in problems[0].local + problems[1].local


def test_an_empty_folder_is_a_missing_phase(tmp_path: Path) -> None:
    (tmp_path / "images" / "p1" / "portal").mkdir(parents=True)
    cases, problems = found(tmp_path, [*GOOD[:2], GOOD[3]])
    assert cases == {}
    assert {problem.number for problem in problems} == {351, 352}


def test_no_images_at_all_are_one_error(tmp_path: Path) -> None:
    cases, problems = found(tmp_path, [], [f"p{i}" for i in range(9)])
    assert cases == {}
    assert told(problems) == [(356, Severity.ERROR)]


def lines(*changes: dict[str, object]) -> bytes:
    """A manifest of patient p1, whose files lie in `archive`, with some rows changed or added."""
    rows: list[dict[str, object]] = [
        {"kind": "image", "phase": phase, "path": f"archive/{phase}"} for phase in ("plain", "arterial", "portal")
    ]
    rows += [{"kind": "mask", "region": "tumour", "path": "archive/mask.dcm", "segment": "HCC"}]
    both = [row | change for row, change in zip(rows, changes, strict=False)] + rows[len(changes) :]
    both += [{"kind": "image", **change} for change in changes[len(rows) :]]
    return manifest_bytes([Line.model_validate({"patient_id": "p1", "use": "yes"} | row) for row in both])


ARCHIVE = ("archive/plain/1", "archive/arterial/1", "archive/portal/1", "archive/mask.dcm", "images/.keep")


def test_the_manifest_names_series_volumes_segments_and_files_anywhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    made(site, ARCHIVE)
    (tmp_path / "pacs").mkdir()
    changes = {"series": "1.2.3", "volume": "2", "seconds_after_injection": "-20.5", "path": str(tmp_path / "pacs")}
    (site / "manifest.csv").write_bytes(lines(changes, {"path": "archive/../archive/arterial"}))
    cases, problems = found(site, [])
    assert problems == []
    assert cases["p1"].images["plain"] == ImageSource("plain", tmp_path / "pacs", "1.2.3", 2, -20.5)
    assert cases["p1"].masks == (MaskSource("tumour", 1, "portal", site / "archive" / "mask.dcm", "HCC"),)


def test_rows_out_of_use_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    made(tmp_path, ARCHIVE)
    (tmp_path / "manifest.csv").write_bytes(lines({"use": "no"}))
    cases, problems = found(tmp_path, [])
    assert cases == {}
    assert told(problems) == [(351, Severity.ERROR)]


def test_a_path_where_nothing_is_blames_the_row_and_its_patient(tmp_path: Path) -> None:
    made(tmp_path, ARCHIVE)
    (tmp_path / "manifest.csv").write_bytes(lines({"path": "archive/gone"}))
    cases, problems = found(tmp_path, [], optional=("plain",))
    assert cases == {}
    assert problems[0].local.startswith("p1: manifest.csv, row ")
    assert "archive/gone: nothing is there" in problems[0].local


def test_a_manifest_that_cannot_be_read_gives_no_case_at_all(tmp_path: Path) -> None:
    made(tmp_path, [*GOOD, *ARCHIVE])
    (tmp_path / "manifest.csv").write_text("who,what\n")
    cases, problems = found(tmp_path, [])
    assert cases == {}
    assert problems[0].number == 350


def test_a_bad_row_of_one_patient_does_not_stop_another(tmp_path: Path) -> None:
    made(tmp_path, ARCHIVE)
    bad = {"patient_id": "p2", "phase": "artrial", "path": "archive/arterial"}
    good = lines({}, {}, {}, {}, bad | {"phase": "arterial"}).replace(b"p2,image,arterial", b"p2,image,artrial")
    (tmp_path / "manifest.csv").write_bytes(good)
    cases, problems = found(tmp_path, [], ["p1", "p2"])
    assert list(cases) == ["p1"]
    assert problems[0].local.startswith("p2: manifest.csv, row ")


@pytest.mark.parametrize("who", ["p2", "12:34"])
def test_bad_rows_of_somebody_who_is_not_asked_for_are_warnings(tmp_path: Path, who: str) -> None:
    """Who is not in the table, or not eligible: a path where nothing is, a bad phase, and a folder beside."""
    site = made(tmp_path, [*ARCHIVE, f"images/{who}/portal.nii.gz"])
    rows: list[dict[str, object]] = [
        {"patient_id": who, "phase": "arterial", "path": "archive/gone"},
        {"patient_id": who, "phase": "portal", "path": "archive/portal"},
        {"patient_id": who, "phase": "plain", "path": "archive/plain"},
    ]
    content = lines({}, {}, {}, {}, *rows).replace(f"{who},image,plain".encode(), f"{who},image,plian".encode())
    (tmp_path / "manifest.csv").write_bytes(content)
    cases, problems = found(tmp_path, [])
    assert list(cases) == ["p1"] and cases["p1"].masks
    assert told(problems) == [(n, Severity.WARNING) for n in (350, 350, 354, 356)]
    assert all(problem.local.startswith(f"{who}: ") for problem in problems)
    if ":" in who:
        return
    everybody, problems = find_cases(site, Preparation.model_validate(CT), ["p1", who])
    assert list(everybody) == ["p1"]
    assert [p.number for p in problems if p.severity is Severity.ERROR] == [350, 350, 351, 351, 352, 356]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders that may not be listed, as another user's; root may list all."""
    paths: set[Path] = set()
    list_ = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder in paths:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return list_(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    return paths


@pytest.mark.parametrize("where", ["images/p2", "images/p2/portal", "masks/p2"])
def test_a_folder_that_may_not_be_read_is_its_patients_only_problem_and_nobody_elses(
    tmp_path: Path, closed: set[Path], where: str
) -> None:
    files = [name.replace("portal.nii.gz", "portal/1.dcm") for name in GOOD]
    closed.add(tmp_path / where)
    both = [*files, *(name.replace("p1", "p2") for name in files)]
    cases, problems = found(tmp_path, both, ["p1", "p2"])
    assert list(cases) == ["p1"]
    assert told(problems) == [(330, Severity.ERROR)]
    assert problems[0].local == f"p2: {tmp_path / where}: Permission denied"


def test_a_folder_of_all_patients_that_may_not_be_read_is_nobodys_problem(tmp_path: Path, closed: set[Path]) -> None:
    closed.add(tmp_path / "masks")
    cases, problems = found(tmp_path, GOOD)
    assert cases == {}
    assert (330, f"{tmp_path / 'masks'}: Permission denied") in [(p.number, p.local) for p in problems]


def test_a_path_of_the_manifest_that_may_not_be_read_is_its_patients_only_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, ARCHIVE)
    (tmp_path / "manifest.csv").write_bytes(lines({}, {}, {}, {}, {"patient_id": "p2", "phase": "portal",
                                                                   "path": "other/portal"}))  # fmt: skip
    exists = Path.exists

    def refuse(path: Path) -> bool:
        if path.parent.name == "other":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    cases, problems = found(tmp_path, [], ["p1", "p2"])
    assert list(cases) == ["p1"]
    assert [(p.number, p.local.partition(":")[0]) for p in problems] == [(330, "p2")]


def test_folders_that_say_otherwise_than_the_manifest_are_ambiguous(tmp_path: Path) -> None:
    made(tmp_path, [*ARCHIVE, "images/p1/portal.nii.gz"])
    (tmp_path / "manifest.csv").write_bytes(lines())
    cases, problems = found(tmp_path, [])
    assert cases == {}
    assert told(problems) == [(356, Severity.ERROR)]
    assert "images/p1/portal.nii.gz" in problems[0].local
    assert "archive/portal" in problems[0].local


def test_masks_lie_in_their_folder_where_the_manifest_names_none(tmp_path: Path) -> None:
    made(tmp_path, [*ARCHIVE, "masks/p1/tumour.seg.nrrd", "masks/p1/arterial.tumour.reader2.nii.gz"])
    (tmp_path / "manifest.csv").write_bytes(lines({}, {}, {}, {"use": "no"}))
    cases, problems = found(tmp_path, [])
    assert problems == []
    masks = tmp_path / "masks" / "p1"
    assert cases["p1"].masks == (
        MaskSource("tumour", 1, "portal", masks / "tumour.seg.nrrd"),
        MaskSource("tumour", 2, "arterial", masks / "arterial.tumour.reader2.nii.gz"),
    )


def test_a_mask_that_the_manifest_refuses_is_not_used_and_the_error_names_it(tmp_path: Path) -> None:
    made(tmp_path, [*ARCHIVE, "masks/p1/tumour.nii.gz", "masks/p1/tumor.readerX.nii"])
    (tmp_path / "manifest.csv").write_bytes(lines({}, {}, {}, {"use": "no", "path": "masks/p1/tumour.nii.gz"}))
    cases, problems = found(tmp_path, [])
    assert cases == {}
    assert told(problems) == [(352, Severity.ERROR), (357, Severity.WARNING)]
    assert "tumor.readerX.nii (not understood), tumour.nii.gz (the manifest has it with `use` no)" in problems[0].local


def test_a_mask_beside_that_of_the_manifest_is_told(tmp_path: Path) -> None:
    made(tmp_path, [*ARCHIVE, "masks/p1/tumour.nii.gz", "masks/p1/liver.nii.gz"])
    (tmp_path / "manifest.csv").write_bytes(lines())
    cases, problems = found(tmp_path, [])
    assert cases == {}
    assert told(problems) == [(356, Severity.ERROR), (356, Severity.WARNING)]
    assert "tumour.nii.gz: the manifest has" in problems[0].local and "for tumour of reader 1 on" in problems[0].local
    assert "liver.nii.gz: the manifest does not name it" in problems[1].local


def test_a_file_that_the_manifest_does_not_name_is_a_warning_and_one_that_it_refuses_is_nothing(tmp_path: Path) -> None:
    made(tmp_path, [*ARCHIVE, "images/p1/delayed.nii.gz", "images/p1/t2.nii.gz"])
    refused = {"phase": "delayed", "path": "images/p1/delayed.nii.gz", "use": "no"}
    (tmp_path / "manifest.csv").write_bytes(lines({}, {}, {}, {}, refused))
    cases, problems = found(tmp_path, [])
    assert list(cases) == ["p1"]
    assert told(problems) == [(356, Severity.WARNING)]
    assert "t2.nii.gz" in problems[0].local
