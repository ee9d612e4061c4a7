"""tests/client/preparation: from files to the prepared store: resumable, explained, and the same bytes every time."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from client.cohort.membership import eligible, flow
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_folder
from client.images.case import Case, Scan
from client.images.checking.site_images import inspect_images, patient_of
from client.images.finding.finding import find_cases
from client.imaging.registration import Registered
from client.preparation import chain
from client.preparation.inputs import input_digests
from client.preparation.patient import Job
from client.preparation.prepare import prepare
from common.errors import FedmviError, Severity
from common.study.loader import parse_study
from common.study.protocol import Study
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import ImageFormat, MaskFormat, load_consortium
from simulation.hospitals import appointments
from simulation.imaging.examine import examine
from simulation.imaging.files import write_examination
from tests.client.preparation.sites import STUDY, MakeSite

COMMAND = str(Path(sys.executable).parent / "fedmvi-site")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def steps(site: Site) -> dict[str, int]:
    """Every finished step with the moment at which it was made."""
    found = (site.store / "steps").glob("*/*/*/result.json")
    return {str(path.parent.relative_to(site.store)): path.stat().st_mtime_ns for path in found}


def test_images_become_features_of_the_table_and_stacks(make_site: MakeSite, study: Study) -> None:
    site = make_site()
    done = prepare(site, study)
    assert done.images is not None and not done.images.failed and study.preparation is not None
    table = load_prepared(site, study)
    features = pq.read_table(done.folder / "features.parquet")
    assert features.column_names == ["patient_id", *study.preparation.feature_names()]
    for name in study.features():
        values = table.columns[name].values
        assert np.isfinite(values).all() and np.array_equal(values, features[name].to_numpy())
        assert values[0] != values[1]
    # Enhancement is what the arterial phase has more than the plain one.
    assert 0 < float(features["arterial-minus-plain.tumour.original_firstorder_Mean"].to_numpy().min()) < 100
    again = pq.read_table(done.folder / "features.reader2.parquet")
    name = "portal.tumour.original_shape_MeshVolume"
    assert 0.7 < float(again[name][0].as_py()) / float(features[name][0].as_py()) < 1.4
    volumes = pq.read_table(done.folder / "regions.parquet").to_pylist()
    assert {(row["reader"], row["region"]) for row in volumes} >= {(1, "tumour"), (2, "peritumour-10mm")}
    pixels = np.load(done.folder / "stacks" / table.patients[0] / "arterial" / "pixels.npy")
    assert pixels.shape == (3, 64, 64) and pixels.dtype == np.float32 and pixels.std() > 5
    assert "ROI stacks" in (done.folder / "stacks.html").read_text()
    said = json.loads((done.folder / "prepared.json").read_text())
    assert set(said["images"]["patients"][table.patients[0]]["inputs"]) >= {"image:plain", "mask:tumour:2:portal"}


def test_readers_who_mean_other_places_are_told_beside_the_rectangle_and_as_a_warning(
    make_site: MakeSite, study: Study
) -> None:
    site = make_site()
    apart, agreed = sorted(path.name for path in (site.folder / "masks").iterdir())
    path = site.folder / "masks" / apart / "tumour.reader2.nii.gz"
    mask = sitk.ReadImage(path)
    # As far as the tumour is wide: the rectangles meet in their margins only.
    inside = np.flatnonzero(sitk.GetArrayViewFromImage(mask).any(axis=(0, 1)))
    moved = np.roll(sitk.GetArrayFromImage(mask), int(np.ptp(inside)) + 1, axis=2)
    image = sitk.GetImageFromArray(moved)
    image.CopyInformation(mask)
    sitk.WriteImage(image, path)
    done = prepare(site, study)
    assert done.images is not None and not done.images.failed
    rows = pq.read_table(done.folder / "stacks.parquet").to_pylist()
    shares = {row["patient_id"]: row["readers_overlap"] for row in rows if row["phase"] == "portal"}
    assert 0 < shares[apart] < 0.5 < shares[agreed] <= 1
    assert {row["readers_overlap"] for row in rows if row["phase"] != "portal"} == {None}
    words = {o.patient: [p.local for p in o.problems if "rectangles" in p.local] for o in done.images.outcomes}
    assert words[agreed] == [] and [word.startswith(f"{apart}: portal: ") for word in words[apart]] == [True]
    page = html.unescape((done.folder / "stacks.html").read_text())
    assert page.count("The readers' rectangles overlap little.") == 1
    assert all(f"both readers' rectangles share {share:.0%}" in page for share in shares.values())


def test_the_store_that_it_makes_is_for_its_owner_only_down_to_the_last_folder(
    make_site: MakeSite, study: Study
) -> None:
    site = make_site()
    assert not site.store.exists()
    mask = os.umask(0o022)
    try:
        prepare(site, study)
    finally:
        os.umask(mask)
    folders = [site.store, *(path for path in site.store.rglob("*") if path.is_dir())]
    assert len(folders) > 3
    assert [str(path) for path in folders if path.stat().st_mode & 0o077] == []


def test_a_second_run_computes_nothing(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=1)
    prepare(site, study)
    before, made = tree(site.store), steps(site)
    again = prepare(site, study)
    assert not again.fresh and again.images is not None
    assert all(not outcome.seconds for outcome in again.images.outcomes)
    assert tree(site.store) == before and steps(site) == made


def test_a_second_run_unpacks_no_displacement_field(
    make_site: MakeSite, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(patients=1)
    assert study.preparation is not None
    cases, _ = find_cases(site, study.preparation, [f"{site.name}-0001"])
    job = Job(*cases.values(), study.preparation, site.store, bytes(32))
    first = chain.prepare_patient(job)
    monkeypatch.setattr(Registered, "load", lambda _: pytest.fail("a registration was unpacked"))
    again = chain.prepare_patient(job)
    assert len(first.registrations) == 3 and first.seconds and not first.failed
    # Problems are no values: two of the same words are not equal.
    assert replace(first, seconds={}, peak_bytes=0, problems=()) == replace(again, peak_bytes=0, problems=())


@pytest.mark.parametrize(
    ("old", "new", "redone"),
    [
        ("bin_width = 25.0", "bin_width = 20.0", {"features"}),
        ("size = 64", "size = 48", {"stack"}),
        ("spacing_mm = 6.0", "spacing_mm = 5.0", {"register", "features", "stack"}),
        ("spacing_mm = [4.0, 4.0, 5.0]", "spacing_mm = [5.0, 5.0, 5.0]", {"regions", "features"}),
    ],
)  # fmt: skip
def test_a_changed_setting_redoes_only_what_depends_on_it(
    old: str, new: str, redone: set[str], make_site: MakeSite, study: Study
) -> None:
    site = make_site(patients=1)
    prepare(site, study)
    assert old in STUDY
    done = prepare(site, parse_study(STUDY.replace(old, new)))
    assert done.images is not None
    assert set(done.images.outcomes[0].seconds) - {"check"} == redone
    # The first study's steps are still there.
    again = prepare(site, study)
    assert again.images is not None and not again.images.outcomes[0].seconds


def test_killed_at_any_moment_a_second_run_gives_the_same_bytes(
    make_site: MakeSite, study: Study, tmp_path: Path
) -> None:
    site = make_site()
    protocol = tmp_path / "study.toml"
    protocol.write_text(STUDY)
    prepare(site, study)
    wanted = tree(site.store)
    shutil.rmtree(site.store)
    command = [COMMAND, "prepare", str(protocol), "--site", str(site.folder), "--workers", "2"]
    for finished in (1, 4, 13):
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            while len(steps(site)) < finished and process.poll() is None:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
        assert not store_folder(site, study).exists()
    subprocess.run(command, check=True, capture_output=True)
    assert tree(site.store) == wanted


def test_a_bad_patient_stops_nobody_and_is_counted(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=3)
    bad, short = sorted(p.name for p in (site.folder / "images").iterdir())[:2]
    arterial = site.folder / "images" / bad / "arterial.nii.gz"
    arterial.write_bytes(arterial.read_bytes()[:5000])
    (site.folder / "images" / short / "plain.nii.gz").unlink()
    (site.folder / "images" / short / "delayed.nii.gz").unlink()
    done = prepare(site, study)
    assert done.images is not None and done.images.failed == {bad, short}
    why = {o.patient: [p.number for p in o.problems] for o in done.images.outcomes if o.failed}
    assert why[bad] == [330] and why[short][0] == 351
    table = load_prepared(site, study)
    assert [p for p, stays in zip(table.patients, eligible(table), strict=True) if stays] == [table.patients[2]]
    assert ("excluded by images", 2) in flow(site, table, study, study.cohort("train"))
    assert np.isnan(table.columns[study.features()[0]].values[:2]).all()


def test_a_feature_out_of_range_fails_its_patient_and_nobody_else(make_site: MakeSite, study: Study) -> None:
    site, name = make_site(), "arterial.tumour.original_firstorder_Mean"
    images = prepare(site, study).images
    assert images is not None
    good, bad = (outcome.patient for outcome in images.outcomes)
    once, again = (images.feature(bad, name, reader) for reader in (1, 2))
    assert images.feature(good, name) < images.feature(good, name, 2) < once < again
    # The first reader's value; only the second one's, which nobody asks for; and the same where agreement is asked for.
    for high, twice, fails in ((once - 1, False, {bad}), ((once + again) / 2, False, set()), (once, True, {bad})):
        text = STUDY.replace("\n[preparation]\n", "reduction = { icc = 0.5 }\n\n[preparation]\n") if twice else STUDY
        narrow = f'name = "{name}"\nlabel = "Mean"\nkind = "continuous"\nknown = "preoperative"\nlow = 0\nhigh = {high}'
        limited = parse_study(f"{text}\n[[variables]]\n{narrow}\n")
        done = prepare(site, limited)
        assert done.images is not None and done.images.failed == fails
        table = load_prepared(site, limited)
        assert ("excluded by images", len(fails)) in flow(site, table, limited, limited.cohort("train"))
        assert np.isfinite(table.columns[name].values).tolist() == [True, not fails]
        (why,) = [o.problems[0] for o in done.images.outcomes if o.failed] or [None]
        assert why is None or (why.number == 384 and name in why.local and bad in why.local and good not in why.local)


@pytest.mark.parametrize("lacking", [False, True])
def test_two_patients_with_one_image_fail_in_prepare_as_in_check(
    lacking: bool, make_site: MakeSite, study: Study
) -> None:
    """Also where one of them lacks a phase, and so cannot be prepared anyway."""
    site = make_site()
    one, other = sorted((site.folder / "images").iterdir())
    shutil.copyfile(one / "arterial.nii.gz", other / "arterial.nii.gz")
    if lacking:
        (other / "plain.nii.gz").unlink()
    images = prepare(site, study).images
    assert images is not None and study.preparation is not None
    assert images.failed == {one.name, other.name}
    prepared = {o.patient: {p.number for p in o.problems if p.severity is Severity.ERROR} for o in images.outcomes}
    checked, _ = inspect_images(site, study.preparation, [one.name, other.name], workers=1)
    assert prepared == {
        who.name: {p.number for p in checked if patient_of(p) == who.name and p.severity is Severity.ERROR}
        for who in (one, other)
    }
    assert 364 in prepared[one.name] & prepared[other.name]


def test_a_mended_patient_is_prepared_and_the_others_are_not_again(make_site: MakeSite, study: Study) -> None:
    site = make_site()
    first = sorted((site.folder / "images").iterdir())[0] / "arterial.nii.gz"
    whole = first.read_bytes()
    first.write_bytes(whole[:5000])
    before = prepare(site, study)
    first.write_bytes(whole)
    after = prepare(site, study)
    assert before.images is not None and after.images is not None and after.fresh
    assert len(before.images.failed) == 1 and not after.images.failed
    assert [bool(outcome.seconds) for outcome in after.images.outcomes] == [True, False]


def test_a_process_that_the_system_ends_takes_no_patient_along(make_site: MakeSite, study: Study) -> None:
    site, ended = make_site(patients=3), []

    def end_one_worker(done: int, total: int, outcome: Any) -> None:
        if done and not ended:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            ended.append(workers[0])
            os.kill(int(workers[0]), signal.SIGKILL)

    done = prepare(site, study, workers=1, progress=end_one_worker)
    assert ended and done.images is not None and not done.images.failed


def test_a_full_disk_ends_the_run_with_a_number_and_keeps_what_was_there(
    make_site: MakeSite, study: Study, tmp_path: Path
) -> None:
    site = make_site(patients=1)
    protocol = tmp_path / "study.toml"
    protocol.write_text(STUDY)
    # No file may grow beyond 8 KiB: writing fails as on a full disk.
    words = f"ulimit -f 8; PYTHONDONTWRITEBYTECODE=1 exec {COMMAND} prepare {protocol} --site {site.folder} --workers 1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "FEDMVI-377" in done.stderr and "Traceback" not in done.stderr
    assert not store_folder(site, study).exists() and not list((site.store / "steps").glob("*/*/.*"))
    assert prepare(site, study).fresh


def test_what_is_damaged_is_made_anew(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=1)
    folder = prepare(site, study).folder
    wanted = tree(site.store)
    for step, damage in (
        ("stack.portal/*/pixels.npy", b""), ("features.plain/*/result.json", b'{"values": {}, "problems": []}'),
        ("register.plain/*/registration.json", b"{"), ("check/*/digests.json", b"{}"),
    ):  # fmt: skip
        (path,) = (site.store / "steps").glob(f"*/{step}")
        path.write_bytes(damage)
        assert not prepare(site, study).fresh
        assert tree(site.store) == wanted, step
    for name in ("features.parquet", "stacks.html", f"stacks/{site.name}-0001/portal/pixels.npy"):
        (folder / name).write_bytes(b"PAR1")
        assert prepare(site, study).fresh
        assert tree(site.store) == wanted, name


def test_an_interrupt_ends_the_run_at_once_and_the_next_goes_on(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(patients=4)
    protocol = tmp_path / "study.toml"
    protocol.write_text(STUDY)
    command = [COMMAND, "prepare", str(protocol), "--site", str(site.folder), "--workers", "1"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not steps(site) and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all processes
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command again" in said and "Traceback" not in said
    # Whoever was at work stopped; nobody took the next patient.
    assert len({name.split("/")[1] for name in steps(site)}) == 1


def test_a_store_that_cannot_be_written_is_nobodys_fault(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=1)
    site.store.write_text("not a folder")
    with pytest.raises(FedmviError, match="377"):
        prepare(site, study)
    site.store.unlink()
    (site.store / "steps").mkdir(parents=True)
    (site.store / "steps" / f"{site.name}-0001").write_text("not a folder")
    with pytest.raises(FedmviError, match="377"):
        prepare(site, study)
    assert not store_folder(site, study).exists()


def test_images_behind_a_link_are_noticed_when_they_change(make_site: MakeSite, study: Study, tmp_path: Path) -> None:
    site = make_site("hospital-b", patients=1)
    plain = next((site.folder / "images").iterdir()) / "plain"
    (tmp_path / "elsewhere").mkdir()
    plain.rename(tmp_path / "elsewhere" / "plain")
    plain.mkdir()
    (plain / "linked").symlink_to(tmp_path / "elsewhere" / "plain")
    before = prepare(site, study)
    for path in (tmp_path / "elsewhere" / "plain").iterdir():
        header = pydicom.dcmread(path)
        header.RescaleIntercept += 30
        header.save_as(path)
    after = prepare(site, study)
    assert before.images is not None and after.images is not None and before.digest != after.digest
    name = "plain.tumour.original_firstorder_Mean"
    patient = after.images.outcomes[0].patient
    assert after.images.feature(patient, name) == pytest.approx(before.images.feature(patient, name) + 30, abs=0.1)


def test_what_a_system_leaves_in_a_folder_is_no_change_of_its_images(make_site: MakeSite, study: Study) -> None:
    site = make_site("hospital-b", patients=1)
    assert study.preparation is not None
    patient = f"{site.name}-0001"
    cases, _ = find_cases(site, study.preparation, [patient])
    before = input_digests(cases[patient], site.store)
    folder = site.folder / "images" / patient / "portal"
    whole = sorted(folder.iterdir())[0].read_bytes()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.dcm", ".AppleDouble/1.dcm"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(whole)
    (folder.parent / "Thumbs.db").touch()
    cases, problems = find_cases(site, study.preparation, [patient])
    assert problems == [] and input_digests(cases[patient], site.store) == before
    (folder / "IM1").write_bytes(whole)
    assert input_digests(cases[patient], site.store) != before


def test_a_patient_may_be_called_like_a_folder(make_site: MakeSite, study: Study) -> None:
    site = make_site()
    table = site.folder / "patients.csv"
    table.write_text(table.read_text().replace(f"{site.name}-0001,", "images,"))
    done = prepare(site, study)
    assert done.images is not None and done.images.failed == {"images"}
    assert [problem.number for problem in done.images.outcomes[0].problems] == [351]


def test_dicom_with_seg_or_rtstruct_gives_what_nifti_gives(make_site: MakeSite, study: Study) -> None:
    site, consortium = make_site("hospital-b", patients=1), load_consortium("tiny")
    declared = next(one for one in consortium.sites if one.name == site.name)
    booked = appointments(consortium, 1, [draw_site(consortium, declared, 1)])[0]
    examination = examine(booked.findings, booked.imaging, declared.scanner, booked.stream())
    formats: tuple[tuple[ImageFormat, MaskFormat], ...] = (("nifti", "nifti"), ("dicom", "seg"), ("dicom", "rtstruct"))
    found = {}
    for images, masks in formats:
        for kind in ("images", "masks"):
            shutil.rmtree(site.folder / kind)
        write_examination(site.folder, examination, images, masks, booked.acquisition())
        done = prepare(site, study)
        assert done.images is not None and not done.images.failed
        found[masks] = done.images
    assert np.isfinite(found["nifti"].matrix(2)).all()
    assert len({made.manifest()["content"] for made in found.values()}) == 1


def test_what_nobody_foresaw_of_a_patient_is_one_sentence_without_data(
    make_site: MakeSite, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(patients=1)
    assert study.preparation is not None
    patient = f"{site.name}-0001"
    cases, _ = find_cases(site, study.preparation, [patient])

    def odd(*_: object) -> None:
        raise LookupError("Zaborowska^Maria")

    monkeypatch.setattr(chain, "read_case", odd)
    outcome = chain.prepare_patient(Job(cases[patient], study.preparation, site.store, bytes(32)))
    ((number, local),) = [(problem.number, problem.local) for problem in outcome.problems]
    assert outcome.failed and number == 383
    assert re.fullmatch(rf"{patient}: LookupError at test_prepare.py:\d+, asked for at chain.py:\d+", local)


def test_images_that_are_described_nowhere_are_refused_as_a_whole(make_site: MakeSite, study: Study) -> None:
    site = make_site(patients=1)
    shutil.rmtree(site.folder / "images")
    shutil.rmtree(site.folder / "masks")
    with pytest.raises(FedmviError, match="356"):
        prepare(site, study)
    assert not store_folder(site, study).exists()


def test_what_was_made_of_files_that_changed_meanwhile_is_forgotten(
    make_site: MakeSite, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(patients=1)
    assert study.preparation is not None
    patient = f"{site.name}-0001"
    cases, _ = find_cases(site, study.preparation, [patient])
    job = Job(cases[patient], study.preparation, site.store, bytes(32))
    image = job.case.images["plain"].path
    read = chain.read_case

    def exported_again(case: Case) -> tuple[Scan, list[FedmviError]]:
        scan = read(case)
        image.write_bytes(job.case.images["arterial"].path.read_bytes())
        return scan

    monkeypatch.setattr(chain, "read_case", exported_again)
    outcome = chain.prepare_patient(job)
    assert outcome.failed and outcome.problems[0].number == 379
    assert not steps(site)
