"""client/preparation: a patient who withdraws leaves stacks, features, pictures and steps; nobody is done again."""

from __future__ import annotations

from client.approval.records import write_record
from client.approval.withdrawal import withdraw
from client.cohort.store import load_prepared, store_folder
from client.preparation.prepare import prepare
from common.study.protocol import Study
from tests.client.preparation.sites import MakeSite
from tests.client.preparation.test_prepare import steps


def test_a_patient_who_withdraws_is_in_no_stack_feature_picture_or_step(make_site: MakeSite, study: Study):
    site = make_site(patients=3)
    first = prepare(site, study)
    write_record(site, study, "approved", "", None)
    gone, *others = load_prepared(site, study).patients
    before = steps(site)
    assert (first.folder / "stacks" / gone).is_dir() and any(f"/{gone}/" in path for path in before)
    done = withdraw(site, gone)
    assert done.prepared == ("tiny-images",)
    left = [path for path in site.store.rglob("*") if path.is_file() and gone.encode() in path.read_bytes()]
    assert left == [] and not [path for path in site.store.rglob("*") if gone in path.name]
    assert load_prepared(site, study).patients == tuple(others)
    assert {path.name for path in (store_folder(site, study) / "stacks").iterdir()} == set(others)
    assert steps(site) == {path: made for path, made in before.items() if f"/{gone}/" not in path}
