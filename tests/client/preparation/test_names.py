"""client/preparation: hospitals, folders and files have names in any script."""

from __future__ import annotations

import csv
from pathlib import Path

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.study.protocol import Study
from tests.client.preparation.sites import MakeSite


def test_a_site_and_its_images_may_have_names_in_any_script(make_site: MakeSite, study: Study, tmp_path: Path) -> None:
    plain = make_site(patients=1)
    expected = prepare(plain, study, workers=1).images
    site = plain.folder.rename(tmp_path / "Klinik für Leber - 肝")
    (patient,) = (site / "images").iterdir()
    elsewhere = patient.rename(site / "Übersicht 画像 (neu)")
    rows = []
    for file in sorted(elsewhere.iterdir()):
        phase = file.name.partition(".")[0]
        called = file.rename(file.with_name(f"Größe, „{phase}“ 肝.nii.gz"))
        rows.append((patient.name, "image", phase, str(called.relative_to(site)), "yes"))
    with (site / "manifest.csv").open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([("patient_id", "kind", "phase", "path", "use"), *rows])
    found = prepare(load_site(site), study, workers=1).images
    assert expected is not None and found is not None
    told = [
        [(outcome.patient, list(map(str, outcome.problems))) for outcome in done.outcomes] for done in (expected, found)
    ]
    assert told[0] == told[1] and told[1][0][0] == patient.name
