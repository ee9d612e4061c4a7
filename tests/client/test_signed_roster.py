"""client: a run opens only where every hospital on it has signed the same study, sites and keys; and stays so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from client.release.keys import PEERS, own_key, peers, trust, write_peers
from client.release.ledger import Ledger
from client.run import load_run
from common.errors import FedmviError
from common.federation.identity import Claim, identity_key, sign_roster
from common.federation.query import Ask, total
from common.statistics.counts import Classes
from common.statistics.logistic import LogisticSums
from common.study.recipe import Recipe
from tests.disclosure.consortium import (
    POLICY,
    SITES,
    STUDY,
    Consortium,
    Row,
    make,
    names,
    parse_study,
    recipe,
    rows_of,
    write_site,
)

CLASSES = total(Classes("train", Recipe(), "mvi", 5, guarded=False))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    make(folder, masked=True)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    """A consortium that masks, whose sites have met and signed nothing yet."""
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({site: tmp_path / "sites" / site for site in SITES}, parse_study(STUDY))


def forge(made: Consortium, site: str, **changes: str) -> Consortium:
    """The coordinator changes what one site signed."""
    made.signed = tuple(replace(entry, **changes) if entry.site == site else entry for entry in made.signed)
    return made


def refusal(made: Consortium, site: str, ask: Ask | None = None) -> tuple[int, str]:
    with pytest.raises(FedmviError) as caught:
        answer = made.put(site, ask or made.opening())[0]
        raise FedmviError.reported(answer.error, "", answer.facts)
    return caught.value.number, str(caught.value.facts.get("site", ""))


def test_a_run_that_all_have_signed_opens_and_its_sums_are_those_of_all_sites(made: Consortium):
    made.sign().open()
    (reply,) = made.port().ask([CLASSES])
    assert not isinstance(reply, FedmviError)
    alone = [made.frame(site, Recipe()).endpoints["mvi"] for site in ("a", "b", "c")]
    assert reply["classes"].tolist() == [sum(int((y == k).sum()) for y in alone) for k in (0, 1)] + [0]


def test_signing_again_gives_the_same_signature_and_is_in_the_ledger_each_time(made: Consortium):
    first, again = made.sign().signed, made.sign().signed
    assert first == again
    lines = list(Ledger(made.folders["a"] / "store" / "ledger.jsonl").entries())
    assert [line["query"] for line in lines] == ["task.sign"] * 2
    assert not (made.folders["a"] / "store" / "runs").exists(), "nothing is kept of a run that is only signed"


def test_419_without_the_signature_of_every_site(made: Consortium):
    assert refusal(made, "a") == (419, "b")
    made.sign("a", "b", "c", "d", "e")
    assert refusal(made, "a") == (419, "f")


def test_419_a_mask_key_of_the_coordinators_own(made: Consortium):
    assert refusal(forge(made.sign(), "c", key="ab" * 32), "a") == (419, "c")


def test_419_signatures_of_another_run_or_of_another_site(made: Consortium):
    made.sign()
    assert refusal(made.with_ticket(run_id="run2"), "a") == (419, "b")
    of_b = next(entry for entry in made.signed if entry.site == "b")
    assert refusal(forge(made, "c", key=of_b.key, signature=of_b.signature), "a") == (419, "c")


def test_419_a_signature_by_whoever_is_not_trusted_under_that_name(made: Consortium, tmp_path: Path):
    write_site(tmp_path / "impostor", "c", rows_of("c"), masked=True)
    (tmp_path / "impostor" / "site.secret").write_text("13" * 32)
    prepare(load_site(tmp_path / "impostor"), made.study)
    impostor = Consortium({**made.folders, "c": tmp_path / "impostor"}, made.study).sign()
    assert refusal(impostor, "a") == (419, "c")


def test_no_site_signs_or_opens_a_roster_that_is_not_the_approved_studys(made: Consortium):
    shown = made.with_ticket(rosters={**made.ticket.rosters, "train": ("a", "b", "d")})
    assert refusal(shown, "a", shown.signing()) == (412, "")
    assert refusal(made.sign().with_ticket(rosters=shown.ticket.rosters), "a") == (412, "")


def test_two_hospitals_that_approve_different_protocols_under_one_run_do_not_open(made: Consortium):
    """The coordinator shows c another study in which d trains with it: both are approved, and neither run opens."""
    other = parse_study(STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]').replace(
        'sites = ["d", "e", "f"]', 'sites = ["e", "f"]'))  # fmt: skip
    shown = Consortium(made.folders, other)
    shown.sign("c")
    made.sign()
    made.signed = tuple(e for e in made.signed if e.site != "c") + shown.signed
    assert refusal(made, "a") == (419, "c")
    shown.signed = made.signed
    assert refusal(shown, "c")[0] == 419


def test_who_once_signed_that_it_may_not_be_left_out_is_held_to_that(made: Consortium):
    toml = made.folders["c"] / "site.toml"
    toml.write_text(toml.read_text() + "may_be_left_out = true\n")
    made.sign().open()
    ticket = made.ticket
    assert "c" in load_run(load_site(made.folders["a"]), ticket).alone
    first = made.signed
    policy = (made.folders["c"] / "site.toml").read_text()
    (made.folders["c"] / "site.toml").write_text(policy.replace("may_be_left_out = true", "may_be_left_out = false"))
    made.sign().open("a")
    assert load_run(load_site(made.folders["a"]), ticket).alone == ()
    made.signed = first
    made.open("a")
    assert "c" not in load_run(load_site(made.folders["a"]), ticket).alone, "an older signature was shown again"


def test_410_a_second_opening_with_other_keys_even_if_signed(made: Consortium):
    made.sign().open()
    secret = bytes.fromhex((made.folders["c"] / "site.secret").read_text())
    tells = load_site(made.folders["c"]).policy.release_alone
    signature = sign_roster(identity_key(secret), made.ticket, "c", Claim("ab" * 32, "{}", False, tells, "{}"))
    assert refusal(forge(made, "c", key="ab" * 32, patients="{}", signature=signature), "a") == (410, "")
    made.sign().open("a")
    assert made.number("a", CLASSES) == 0


def test_417_an_identity_that_was_exchanged_after_the_opening(made: Consortium):
    made.sign().open()
    site = load_site(made.folders["a"])
    known = {name: key.hex() for name, key in peers(site).items()}
    for changed in ({**known, "b": "13" * 32}, {name: key for name, key in known.items() if name != "b"}):
        write_peers(site.folder / PEERS, changed)
        assert refusal(made, "a", CLASSES) == (417, "b")
    write_peers(site.folder / PEERS, known)
    assert made.number("a", CLASSES) == 0


def test_a_hospital_that_is_trusted_later_changes_nothing_of_an_open_run(made: Consortium):
    made.sign().open()
    trust(load_site(made.folders["a"]), "z", "13" * 32)
    assert made.number("a", CLASSES) == 0
    assert made.number("a", made.opening()) == 0
    assert made.number("a", CLASSES) == 0


def test_418_a_policy_of_masks_that_was_changed_after_the_opening(made: Consortium):
    made.sign().open()
    write_site(made.folders["a"], "a", rows_of("a"), 'masks = "off"\n' + POLICY, masked=True)
    assert made.number("a", CLASSES) == 418, "the others mask against this site: its bare part would spoil the sum"


def test_a_site_that_does_not_mask_signs_nothing_and_needs_no_signatures(made: Consortium):
    write_site(made.folders["a"], "a", rows_of("a"), 'masks = "off"\n' + POLICY, masked=True)
    receipt = made.put("a", made.signing())[0].receipt
    assert receipt["masks"] == "off" and not {"mask_key", "signature"} & set(receipt)
    assert made.number("a", made.opening()) == 0
    made.sign("b", "c", "d", "e", "f")
    assert refusal(made, "b") == (419, "a"), "but no other site masks against it"


def test_417_a_hospital_that_would_count_as_two(made: Consortium):
    site = load_site(made.folders["a"])
    known = {name: key.hex() for name, key in peers(site).items()}
    with pytest.raises(FedmviError, match=r"'g' and 'b' have the same key"):
        trust(site, "g", known["b"])
    with pytest.raises(FedmviError, match=r"'g' and 'a' have the same key"):
        trust(site, "g", own_key(site))
    made.sign()
    write_peers(site.folder / PEERS, {**known, "c": known["b"]})
    assert refusal(made, "a")[0] == 417


@pytest.mark.parametrize("text", ["", "zz", "\u00e4" * 64, "00" * 31, "00" * 33])
def test_what_is_no_key_is_refused_with_a_number(made: Consortium, text: str):
    made.sign()
    made.signed = tuple(replace(e, key=text, signature=text) for e in made.signed)
    assert refusal(made, "a")[0] == 419


def test_419_more_patients_than_a_site_has_signed_for(made: Consortium):
    many = json.dumps({"train": 10_000}, separators=(",", ":"))
    assert refusal(forge(made.sign(), "c", patients=many), "a") == (419, "c")


def test_other_data_have_another_mask_key_so_that_no_stream_hides_two_answers(made: Consortium):
    first = {entry.site: entry.key for entry in made.sign().signed}
    rows = rows_of("a")
    rows[0]["age"] = "77"
    write_site(made.folders["a"], "a", rows, masked=True)
    prepare(load_site(made.folders["a"]), made.study)
    second = {entry.site: entry.key for entry in made.sign().signed}
    assert second["a"] != first["a"]
    assert {site: key for site, key in second.items() if site != "a"} == {
        site: key for site, key in first.items() if site != "a"
    }


def _twelve_complete(rows: list[Row]) -> None:
    for row in rows[12:]:
        row["inr"] = ""


def _eight_complete(rows: list[Row]) -> None:
    for row in rows[8:]:
        row["inr"] = ""


def test_parameters_of_a_masked_sum_are_held_against_all_patients_in_it(tmp_path: Path):
    """Twelve complete patients alone allow three parameters; twelve of sixty at each of three sites allow eleven."""
    for masked, number in ((False, 404), (True, 0)):
        sites = make(tmp_path / str(masked), {"b": _twelve_complete}, masked=masked)
        sites = sites.sign().open() if masked else sites.open()
        query = newton(sites, "wide")
        assert query.parameters == 9
        assert sites.number("b", total(query)) == number
    few = make(tmp_path / "few", {"b": _eight_complete}, masked=True)
    assert few.sign().open().number("b", total(newton(few, "wide"))) == 404, "eight allow seven"


def newton(made: Consortium, model: str) -> LogisticSums:
    columns = names(made.study, model)
    return LogisticSums("train", recipe(made.study, model), "mvi", columns, np.zeros(len(columns) + 1))
