"""A kit becomes the site's enrolment whole, or nothing is changed."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from typer.testing import CliRunner

from client.approval.approve import disapprove
from client.approval.withdrawal import withdraw
from client.cli import app
from client.cohort.site import Site, refuse_root_at
from client.forgetting import forget
from client.node import enrolling, enrolment
from client.node.enrolling import enrol, verify_enrolment
from client.node.enrolment import FILES, is_enrolled, load_enrolment
from client.node.start import start
from client.release.keys import trust
from common.deployment.fields import today
from common.deployment.kit import new_passphrase, write_kit
from common.deployment.papers import render
from common.errors import FedmviError
from server.provision.provisioning import rotate
from tests.consortium_kits import Kits, provisioned, site_at


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return provisioned(tmp_path_factory.mktemp("consortium"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_at(tmp_path / "site", "hospital-a")


def refused(function, *arguments) -> FedmviError:
    with pytest.raises(FedmviError) as error:
        function(*arguments)
    return error.value


def contents(site: Site) -> dict[str, bytes]:
    return {str(p.relative_to(site.folder)): p.read_bytes() for p in site.folder.rglob("*") if p.is_file()}


def test_a_site_is_enrolled_by_its_kit(consortium: Kits, site: Site, tmp_path: Path) -> None:
    assert not is_enrolled(site)
    assert refused(load_enrolment, site).number == 730
    consortium.enrol(site)
    done, hub = load_enrolment(site), consortium.install(tmp_path / "hub")
    assert (done.site, done.host, done.port) == ("hospital-a", hub.host, hub.port)
    assert (done.consortium, done.contact) == ("Test consortium", "Dr Li, +86 10 1")
    assert hub.site_keys["hospital-a"].read_bytes() == done.node_public_key.read_bytes()
    assert hub.ca.read_bytes() == done.ca.read_bytes()
    verify_enrolment(done)


def test_a_message_that_the_coordinator_signed_is_recognised(consortium: Kits, site: Site, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    consortium.enrol(site)
    key = load_pem_private_key(consortium.install(tmp_path / "hub").coordinator_key.read_bytes(), password=None)
    load_enrolment(site).coordinator_key.verify(key.sign(b"message"), b"message")  # type: ignore[call-arg, union-attr, arg-type]


def test_private_keys_are_readable_by_their_owner_only(consortium: Kits, site: Site) -> None:
    folder = consortium.enrol(site).folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {n: stat.S_IMODE((folder / n).stat().st_mode) for n in ("node.key", "client.key")} == {
        "node.key": 0o600,
        "client.key": 0o600,
    }
    (folder / "node.key").chmod(0o644)
    assert "others on this machine may read node.key" in refused(verify_enrolment, load_enrolment(site)).local


def test_the_node_key_is_of_the_form_that_flower_takes(consortium: Kits, site: Site) -> None:
    done = consortium.enrol(site)
    assert load_ssh_private_key(done.node_key.read_bytes(), password=None).curve.name == "secp384r1"  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["another site's", "the hub's", "wrong passphrase", "flipped", "no file"])
def test_a_kit_that_does_not_fit_changes_nothing(consortium: Kits, site: Site, tmp_path: Path, how: str) -> None:
    consortium.enrol(site)
    before, kit, passphrase = contents(site), consortium.kit("hospital-a"), consortium.passphrases["hospital-a"]
    if how == "another site's":
        kit, passphrase = consortium.kit("hospital-b"), consortium.passphrases["hospital-b"]
    elif how == "the hub's":
        kit, passphrase = consortium.kit("hub"), consortium.passphrases["hub"]
    elif how == "wrong passphrase":
        passphrase = new_passphrase()
    elif how == "flipped":
        content = bytearray(kit.read_bytes())
        content[-9] ^= 4
        kit = tmp_path / "flipped.kit"
        kit.write_bytes(content)
    else:
        kit = tmp_path / "none.kit"
    wanted = {"another site's": 735, "the hub's": 735, "wrong passphrase": 733, "flipped": 733, "no file": 734}
    assert refused(enrol, site, kit, passphrase).number == wanted[how]
    assert contents(site) == before


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_kits_do_not_make_one(consortium: Kits, site: Site, tmp_path: Path, name: str) -> None:
    """Each file in turn is taken from the kit of a site of the same name in another consortium, or left out."""
    own, passphrase = consortium.files("hospital-a"), new_passphrase()
    other = provisioned(tmp_path / "other").files("hospital-a")
    kit = tmp_path / "mixed.kit"
    kit.write_bytes(write_kit(own | {name: other[name]}, passphrase))
    assert refused(enrol, site, kit, passphrase).number == 731
    kit.write_bytes(write_kit({n: content for n, content in own.items() if n != name}, passphrase))
    assert refused(enrol, site, kit, passphrase).number == 734
    kit.write_bytes(write_kit(own | {name: b"\xff"}, passphrase))
    assert refused(enrol, site, kit, passphrase).number == 731
    assert not is_enrolled(site)
    assert not list(site.folder.glob(".enrolment*"))


OTHERS = ["peers.toml", "site.toml", "site.secret", "store/ledger.jsonl", "sites/x.pub", "fedmvi-site.service",
          "compose.yaml"]  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_kit_cannot_bring_anything_else(consortium: Kits, site: Site, tmp_path: Path, name: str) -> None:
    kit, passphrase = tmp_path / "more.kit", new_passphrase()
    kit.write_bytes(write_kit(consortium.files("hospital-a") | {name: b""}, passphrase))
    error = refused(enrol, site, kit, passphrase)
    assert (error.number, name in error.local) == (734, True)


def test_what_an_administrator_starts_as_root_is_made_here_from_what_is_installed(consortium: Kits, site: Site) -> None:
    folder = consortium.enrol(site).folder
    fields = {"site": "hospital-a", "consortium": "Test consortium"}
    assert (folder / "fedmvi-site.service").read_bytes() == render("fedmvi-site.service", fields)
    assert "ExecStart=/opt/fedmvi/bin/fedmvi-site start" in (folder / "fedmvi-site.service").read_text()
    assert f"image: fedmvi-site:{metadata.version('fedmvi')}" in (folder / "compose.yaml").read_text()
    assert "fedmvi-site trust" in (folder / "README.md").read_text()


def test_a_rotated_site_enrols_again_and_its_old_keys_are_kept_aside(tmp_path: Path) -> None:
    kits, site = provisioned(tmp_path), site_at(tmp_path / "site", "hospital-a")
    first = kits.enrol(site).node_key.read_bytes()
    rotate(kits.folder, "hospital-a", kits)
    second = kits.enrol(site).node_key.read_bytes()
    assert first != second
    assert (site.folder / "enrolment.old" / "node.key").read_bytes() == first
    rotate(kits.folder, "hospital-a", kits)
    kits.enrol(site)
    assert (site.folder / "enrolment.old" / "node.key").read_bytes() == second


def test_a_kit_of_another_authority_does_not_take_over_an_enrolled_site(
    consortium: Kits, site: Site, tmp_path: Path
) -> None:
    before = consortium.enrol(site).ca.read_bytes()
    stranger = provisioned(tmp_path / "stranger")
    assert refused(stranger.enrol, site).number == 741
    assert load_enrolment(site).ca.read_bytes() == before
    damaged = site.folder / "enrolment" / "node.pub"
    damaged.unlink()
    assert refused(stranger.enrol, site).number == 741
    (site.folder / "enrolment").rename(site.folder / "enrolment.old")  # as a kill between two renames leaves it
    assert refused(stranger.enrol, site).number == 741
    (site.folder / "enrolment.old").rename(site.folder / "moved")
    stranger.enrol(site)


def test_an_enrolment_that_is_a_link_to_elsewhere_is_replaced_and_not_followed(
    consortium: Kits, site: Site, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (site.folder / "enrolment").symlink_to(elsewhere)
    consortium.enrol(site)
    consortium.enrol(site)
    assert list(elsewhere.iterdir()) == []
    assert not (site.folder / "enrolment").is_symlink()


def test_a_kill_before_the_end_leaves_the_old_enrolment(
    consortium: Kits, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = consortium.enrol(site).client_key.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(enrolling, "verify_enrolment", killed)
        with pytest.raises(KeyboardInterrupt):
            consortium.enrol(site)
    assert load_enrolment(site).client_key.read_bytes() == before


def test_an_expired_enrolment_is_told_with_whom_to_call(
    consortium: Kits, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = consortium.enrol(site)
    monkeypatch.setattr(enrolment, "today", lambda: done.expires - timedelta(days=1))
    assert load_enrolment(site).expires == done.expires == today() + timedelta(days=365)
    monkeypatch.setattr(enrolment, "today", lambda: done.expires)
    error = refused(load_enrolment, site)
    assert (error.number, "Dr Li" in error.local) == (732, True)


def test_the_enrolment_of_another_site_is_not_taken(consortium: Kits, site: Site) -> None:
    consortium.enrol(site)
    path = site.folder / "site.toml"
    path.write_text(path.read_text().replace("hospital-a", "hospital-b"))
    from client.cohort.site import load_site

    assert refused(load_enrolment, load_site(site.folder)).number == 735


def run(*arguments: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), input=typed)
    return done.exit_code, done.output


def test_the_command_enrols_and_shows_no_secret(consortium: Kits, site: Site) -> None:
    passphrase = consortium.passphrases["hospital-a"]
    arguments = ("enrol", str(consortium.kit("hospital-a")), "--site", str(site.folder), "--offline")
    code, words = run(*arguments, typed=f"{passphrase}\n")
    assert code == 0, words
    assert "fedmvi-site key" in words
    assert passphrase not in words
    for name in ("node.key", "client.key"):
        body = (site.folder / "enrolment" / name).read_text().splitlines()[1]
        assert body not in words


def test_the_command_takes_the_passphrase_from_a_file(consortium: Kits, site: Site, tmp_path: Path) -> None:
    file, passphrase = tmp_path / "passphrase", consortium.passphrases["hospital-a"]
    arguments = ("enrol", str(consortium.kit("hospital-a")), "--site", str(site.folder), "--offline", "--json")
    for content in (passphrase, f"hub.kit x\nhospital-a.kit {passphrase}\n"):
        file.write_text(content)
        code, words = run(*arguments, "--passphrase-file", str(file))
        assert code == 0, words
        assert json.loads(words)["site"] == "hospital-a"
    file.write_text("hospital-b.kit abcd\nhub.kit x")
    with pytest.raises(FedmviError) as error:
        CliRunner().invoke(app, [*arguments, "--passphrase-file", str(file)], catch_exceptions=False)
    assert error.value.number == 733


@pytest.fixture
def another_users(consortium: Kits, site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An enrolled site of another user, and a process that is root, or says so."""
    consortium.enrol(site)
    if os.geteuid() == 0:
        os.chown(site.folder, 47_110, 47_110)
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    return site


def test_root_changes_nothing_at_an_enrolled_site_of_another_user(consortium: Kits, another_users: Site) -> None:
    before = contents(another_users)
    for change in (
        lambda: consortium.enrol(another_users),
        lambda: start(another_users.folder),
        lambda: disapprove(another_users, "0" * 64, ""),
        lambda: withdraw(another_users, "P1"),
        lambda: forget(another_users, "20260114-091500-5f0c12ab"),
        lambda: trust(another_users, "hospital-b", "00" * 32),
    ):
        assert refused(change).number == 728
    assert contents(another_users) == before


def test_before_a_site_is_enrolled_root_may_set_it_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(site.folder, 47_110, 47_110)
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    refuse_root_at(site)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_enrolment_that_the_daemons_user_may_not_read_is_told_by_number(consortium: Kits, site: Site) -> None:
    folder = consortium.enrol(site).folder
    folder.chmod(0)
    try:
        assert refused(load_enrolment, site).number == 731
    finally:
        folder.chmod(0o700)
