"""client/approval: the one list in site.toml is edited, and every other byte of a person's file stays."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from client.approval.policy_file import approve_in_file, disapprove_in_file
from client.cohort.site import Site, load_site
from client.cohort.template import site_toml
from common.errors import FedmviError

NEW, OLD, OTHER = "a" * 64, "b" * 64, "c" * 64
HEAD = '[site]\nname = "a"  # the first\n\n'

KEPT = {
    "no policy at all": HEAD,
    "no end of the last line": HEAD.rstrip("\n"),
    "a policy without the list": HEAD + "[policy] # ours\nmin_patients = 30 # because\n\n[tables]\ndelimiter = ';'\n",
    "an empty list": HEAD + "[policy]\napproved_studies = [] # nothing yet\nmin_cell = 6\n",
    "one line": HEAD + f'[policy]\napproved_studies = ["{OLD}"] # liver\nmin_cell = 6\n',
    "one line, two quotes": HEAD + f"[policy]\napproved_studies = ['{OLD}', \"{OTHER}\",]\n",
    "many lines with comments": HEAD
    + f'[policy]\n# read in May\napproved_studies = [\n    "{OLD}", # the first study [2025]\n'
    + f"    \"{OTHER}\" # \"no comma\"\n]\nmasks = 'off'\n",
    "many lines, a bracket behind": HEAD
    + f'[policy]\napproved_studies = [\n  "{OLD}", # first\n  "{OTHER}"]\nmin_cell = 7\n',
    "another table that has the word": HEAD
    + '[columns]\nafp = { header = "approved_studies = [" }\n\n[policy]\n# approved_studies = ["x"]\nmin_cell = 5\n',
    "the lines of another system": (HEAD + f'[policy]\napproved_studies = [\n  "{OLD}",\n]\n').replace("\n", "\r\n"),
    "accents": '# Universitätsklinikum\n[site]\nname = "a"\n[policy]\n# für die Leber\nmin_cell = 5\n',
    "the template": site_toml("a"),
}  # fmt: skip

REFUSED = {
    "an inline table": 'policy = { min_cell = 6 }\n[site]\nname = "a"\n',
    "a dotted key": f'policy.approved_studies = ["{OLD}"]\n[site]\nname = "a"\n',
    "a header with quotes": HEAD + f'["policy"]\napproved_studies = ["{OLD}"]\n',
}


def site_with(folder: Path, text: str) -> Site:
    (folder / "site.toml").write_bytes(text.encode())
    return load_site(folder)


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_a_study_is_added_and_nothing_else_of_the_file_changes(tmp_path: Path, text: str):
    before = site_with(tmp_path, text)
    after = approve_in_file(before, NEW, "liver, 2026-05-01, Dr. A")
    assert after.policy.approved_studies == (*before.policy.approved_studies, NEW)
    assert after.model_copy(update={"policy": before.policy}) == before
    written = (tmp_path / "site.toml").read_bytes().decode()
    kept = [line for line in text.splitlines() if "approved_studies = [" not in line and OTHER not in line]
    rest = iter(written.splitlines())
    assert all(line in rest for line in kept), written  # every line is there, in its order
    assert ("\r\n" in written) == ("\r\n" in text) and written.count("\n") == len(written.splitlines())


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_a_study_that_is_approved_and_taken_back_leaves_what_the_program_read_before(tmp_path: Path, text: str):
    before = site_with(tmp_path, text)
    after = disapprove_in_file(approve_in_file(before, NEW, "liver"), NEW)
    assert after == before
    assert NEW not in (tmp_path / "site.toml").read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert all(line in (tmp_path / "site.toml").read_text(encoding="utf-8").splitlines() for line in comments)


@pytest.mark.parametrize("first", [OLD, OTHER])
@pytest.mark.parametrize("name", ["one line, two quotes", "many lines with comments", "many lines, a bracket behind"])
def test_any_study_of_a_list_can_be_taken_off_it(tmp_path: Path, name: str, first: str):
    before = site_with(tmp_path, KEPT[name])
    after = disapprove_in_file(before, first)
    assert after.policy.approved_studies == tuple(one for one in before.policy.approved_studies if one != first)
    rest = next(iter(after.policy.approved_studies))
    assert disapprove_in_file(after, rest).policy.approved_studies == ()


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_edited_safely_is_left_alone_and_the_line_is_told(tmp_path: Path, text: str):
    site = site_with(tmp_path, text)
    with pytest.raises(FedmviError) as refused:
        approve_in_file(site, NEW, "liver")
    assert refused.value.number == 760
    assert (tmp_path / "site.toml").read_bytes() == text.encode()
    told = tomllib.loads(refused.value.local)["approved_studies"]
    assert told == [*site.policy.approved_studies, NEW]


def test_a_study_that_is_not_approved_cannot_be_taken_back(tmp_path: Path):
    site = site_with(tmp_path, KEPT["one line"])
    with pytest.raises(FedmviError) as refused:
        disapprove_in_file(site, NEW)
    assert refused.value.number == 761


def test_the_file_keeps_its_permissions(tmp_path: Path):
    site = site_with(tmp_path, KEPT["one line"])
    (tmp_path / "site.toml").chmod(0o640)
    approve_in_file(site, NEW, "liver")
    assert (tmp_path / "site.toml").stat().st_mode & 0o777 == 0o640
