"""client/approval: a study is approved by a person who was shown it, recorded, and taken back at any time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from client.approval.approve import plain
from client.approval.telling import tell
from client.cli import app
from client.cohort.site import load_site
from common.federation.query import total
from common.statistics.moments import Deviations
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from common.study.recipe import Recipe, Select
from tests.disclosure.consortium import STUDY, Consortium, columns, make, names


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    """Sites of which `a` has approved nothing."""
    consortium = make(tmp_path)
    own = consortium.folders["a"] / "site.toml"
    own.write_text(own.read_text().replace('approved_studies = ["any"]\n', "").replace("simulated = true", ""))
    (tmp_path / "study.toml").write_text(f"# ours\n{STUDY}")
    return consortium


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)


def approve(made: Consortium, *further: str, typed: str = "") -> Result:
    site = made.folders["a"]
    return run("approve", str(site.parent / "study.toml"), "--site", str(site), *further, typed=typed)


def means(made: Consortium) -> Deviations:
    shown = names(made.study, "clinical")
    return Deviations("train", Recipe((Select(columns(made.study, "clinical")),)), shown, np.zeros(len(shown)))


def test_a_study_is_answered_from_its_approval_on_and_refused_from_its_withdrawal_on(made: Consortium):
    assert made.number("a", made.opening()) == 401
    assert approve(made, "--yes", "--by", "Dr. A").exit_code == 0
    assert made.number("a", made.opening()) == 0
    made.open("b", "c")
    assert made.number("a", total(means(made))) == 0
    done = run("disapprove", study_fingerprint(made.study), "--site", str(made.folders["a"]))
    assert done.exit_code == 0 and "401" in done.stdout
    assert made.number("a", total(means(made))) == 401


def test_without_the_typed_name_nothing_is_approved(made: Consortium):
    before = {p: p.read_bytes() for p in made.folders["a"].rglob("*") if p.is_file()}
    for typed in ("yes\n", "\n", ""):
        assert approve(made, typed=typed).exit_code != 0
    assert {p: p.read_bytes() for p in made.folders["a"].rglob("*") if p.is_file()} == before
    assert approve(made, typed="small\n").exit_code == 0
    assert load_site(made.folders["a"]).policy.approved_studies == (study_fingerprint(made.study),)


def test_who_decided_what_and_when_is_recorded_with_the_protocol_and_the_sheet(made: Consortium):
    approve(made, "--yes", "--by", "Dr. A")
    assert approve(made, "--withdraw", "--by", "Dr. B").exit_code == 0
    assert approve(made, "--yes", "--by", "Dr. C").exit_code == 0
    folder = made.folders["a"] / "store" / "approvals"
    fingerprint = study_fingerprint(made.study)
    record = json.loads((folder / f"{fingerprint}.json").read_text())
    assert [(d["decision"], d["by"]) for d in record["decisions"]] == [
        ("approved", "Dr. A"), ("withdrawn", "Dr. B"), ("approved", "Dr. C"),
    ]  # fmt: skip
    assert all(d["time"] and d["policy"]["min_patients"] == 20 for d in record["decisions"])
    assert (folder / f"{fingerprint}.toml").read_text() == f"# ours\n{STUDY}"
    assert load_study(folder / f"{fingerprint}.toml") == made.study
    assert fingerprint in (folder / f"{fingerprint}.html").read_text()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_person_is_told_what_leaves_what_stays_and_what_would_be_refused(made: Consortium):
    own = made.folders["a"] / "site.toml"
    own.write_text(own.read_text().replace("release_alone = true", "release_alone = false"))
    shown = " ".join(approve(made, typed="no\n").stdout.split())
    for expected in ("What leaves", "What never leaves", "masks off", "closed until models are frozen", "FEDMVI-408",
                     "comparison os-by-mvi", "too few sites for a sum", study_fingerprint(made.study)):  # fmt: skip
        assert expected in shown, expected


def test_what_masks_do_is_said_as_the_policy_has_them(made: Consortium):
    site = load_site(made.folders["a"])
    masked = site.model_copy(update={"policy": site.policy.model_copy(update={"masks": "required"})})
    assert "coordinator can see this site's part" in tell(site, made.study).leaves[0]
    assert "neither the coordinator nor another hospital" in tell(masked, made.study).leaves[0]
    assert {line.how for line in tell(masked, made.study).kinds} == {
        "in the sum of 3 sites only, under masks",
        "in the sum of 3 sites only, under masks; of this site alone, small counts hidden",
        "of this site alone, small counts hidden",
    }


def test_a_file_that_cannot_be_edited_is_told_with_the_line_to_write(made: Consortium):
    own = made.folders["a"] / "site.toml"
    own.write_text('policy = { release_alone = true, masks = "off" }\n[site]\nname = "a"\n')
    done = approve(made, "--yes")
    assert done.exception is not None and getattr(done.exception, "number", 0) == 760
    assert f'approved_studies = ["{study_fingerprint(made.study)}"]' in done.stdout


def test_a_simulated_site_that_takes_any_study_cannot_refuse_one(made: Consortium):
    done = run("disapprove", study_fingerprint(made.study), "--site", str(made.folders["b"]))
    assert getattr(done.exception, "number", 0) == 762


def test_the_preview_says_by_its_exit_code_whether_something_would_be_refused(made: Consortium):
    study, site = str(made.folders["a"].parent / "study.toml"), made.folders["a"]
    assert run("preview", study, "--site", str(site)).exit_code == 0
    own = site / "site.toml"
    own.write_text(own.read_text().replace("release_alone = true", "release_alone = false"))
    refused = run("preview", study, "--site", str(site))
    assert refused.exit_code == 1 and "FEDMVI-408" in refused.stdout
    done = run("preview", study, "--site", str(made.folders["d"]), "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and not told["refusals"]
    assert {"query", "risk", "mode", "cohort", "part", "numbers", "nbytes", "refused", "declared"} <= set(
        told["releases"][0]
    )


def test_a_name_cannot_break_out_of_its_line():
    assert plain("Dr. A\n[policy]\nmasks = 'off'\x00") == "Dr. A[policy]masks = 'off'"
    assert len(plain("x" * 500)) == 80
